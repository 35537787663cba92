"""What a service stands: sustained load, overload, hostile requests, and its end in the midst of requests.

python scripts/load_service.py weights=runs/demo image=photo.png [seconds=20] [clients=16] [hostile=1000]
seconds=0 leaves the load out.
"""

from __future__ import annotations

import io
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

DOCUMENTED = {200, 400, 404, 405, 408, 413, 422, 429, 500, 503}
Form = dict[str, Any]


class Service:
    """A `glipv2 serve` of its own in a process."""

    def __init__(self, weights: str, *words: str) -> None:
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
            port = place.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # lives as long as the process
        command = [sys.executable, "-m", "glipv2.cli", "serve", f"weights={weights}", f"port={port}", *words]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        self._wait()

    def _wait(self) -> None:
        for _ in range(1200):
            if self.process.poll() is not None:
                self.log.seek(0)
                raise SystemExit(self.log.read())
            try:
                if httpx.get(f"{self.address}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise SystemExit("the service does not become ready")

    def memory(self) -> float:
        """Resident, in MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit status."""
        self.process.send_signal(how)
        return self.process.wait(60)

    def said(self) -> str:
        """What it printed."""
        self.log.seek(0)
        return self.log.read()


@contextmanager
def service(weights: str, *words: str) -> Iterator[Service]:
    """A running one that ends with the block."""
    made = Service(weights, *words)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.end(signal.SIGKILL)


def clients(count: int, seconds: float, ask: Callable[[httpx.Client], int]) -> tuple[Counter[int], list[float]]:
    """Statuses, and seconds of the 200s, of clients that ask one after the other for a while; 0: no answer."""
    statuses: Counter[int] = Counter()
    took: list[float] = []
    end = time.perf_counter() + seconds

    def work() -> None:
        with httpx.Client(timeout=60) as client:
            while time.perf_counter() < end:
                begun = time.perf_counter()
                try:
                    status = ask(client)
                except httpx.TransportError:
                    status = 0
                statuses[status] += 1
                if status == 200:
                    took.append(time.perf_counter() - begun)
                elif status == 429:
                    time.sleep(1)  # as Retry-After says
                elif status == 0:
                    return

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses, sorted(took)


def told(took: list[float], seconds: float) -> str:
    """Rate and percentiles."""
    at = [took[min(int(share * len(took)), len(took) - 1)] * 1000 for share in (0.5, 0.95, 0.99)] if took else [0] * 3
    return f"{len(took) / seconds:.1f} a second, median {at[0]:.0f} ms, 95 % {at[1]:.0f} ms, 99 % {at[2]:.0f} ms"


def detect(address: str, content: bytes, **form: Any) -> Callable[[httpx.Client], int]:
    """A request for two names."""

    def ask(client: httpx.Client) -> int:
        data = form or {"names": ["a red circle", "a star"]}
        return client.post(f"{address}/v1/detect", files={"image": content}, data=data).status_code

    return ask


def hostile(address: str, content: bytes, count: int) -> Counter[str]:
    """Statuses by kind of attack; a transport error is told as such."""
    luck = random.Random(0)
    kinds = attacks(content, luck)
    seen: Counter[str] = Counter()
    with httpx.Client(timeout=60) as client:
        for number in range(count):
            name = list(kinds)[number % len(kinds)]
            try:
                seen[f"{name}: {kinds[name](client, address).status_code}"] += 1
            except httpx.TransportError as error:
                seen[f"{name}: {type(error).__name__}"] += 1
    return seen


def attacks(content: bytes, luck: random.Random) -> dict[str, Callable[[httpx.Client, str], httpx.Response]]:
    """Requests as nobody wishes them."""

    def sent(way: str, image: bytes, **form: Any) -> Callable[[httpx.Client, str], httpx.Response]:
        return lambda client, address: client.post(f"{address}/v1/{way}", files={"image": image}, data=form)

    def changed(client: httpx.Client, address: str) -> httpx.Response:
        broken = bytearray(content)
        for _ in range(luck.randint(1, 40)):
            broken[luck.randrange(len(broken))] = luck.randrange(256)
        return client.post(f"{address}/v1/detect", files={"image": bytes(broken[: luck.randint(1, len(broken))])})

    def raw(body: bytes, **headers: str) -> Callable[[httpx.Client, str], httpx.Response]:
        return lambda client, address: client.post(f"{address}/v1/detect", content=body, headers=headers)

    huge = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(huge, "PNG")
    form = {"content-type": "multipart/form-data; boundary=x"}
    return {
        "changed bytes": changed,
        "decompression bomb": sent("detect", huge.getvalue()),
        "a body of 11 MB": sent("detect", b"\0" * 11_000_000),
        "no picture": sent("detect", luck.randbytes(2000)),
        "900 names": sent("detect", content, names=[f"thing {number}" for number in range(900)]),
        "3000 names": sent("detect", content, names=["x"] * 3000),
        "200 long names": sent("detect", content, names=[f"{number} " + "very " * 50 for number in range(200)]),
        "a text of 1 MB": sent("ground", content, caption="a [cup] " * 125_000),
        "odd letters": sent("ground", content, caption="\u202e\u0000[\ufdd0] \U0001f600 [[]]][" * 9),
        "other alphabets": sent("answer", content, question="Сколько звёзд? 星は? " * 40),
        "wrong types": sent("detect", content, threshold="NaN", names=["a"]),
        "no form": raw(b'{"image": 1}', **{"content-type": "application/json"}),
        "no boundary": raw(b"--x", **{"content-type": "multipart/form-data"}),
        "a form that breaks off": raw(
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nab', **form
        ),
        "an odd charset": raw(b"--x--\r\n", **{"content-type": "multipart/form-data; boundary=x; charset=utf-7777"}),
        "a place that is not there": lambda client, address: client.post(f"{address}/v1/../../etc/passwd"),
        "another method": lambda client, address: client.request("PATCH", f"{address}/v1/detect"),
    }


def ended_amid(weights: str, content: bytes, how: signal.Signals) -> str:
    """What becomes of requests that are under way when the service ends, and whether the next one starts."""
    with service(weights) as made:
        result: list[tuple[Counter[int], list[float]]] = []
        thread = threading.Thread(target=lambda: result.append(clients(8, 20, detect(made.address, content))))
        thread.start()
        time.sleep(3)
        status = made.end(how)
        thread.join()
        words = made.said().splitlines()[-1:]
    statuses = dict(result[0][0])
    with service(weights) as again:
        works = detect(again.address, content)(httpx.Client()) == 200
    return f"exit {status}, answers {statuses} (0: refused or cut off), last words {words}, starts again: {works}"


def loaded(weights: str, content: bytes, seconds: float, count: int) -> None:
    """Prints what it does a second: one by one, in batches, and where few may wait."""
    for batch_size in (1, 8):
        with service(weights, f"batch_size={batch_size}") as made:
            clients(2, 2, detect(made.address, content))
            statuses, took = clients(count, seconds, detect(made.address, content))
            print(f"{count} clients, batch_size={batch_size}: {told(took, seconds)}; {dict(statuses)}", flush=True)
    with service(weights, "waiting=4") as made:
        statuses, took = clients(count, seconds / 2, detect(made.address, content))
        print(f"{count} clients, waiting=4: {told(took, seconds / 2)}; {dict(statuses)}", flush=True)


def main() -> None:
    """Prints every figure; ends with 1 where an answer is not as documented."""
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    weights, content = words["weights"], Path(words["image"]).read_bytes()
    seconds, count = float(words.get("seconds", 20)), int(words.get("clients", 16))
    if seconds:
        loaded(weights, content, seconds, count)
    with service(weights) as made:
        detect(made.address, content)(httpx.Client())
        before = made.memory()
        seen = hostile(made.address, content, int(words.get("hostile", 1000)))
        for line, times in sorted(seen.items()):
            print(f"  {times:4d} {line}")
        works = detect(made.address, content)(httpx.Client(timeout=60)) == 200
        print(
            f"hostile: {sum(seen.values())}, works afterwards: {works}, MiB {before:.0f} -> {made.memory():.0f}",
            flush=True,
        )
    strange = [line for line in seen if line.rsplit(": ", 1)[1] not in {str(one) for one in DOCUMENTED - {500}}]
    for how in (signal.SIGTERM, signal.SIGKILL):
        print(f"{how.name} amid requests: {ended_amid(weights, content, how)}", flush=True)
    if strange or not works:
        raise SystemExit(f"not as documented: {strange}")


if __name__ == "__main__":
    main()
