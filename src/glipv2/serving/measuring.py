"""Numbers of a running service, in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Hashable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TOGETHER = (1, 2, 4, 8, 16, 32)


class Meter:
    """One service's counters; `paths`: those that are told apart, whatever hostile ones are asked for."""

    def __init__(self, paths: frozenset[str] = frozenset()) -> None:
        self.registry = CollectorRegistry()
        self.paths = paths
        self.requests = Counter(
            "glipv2_requests", "Requests by path and status.", ("path", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "glipv2_request_seconds", "From the first byte to the answer.", ("path",), buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.under_way = Gauge("glipv2_requests_under_way", "Uploading, waiting or computed.", registry=self.registry)
        self.together = Histogram(
            "glipv2_batch_pictures", "Pictures that the model worked on together.", ("task",), buckets=TOGETHER,
            registry=self.registry,
        )  # fmt: skip
        self.batch_seconds = Histogram(
            "glipv2_batch_seconds", "Of the model for one batch.", ("task",), buckets=SECONDS, registry=self.registry
        )

    def count(self, path: str, status: int, seconds: float | None = None) -> None:
        """A request that ended; status 0: its client left before it was answered."""
        known = path if path in self.paths else "other"
        self.requests.labels(known, str(status) if status else "left").inc()
        if seconds is not None:
            self.seconds.labels(known).observe(seconds)

    def batch(self, kind: Hashable, count: int, seconds: float) -> None:
        """A batch that was computed; kind as the batcher groups by, the task first."""
        task = str(kind[0]) if isinstance(kind, tuple) else str(kind)
        self.together.labels(task).observe(count)
        self.batch_seconds.labels(task).observe(seconds)

    def text(self) -> bytes:
        """Everything."""
        return generate_latest(self.registry)
