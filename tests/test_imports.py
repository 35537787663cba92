"""Claims about the house: imports point one way, and the command starts without what it does not need."""

from __future__ import annotations

import ast
import builtins
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import glipv2

SOURCE = Path(glipv2.__file__).parent

# From the ground up. A module may import from its own unit and from floors below its own;
# within a floor only what BESIDE lists.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("__init__", "errors", "hushed"),
    ("ranges", "remembering", "hub", "extras", "completion", "kernels", "plugins"),
    ("structures",),
    ("tokenizer", "pixels", "precision", "activations"),
    ("data", "models", "matching", "losses", "metrics", "report"),
    ("runs", "checkpoint_files"),
    ("folders",),
    ("tiling", "given", "screening", "remembered_prompts"),
    (
        "optim",
        "trainer",
        "tracking",
        "trackers",
        "callbacks",
        "monitors",
        "facts",
        "tune",
        "saving",
        "nonfinite",
        "curves_file",
        "unfinished",
        "ranks",
        "sharding",
        "preemption",
    ),
    ("tasks",),
    ("protocols", "checking", "retention", "predicted"),
    ("config",),
    ("checkpoints", "arguments", "parser", "resuming", "arithmetic"),
    ("keeper",),
    (
        "evaluate",
        "replaying",
        "train",
        "inference",
        "predict",
        "video_prediction",
        "preview",
        "packing",
        "loading",
        "labelling",
        "conversion",
        "weights_command",
        "check_command",
        "doctor",
    ),
    ("finetuning", "exporting", "planning", "serving", "publishing", "demo"),
    (
        "data_command",
        "finetune_command",
        "export_command",
        "demo_command",
        "plan_command",
        "doctor_command",
        "push_command",
        "serve_command",
        "command_help",
        "report_command",
    ),
    ("cli",),
)
BESIDE = {
    ("losses", "matching"),
    ("planning", "finetuning"),
    ("trainer", "ranks"),
    ("trainer", "sharding"),
    ("callbacks", "nonfinite"),
    ("callbacks", "saving"),
    ("callbacks", "trainer"),
    ("tracking", "curves_file"),
    ("tracking", "trackers"),
    ("callbacks", "monitors"),
    ("train", "evaluate"),
    ("predict", "inference"),
    ("predict", "video_prediction"),
    ("video_prediction", "inference"),
    ("weights_command", "conversion"),
    ("check_command", "preview"),
    ("check_command", "loading"),
    ("labelling", "inference"),
}
ABOVE = {("__init__", "inference"), ("__init__", "publishing")}  # glipv2.load, imported when it is called
FLOOR = {unit: floor for floor, units in enumerate(FLOORS) for unit in units}


@cache
def imports() -> dict[str, set[str]]:
    """Every module with all that it imports anywhere in it, `if TYPE_CHECKING` and functions included."""
    found: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative imports hide where they point"
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        found[path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", ".")] = names
    return found


def unit_of(module: str) -> str:
    """`structures.boxes` -> `structures`."""
    return module.split(".", maxsplit=1)[0]


def own_units(names: set[str]) -> set[str]:
    """The units of this project among imported names; `glipv2.__version__` is the package itself."""
    parts = [name.split(".")[1] for name in names if name.startswith("glipv2.")]
    return {
        part if part in FLOOR or (SOURCE / part).is_dir() or (SOURCE / f"{part}.py").is_file() else "__init__"
        for part in parts
    }


def test_every_module_has_its_floor() -> None:
    assert {unit_of(module) for module in imports()} == set(FLOOR)


@pytest.mark.parametrize("module", sorted(imports()))
def test_imports_point_down(module: str) -> None:
    unit = unit_of(module)
    for other in own_units(imports()[module]) - {unit}:
        down = FLOOR[other] < FLOOR[unit]
        assert down or (unit, other) in BESIDE | ABOVE, f"{module} imports {other}, which is not below it"


def test_structures_import_only_tensors_and_pictures() -> None:
    allowed = {"torch", "torchvision", "PIL", "glipv2", *sys.stdlib_module_names}
    for module, names in imports().items():
        if unit_of(module) == "structures":
            others = {"numpy"} if module == "structures.interchange" else set()
            assert {name.split(".")[0] for name in names} <= allowed | others, module
            assert own_units(names) <= {"structures", "errors"}, module


def test_only_the_config_and_the_commands_see_omegaconf() -> None:
    seeing = {
        unit_of(module)
        for module, names in imports().items()
        if any(name.split(".")[0] in ("omegaconf", "hydra") for name in names)
    }
    # train, resuming and report write and read config.yaml; folders is called by Hydra
    assert seeing <= {"config", "cli", "arguments", "command_help", "folders", "resuming", "train", "report"}


def test_the_core_is_usable_without_lightning_or_hydra() -> None:
    for module, names in imports().items():
        if unit_of(module) in ("structures", "tokenizer", "pixels", "models", "matching", "losses"):
            assert not {name.split(".")[0] for name in names} & {"pytorch_lightning", "hydra", "omegaconf", "wandb"}


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Code in a fresh interpreter."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_command_prints_its_help_without_importing_anything_heavy() -> None:
    code = """
import sys
import glipv2.data_command
import glipv2.weights_command
from glipv2.cli import main
main(["--help"])
main(["--version"])
heavy = {"torch", "torchvision", "hydra", "omegaconf", "pytorch_lightning", "transformers", "timm", "wandb", "numpy"}
print(sorted(heavy & set(sys.modules)))
"""
    result = run_python(code)
    assert result.stderr == ""
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert "usage: glipv2 COMMAND" in result.stdout
    assert {"train", "evaluate", "predict", "report", "data", "weights"} <= {
        line.split()[0] for line in lines if line.startswith("  ")
    }
    assert lines[-2:] == [glipv2.__version__, "[]"]


def test_the_package_itself_is_light_too() -> None:
    result = run_python("import sys, glipv2; print(sorted({'torch', 'hydra'} & set(sys.modules)), glipv2.load)")
    assert result.stdout.startswith("[] <function load")


def test_of_what_is_heavy_the_doctor_imports_torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from glipv2 import doctor

    asked: set[str] = set()
    given = builtins.__import__

    def noting(name: str, scope: Any = None, *others: Any, **more: Any) -> Any:
        if (scope or {}).get("__name__", "").startswith("glipv2"):
            asked.add(name)
        return given(name, scope, *others, **more)

    monkeypatch.setattr("builtins.__import__", noting)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError()))
    list(doctor.examined())
    own = {"doctor", *(name.removeprefix("glipv2.") for name in asked if name.startswith("glipv2."))}
    found = {other for module in own for other in imports().get(module, set())} | asked
    assert {name.split(".")[1] for name in found if name.startswith("glipv2.")} <= {
        "__version__", "extras", "kernels", "precision",
    }  # fmt: skip
    heavy = {name.split(".")[0] for name in asked} - set(sys.stdlib_module_names)
    assert heavy == {"glipv2", "torch", "huggingface_hub"}
