"""Claims about the tutorials: every command and every line of Python in them runs, in the order in which it stands.

A page is read as a newcomer reads it: blocks of `sh` line by line, blocks of `python` as a whole, in a folder that
holds a photo, a COCO file with its pictures and, in place of the released GLIP, a file of the same tensors cut down.
Runs are made smaller by the words of `SMALLER`; what is not run stands in `LEFT_OUT` with the reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from protocol_files import coco, write_images
from shape_photos import write_photos

from glipv2.config import config_folder

pytestmark = pytest.mark.slow
Command = Callable[..., Any]

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("train", "finetune", "sweep", "zero_shot", "serve")
SMALLER = {  # words added to a command that begins so
    "glipv2 train": (
        "model.pixels.short_side=64", "model.image.width=32", "model.image.options.channels=[8,16,24,32]",
        "model.fusion.layers=1", "model.fusion.attention_width=32",
        "data.image_size=64", "data.batch_size=2", "data.eval_scenes=1", "data.eval_captions=1", "also_evaluate=[]",
        "trainer.max_steps=2", "trainer.val_every=0", "trainer.accelerator=cpu", "trainer.progress=false",
        "tracking=off", "gallery=1",
    ),
    "glipv2 train -m": ("gallery=0",),
    "glipv2 train -m experiment=shapes_detection_nano hydra/sweeper=tpe": ("hydra.sweeper.n_trials=1",),
    "glipv2 finetune": (
        "trainer.max_steps=2", "trainer.accelerator=cpu", "trainer.progress=false", "tracking=off", "data.workers=0",
        "data.batch_size=2",
    ),
    "glipv2 evaluate": ("trainer.accelerator=cpu", "trainer.progress=false"),
    "glipv2 evaluate weights=runs/demo": ("data.eval_scenes=1", "data.eval_captions=1"),
    "glipv2 predict": ("device=cpu",),
    "glipv2 serve": ("device=cpu",),
}  # fmt: skip
LEFT_OUT = {
    "glipv2 demo": "gradio is an extra that the tests do without; tests/demo clicks through the page where it is here",
    "glipv2 train resume=": "composes every trial again, which takes seconds; tests/test_resume_runs.py kills a sweep",
    "glipv2 export": "takes most of a minute; tests/exporting exports and compares",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str
    text: str

    def lines(self) -> list[str]:
        """Commands, those that go on after a backslash as one."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


def blocks(page: str) -> list[Block]:
    """Of a page, in order."""
    text = (DOCS / "tutorials" / f"{page}.md").read_text("utf-8")
    return [Block(kind, body) for kind, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


def smaller(line: str) -> tuple[str, ...]:
    """The words that make a command small, a longer beginning's after a shorter's."""
    found = sorted((begun for begun in SMALLER if line.startswith(begun)), key=len)
    return tuple(word for begun in found for word in SMALLER[begun])


def follow(page: str, home: Path, glipv2: Command) -> dict[str, str]:
    """Runs a page; what each command said."""
    told: dict[str, str] = {}
    serving: list[str] = []
    for block in blocks(page):
        if block.kind == "python":
            with contextlib.chdir(home):
                exec(compile(block.text, f"{page}.md", "exec", dont_inherit=True), {})
            continue
        for line in block.lines():
            if line.startswith("glipv2 serve"):
                serving.append(line)
            elif line.startswith("glipv2 ") and not line.startswith(tuple(LEFT_OUT)):
                ended = glipv2(home, *shlex.split(line, comments=True)[1:], *smaller(line))
                assert ended.code == 0, f"{line}\n{ended.out}\n{ended.err}"
                told[line] = ended.out
    asked = [line for block in blocks(page) for line in block.lines() if line.startswith("curl ")]
    return told | (answers(serving[0], asked, home, glipv2) if serving else {})


def answers(serve: str, asked: Sequence[str], home: Path, glipv2: Command) -> dict[str, str]:
    """What a service answers to each curl of a page, asked from a second thread; it is ended as by Ctrl-C."""
    told: dict[str, str] = {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def client() -> None:
        import httpx

        with httpx.Client(timeout=60) as session:
            try:
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        if session.get(f"http://localhost:{port}/health/ready").status_code == 200:
                            break
                    time.sleep(0.05)
                for line in asked:
                    told[line] = curl(session, line.replace("8000", str(port)), home)
            finally:
                os.kill(os.getpid(), signal.SIGINT)

    words = shlex.split(serve.replace("port=8000", f"port={port}"))[1:]
    asking = threading.Thread(target=client)
    before = signal.getsignal(signal.SIGTERM)
    asking.start()
    try:
        ended = glipv2(home, *words, *smaller(serve))
    finally:
        asking.join(60)
        signal.signal(signal.SIGTERM, before)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("serving detect, segment, ground, answer, caption at http://127.0.0.1:")
    return told


def curl(session: Any, line: str, home: Path) -> str:
    """What curl would print for words such as the pages have: an address and forms (-F)."""
    words = shlex.split(line)[1:]
    form: dict[str, list[str]] = {}
    files = {}
    while "-F" in words:
        place = words.index("-F")
        key, _, value = words.pop(place + 1).partition("=")
        words.pop(place)
        if value.startswith("@"):
            files[key] = (value[1:], (home / value[1:]).read_bytes())
        else:
            form.setdefault(key, []).append(value)
    (address,) = words
    address = f"http://{address}"
    answer = session.post(address, files=files, data=form) if files else session.get(address)
    assert answer.status_code == 200, f"{line}\n{answer.text}"
    return str(answer.text)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A newcomer's folder."""
    folder = tmp_path_factory.mktemp("newcomer")
    shutil.copy(DOCS.parent / "src/glipv2/data/photos/stop_sign.jpg", folder / "photo.jpg")
    shutil.move(write_photos(folder / "photos"), folder / "instances.json")
    write_images(folder / "val2017")
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_val2017.json").write_text(json.dumps(coco()))
    return folder


@pytest.fixture(scope="module")
def trained(home: Path, glipv2: Command) -> dict[str, str]:
    """What the first page said; the others begin with the run that it leaves."""
    return follow("train", home, glipv2)


@pytest.mark.parametrize("page", PAGES)
def test_every_line_of_a_page_is_run_or_left_out_for_a_reason(page: str) -> None:
    assert {block.kind for block in blocks(page)} <= {"sh", "python"}
    for line in (line for block in blocks(page) if block.kind == "sh" for line in block.lines()):
        assert line.startswith(("glipv2 ", "curl ")), line
    assert f"tutorials/{page}.md" in (DOCS.parent / "mkdocs.yml").read_text("utf-8")


def test_the_first_page_leaves_what_its_table_says(home: Path, trained: dict[str, str]) -> None:
    text = (DOCS / "tutorials/train.md").read_text("utf-8")
    named = [
        name for cell in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`(\S+?)`", cell)
    ]
    assert len(named) == 8
    assert [name for name in named if not (home / "runs/demo" / name).exists()] == []
    assert (home / "runs/demo/report.html").is_file()
    assert (home / "found/predictions.json").is_file()
    assert json.loads((home / "answered/predictions.json").read_text())
    assert (home / "answered.png").is_file()
    assert len(trained) == 6


def test_a_coco_file_becomes_weights_that_predict(home: Path, trained: dict[str, str], glipv2: Command) -> None:
    told = follow("finetune", home, glipv2)
    assert len(told) == 6
    planned, made = (next(out for line, out in told.items() if line.endswith(end)) for end in ("--plan", "=runs/ours"))
    assert len(planned.splitlines()) == 10
    assert "use the new weights:  glipv2 predict weights=runs/ours images=" in made
    assert "detection/box_ap" in json.loads((home / "runs/ours/evaluation/val/retention.json").read_text())
    assert json.loads((home / "ours/predictions.json").read_text())["categories"] == [{"id": 5, "name": "thing"}]
    assert (home / "tested/metrics.json").is_file()


def test_sweeps_leave_a_folder_a_trial_and_one_page(home: Path, glipv2: Command) -> None:
    told = follow("sweep", home, glipv2)
    assert len(told) == 4
    assert sorted(path.name for path in (home / "runs/seeds").iterdir() if path.is_dir()) == ["0", "1"]
    assert (home / "runs/seeds/report.html").is_file()
    best = yaml.safe_load((home / "runs/search/optimization_results.yaml").read_text())
    assert list(best["best_params"]) == ["optim.lr"]


def test_a_released_file_is_measured_as_published(home: Path, glip: Path, glipv2: Command) -> None:
    shutil.copy(glip, home / "glip_tiny_model_o365_goldg_cc_sbu.pth")
    told = follow("zero_shot", home, glipv2)
    assert len(told) == 4
    scores = json.loads((home / "evaluation/coco/metrics.json").read_text())
    assert 0 <= scores["coco/box_ap"] <= 1


@pytest.fixture
def quiet_signals() -> Iterator[None]:
    """SIGINT as it was, whatever the service left."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_service_answers_what_the_page_asks(
    home: Path, trained: dict[str, str], glipv2: Command, quiet_signals: None
) -> None:
    pytest.importorskip("fastapi", reason='the service is not here: pip install "glipv2[serve]"')
    told = follow("serve", home, glipv2)
    assert len(told) == 7
    answered = {line.rpartition("/")[2]: json.loads(out) for line, out in told.items()}
    assert answered["ready"] == {"status": "ok"}
    assert set(answered["detect"]["names"]) <= {"red circle", "blue square"}
    assert "/v1/detect" in answered["openapi.json"]["paths"]


def test_words_that_make_runs_small_are_about_commands_of_the_pages() -> None:
    every = [line for page in PAGES for block in blocks(page) for line in block.lines()]
    for begun in (*SMALLER, *LEFT_OUT):
        assert any(line.startswith(begun) for line in every), begun
    assert (config_folder() / "hydra/sweeper/tpe.yaml").is_file()
