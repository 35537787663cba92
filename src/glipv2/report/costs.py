"""On which machine a run was made, what it took, on which data, and what of earlier numbers it kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glipv2.report.markup import Markup, element, join
from glipv2.report.run import RunFolder
from glipv2.report.scores import parse_score, show_number, show_score, show_seconds
from glipv2.report.tables import sheet


def device_hours(run: RunFolder) -> float | None:
    """Hours times devices; None where the time is not known."""
    seconds = run.metrics.get("run/seconds")
    return None if seconds is None else seconds * run.metrics.get("run/devices", 1.0) / 3600


def hardware_and_cost(run: RunFolder) -> Markup:
    """Machine, time, devices, memory, data and model; says so when nothing of it is known."""
    rows = {name: value for name, value in _facts(run).items() if value}
    if not rows:
        return element("p", "Not known: neither environment.json nor times in metrics.json.", class_="absent")
    body = [element("tr", element("th", name, scope="row"), element("td", value, class_="long"))
            for name, value in rows.items()]  # fmt: skip
    parts = [element("div", element("div", _titled("what it took", body)), *_parts_table(run), class_="sheets")]
    resumed = [part for part in _list(run.facts.get("parts")) if isinstance(part, Mapping) and part.get("steps")]
    if resumed:
        steps = ", ".join(str(part["steps"]) for part in resumed)
        parts.append(
            element("p", f"Taken up again after step {steps}: times are those of the last part.", class_="soft")
        )
    return join(parts)


def _facts(run: RunFolder) -> dict[str, str]:
    metrics, environment = run.metrics, run.environment
    machine = environment.get("device", "")
    cpu = " × ".join(word for word in (environment.get("cores", ""), environment.get("cpu", "")) if word)
    hours = device_hours(run)
    devices = metrics.get("run/devices", 1.0)
    peak = metrics.get("run/peak_gpu_gib", metrics.get("run/peak_gib"))
    data = _mapping(run.facts.get("data"))
    return {
        "device": f"{devices:.0f} × {machine}" if machine and devices > 1 else machine,
        "processor": cpu,
        "time": show_seconds(metrics["run/seconds"]) if "run/seconds" in metrics else "",
        "of it training": show_seconds(metrics["run/train_seconds"]) if "run/train_seconds" in metrics else "",
        "device hours": "" if hours is None else f"{hours:.3g}",
        "images a second": f"{metrics['run/images_per_second']:.1f}" if "run/images_per_second" in metrics else "",
        "waiting for data": _waiting(run),
        "peak memory": ""
        if peak is None
        else f"{peak:.2f} GiB{' of the GPU' if 'run/peak_gpu_gib' in metrics else ''}",
        "code": _code(environment),
        "data": ", ".join(f"{name} {_images(own)}" for name, own in _mapping(data.get("sets")).items()),
        "fingerprint of the data": str(data.get("digest", "")),
        "state": run.state,
    }


def _images(value: Any) -> str:
    images = _mapping(value).get("images")
    return f"{show_number(float(images))} images" if isinstance(images, int) else ""


def _waiting(run: RunFolder) -> str:
    waits = [value for _, value in run.curves.get("time/data_wait", ())]
    return f"{100 * sum(waits) / len(waits):.1f} % of the time of logged steps" if waits else ""


def _code(environment: Mapping[str, str]) -> str:
    version, commit = environment.get("glipv2"), environment.get("commit")
    changed = ", with uncommitted changes" if environment.get("dirty") == "True" else ""
    told = [f"glipv2 {version}" if version else "", f"commit {commit}{changed}" if commit else ""]
    return ", ".join(word for word in told if word)


def _parts_table(run: RunFolder) -> list[Markup]:
    """Parameters of each part of the model."""
    rows = []
    for part, own in _mapping(run.facts.get("model")).items():
        counts = [_mapping(own).get(key) for key in ("parameters", "trained")]
        if all(isinstance(count, int) for count in counts):
            cells = [element("td", show_number(float(count)), class_="number") for count in counts if count is not None]
            rows.append(element("tr", element("th", part, scope="row"), *cells))
    if not rows:
        return []
    heads = [element("th", "Part of the model", scope="col")]
    heads += [element("th", title, scope="col", class_="number") for title in ("parameters", "of them trained")]
    return [element("div", _titled("model", rows, element("thead", element("tr", *heads))))]


def retention_table(run: RunFolder) -> Markup:
    """Numbers before and after fine-tuning; "" where there are none."""
    rows = []
    for name, own in run.retention.items():
        score, values = parse_score(str(name)), _mapping(own)
        before, after, kept = (values.get(key) for key in ("before", "after", "kept"))
        if (
            score is None
            or score.category
            or not isinstance(before, (int, float))
            or not isinstance(after, (int, float))
        ):
            continue
        share = f"{100 * kept:.1f} %" if isinstance(kept, (int, float)) else "–"
        cells = [element("td", words, class_="number")
                 for words in (show_score(score, before), show_score(score, after), share)]  # fmt: skip
        rows.append(element("tr", element("th", str(name), scope="row"), *cells))
    if not rows:
        return Markup()
    heads = [element("th", "Number", scope="col")]
    heads += [element("th", title, scope="col", class_="number") for title in ("before", "after", "kept")]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows))
    return join([element("p", "What the weights kept of what they could before.", class_="soft"),
                 sheet(table, "retention")])  # fmt: skip


def _titled(title: str, rows: list[Markup], head: Markup | None = None) -> Markup:
    table = element("table", *([head] if head else []), element("tbody", *rows))
    return join([element("h4", title), sheet(table, title)])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
