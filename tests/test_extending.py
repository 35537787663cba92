"""Claims about plug-ins: the package of the page about extending trains, and its weights are read like any others."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import glipv2
from glipv2.config import SCHEMAS, load_plugins, register_schemas
from glipv2.data.shapes import ShapesDataset
from glipv2.errors import UserError

PAGE = (Path(__file__).parent.parent / "docs/extending.md").read_text("utf-8")
SMALLER = (
    "model.pixels.short_side=64", "model.image.width=32", "model.fusion.layers=1", "model.fusion.attention_width=32",
    "data.image_size=64", "data.batch_size=2", "data.workers=0", "data.prompts.max_names=4", "trainer.max_steps=2",
    "trainer.accelerator=cpu", "trainer.progress=false", "trainer.log_every=1", "tracking=off", "gallery=0",
    "output=run",
)  # fmt: skip


def block(kind: str) -> list[str]:
    """The fenced blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, dict[str, str]]], None]]:
    """Puts a package with these entry points on the path, as pip would; everything is as before afterwards."""
    before = {group: dict(choices) for group, choices in SCHEMAS.items()}
    folder = tmp_path / "site"

    def install(points: dict[str, dict[str, str]]) -> None:
        described = folder / "mine-1.0.dist-info"
        described.mkdir(parents=True)
        (described / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        lines = [
            line
            for group, own in points.items()
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in own.items()))
        ]
        (described / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(str(folder))
        load_plugins.cache_clear()

    yield install
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]
    for group, choices in before.items():
        SCHEMAS[group] = choices
    monkeypatch.undo()
    load_plugins.cache_clear()


def write_module(folder: Path, name: str, source: str) -> None:
    """A module of the package that `installed` puts on the path."""
    path = folder / "site" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    (path.parent / "__init__.py").touch()


@pytest.mark.slow
def test_the_package_of_the_page_trains_its_task_on_its_data_with_its_backbone(
    tmp_path: Path, installed: Callable[[Any], None], glipv2: Callable[..., Any]
) -> None:
    for source in block("python"):
        write_module(tmp_path, source.splitlines()[0].removeprefix("# "), source)
    (described,) = block("toml")
    installed(tomllib.loads(described)["project"]["entry-points"])
    (line,) = block("sh")[0].splitlines()
    ended = glipv2(tmp_path, *shlex.split(line)[1:], *SMALLER)
    assert ended.code == 0, ended.err
    weights = load_file(tmp_path / "run/weights.safetensors")
    assert weights["counter.out.weight"].shape == (1, 32)
    assert weights["core.image.backbone.stages.3.1.weight"].shape == (128, 64, 3, 3)
    assert "counting/box_ap" in json.loads((tmp_path / "run/metrics.json").read_text())
    curves = (tmp_path / "run/metrics.csv").read_text()
    assert "train/count" in curves.splitlines()[0]
    assert "detection, and how many objects there are." in glipv2(tmp_path, "train", "--help").out
    assert "did you mean" in glipv2(tmp_path, "train", "task=countin", "data=tiny").err
    load_plugins.cache_clear()
    SCHEMAS["task"].pop("counting")  # as in another process
    _predicts(tmp_path / "run")


def _predicts(run: Path) -> None:
    model = glipv2.load(run, "cpu")
    assert type(model.task).__name__ == "CountingTask"
    found = model.detect(ShapesDataset("val", 1, image_size=64)[0].image, ["red circle"])
    assert found.image_size == (64, 64)


def test_a_function_among_the_plugins_is_called(tmp_path: Path, installed: Callable[[Any], None]) -> None:
    write_module(tmp_path, "mine/calls.py", "called = []\ndef register():\n    called.append(1)\n")
    installed({"glipv2.plugins": {"mine": "mine.calls:register"}})
    register_schemas()
    register_schemas()
    assert sys.modules["mine.calls"].called == [1]


@pytest.mark.parametrize(
    ("points", "told"),
    [
        ({"glipv2.plugins": {"a": "mine.broken"}}, "plug-in of mine: glipv2.plugins a = mine.broken can't be loaded"),
        ({"glipv2.task": {"a": "mine.broken:A"}}, r"\(ZeroDivisionError: division by zero\); mend or uninstall it"),
        ({"glipv2.data": {"a": "mine.values:NUMBER"}}, "expected a config dataclass, but got 3"),
        ({"glipv2.data": {"shapes": "mine.values:Data"}}, "adds data=shapes, which there is already"),
        ({"glipv2.task": {"b": "mine.values:Task"}}, "its class calls itself 'a'; let both names be the same"),
    ],
)
def test_a_plugin_that_breaks_is_told_by_its_package(
    points: Any, told: str, tmp_path: Path, installed: Callable[[Any], None]
) -> None:
    write_module(tmp_path, "mine/broken.py", "1 / 0\n")
    write_module(
        tmp_path,
        "mine/values.py",
        "from dataclasses import dataclass\nNUMBER = 3\n@dataclass\nclass Data:\n    a: int = 1\n"
        "@dataclass\nclass Task:\n    a: int = 1\nTask.name = 'a'\n",
    )
    installed(points)
    with pytest.raises(UserError, match=told):
        register_schemas()
