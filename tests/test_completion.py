"""Claims about completion: what may stand next, the same keys as the schemas, and shells that take it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import glipv2 as package
from glipv2 import completion
from glipv2.completion import candidates, keys_of
from glipv2.config import COMMANDS, known_keys


@pytest.mark.parametrize("command", COMMANDS)
def test_the_keys_read_from_sources_are_those_of_the_schemas(command: str) -> None:
    schema = COMMANDS[command]
    assert keys_of(schema.__name__) == sorted(set(known_keys(schema)) - {"experiment"})


def test_the_keys_of_the_service_are_those_of_its_settings() -> None:
    from glipv2.serving.settings import ServeConfig

    assert keys_of("ServeConfig", "serving.settings") == sorted(ServeConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("glipv2 tr", ["train"]),
        ("glipv2 train exp", ["experiment="]),
        ("glipv2 train experiment=shapes_joint_d", ["experiment=shapes_joint_demo"]),
        ("glipv2 train -m seed=1,2 task=det", ["task=detection"]),
        ("glipv2 train model=glip_t", ["model=glip_t", "model=glip_t_a"]),
        ("glipv2 train optim.w", ["optim.warmup_steps=", "optim.weight_decay="]),
        ("glipv2 train model.re", ["model.regions.", "model.regions="]),
        ("glipv2 train --c", ["--cfg"]),
        ("glipv2 predict task=v", ["task=vqa"]),
        ("glipv2 serve bat", ["batch_size="]),
        ("glipv2 data p", ["pack", "preview"]),
        ("glipv2 completion ", ["bash", "fish", "zsh"]),
        ("glipv2 predict weights=ru", ["weights=runs/"]),
        ("glipv2 predict weights=runs/de", ["weights=runs/demo/"]),
        ("glipv2 predict images=ph", ["images=photo.jpg"]),
        ("glipv2 report ru", ["runs/"]),
        ("glipv2 train nothing=/no/where/", []),
        ("glipv2 nothing ", []),
        ("", []),
    ],
)
def test_what_may_stand_next(line: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs/demo").mkdir(parents=True)
    (tmp_path / "photo.jpg").touch()
    monkeypatch.chdir(tmp_path)
    assert candidates(line) == found


def test_every_command_of_the_help_is_completed_and_no_other(glipv2: Callable[..., Any], tmp_path: Path) -> None:
    lines = glipv2(tmp_path, "--help").out.partition("commands\n")[2].partition("\n\n")[0].splitlines()
    named = {line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "}
    assert named <= set(candidates("glipv2 "))


def test_an_unknown_shell_is_told(glipv2: Callable[..., Any], tmp_path: Path) -> None:
    assert "no completion for 'bsh'; did you mean 'bash'?" in glipv2(tmp_path, "completion", "bsh").err
    assert "source <(glipv2 completion bash)" in glipv2(tmp_path, "completion").out


@pytest.fixture
def on_path(tmp_path: Path) -> dict[str, str]:
    """An environment in which `glipv2` is this one."""
    command = tmp_path / "glipv2"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m glipv2.cli "$@"\n')
    command.chmod(0o755)
    source = str(Path(package.__file__).parents[1])
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": source}


def shell(name: str, script: str, environment: dict[str, str]) -> list[str]:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on this machine")
    bare = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[name]
    ended = subprocess.run(
        [path, *bare, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stderr == ""
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("line", "found"),
    [("glipv2 train experiment=shapes_joint_d", ["shapes_joint_demo"]), ("glipv2 comp", ["completion"])],
)
def test_bash_takes_it(on_path: dict[str, str], line: str, found: list[str]) -> None:
    script = f"""
        source /dev/stdin <<'SCRIPT'
{completion.script("bash")}SCRIPT
        COMP_LINE={line!r} COMP_POINT={len(line)}
        compopt() {{ :; }}
        _glipv2; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert shell("bash", script, on_path) == found


def test_fish_takes_it(on_path: dict[str, str]) -> None:
    script = completion.script("fish") + "complete -C 'glipv2 train experiment=shapes_joint_d'"
    assert shell("fish", script, on_path) == ["experiment=shapes_joint_demo"]


def test_zsh_takes_it(on_path: dict[str, str]) -> None:
    script = f"""
        compdef() {{ :; }}
        compadd() {{ local name=${{@[-1]}}; print -l -- ${{(P)name}}; }}
        {completion.script("zsh")}
        LBUFFER='glipv2 train experiment=shapes_joint_d'
        _glipv2
    """
    assert shell("zsh", script, on_path) == ["experiment=shapes_joint_demo"]
