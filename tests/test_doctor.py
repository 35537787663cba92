"""Claims about the doctor: it says what is so, survives what is broken, and nothing in it is private."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request

import pytest
import torch

from glipv2 import doctor, extras
from glipv2.doctor import Section, examined, scrubbed


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers."""

    def refuses(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuses)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def told(**_: Any) -> dict[str, Any]:
    return doctor.as_json(list(examined()))


def test_it_names_versions_devices_kernels_extras_tracking_and_hub() -> None:
    found = told()
    assert list(found) == ["versions", "devices", "kernels", "extras", "tracking", "hub", "problems"]
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert "cores" in found["devices"]["cpu"]
    assert found["kernels"]["deformable convolution on cpu"] == "gathered rows"
    assert found["kernels"]["suppression"] == "torchvision"
    assert "up to 256 of 256 tokens" in found["kernels"]["fusion"]
    assert found["kernels"]["precision=auto on cpu"] in ("32-true", "bf16-mixed")
    assert found["hub"]["reachable"].startswith("no; local files work")
    assert found["problems"] == []


def test_a_missing_extra_comes_with_the_command_that_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    present = extras.installed
    monkeypatch.setattr(extras, "installed", lambda name: None if name == "av" else present(name))
    assert told()["extras"]["video"] == ('missing av: pip install "glipv2[video]" (glipv2 predict images=clip.mp4)')


def test_what_is_required_and_missing_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda name: None if name == "timm" else "2.6.3")
    assert told()["problems"] == [
        "timm is not installed; pip install glipv2",
        "this pytorch-lightning may carry malware; pip install --upgrade pytorch-lightning",
    ]


def test_a_library_that_breaks_does_not_end_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("operator torchvision::nms does not exist in /home/ada/lib/_C.so")

    monkeypatch.setattr(torch.ops, "load_library", breaks)
    monkeypatch.setattr("torch.cuda.device_count", breaks)
    found = told()
    assert found["kernels"] == {"suppression": "broken"}
    assert found["problems"] == [
        "devices: RuntimeError (operator torchvision::nms does not exist in PATH); install this package anew",
        "torchvision does not go with this torch (RuntimeError); pip install --upgrade torch torchvision",
    ]


def test_a_torchvision_for_another_cuda_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "9.1")
    monkeypatch.setattr(torch.ops.torchvision, "_cuda_version", lambda: 13020)
    assert told()["problems"] == [
        "torchvision does not go with this torch (RuntimeError); pip install --upgrade torch torchvision"
    ]


def test_nothing_private_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8a56a4bc-of-ada")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://ada:password@hub.intern")
    text = json.dumps(told())
    for secret in ("0123456789abcdef", "verysecret", "8a56a4bc", "password", "intern", str(Path.home()) + "/"):
        assert secret not in text
    assert '"CUDA_VISIBLE_DEVICES": "set"' in text
    assert '"token": "set"' in text
    assert '"WANDB_MODE": "offline"' in text
    assert not re.search(r"[\" (]/\w+", text)


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("no module in /home/ada/.venv/lib/x.py, sorry", "no module in PATH, sorry"),
        (r"broken: C:\Users\ada\x.dll", "broken: PATH"),
        ("pip install a/b; see https://example.org/a", "pip install a/b; see https://example.org/a"),
    ],
)
def test_paths_are_taken_out(text: str, without: str) -> None:
    assert scrubbed(text) == without


def test_a_hub_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE", 0.05)
    monkeypatch.setattr(doctor, "_hub", lambda: time.sleep(5))
    for name in ("_versions", "_devices", "_kernels", "_extras", "_tracking"):
        monkeypatch.setattr(doctor, name, lambda: Section("nothing", {}))
    assert list(examined())[-1].rows == {"reachable": "no answer within 0.05 s"}


def test_a_hub_that_answers_is_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    class Answer:
        def close(self) -> None: ...

    def answers(request: Request, timeout: float) -> Answer:
        asked.append(request)
        return Answer()

    monkeypatch.setattr("urllib.request.urlopen", answers)
    assert told()["hub"]["reachable"] == "yes"
    assert [request.method for request in asked] == ["HEAD"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert told()["hub"]["reachable"] == "not tried: HF_HUB_OFFLINE is set"
    assert len(asked) == 1


def test_the_command_prints_sections_or_json_and_ends_with_1_on_problems(
    glipv2: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = glipv2(tmp_path, "doctor")
    assert ended.code == 0
    assert ended.out.startswith("versions\n  glipv2")
    assert ended.out.endswith("everything that is needed is here\n")
    monkeypatch.setattr(doctor, "installed", lambda name: None if name == "timm" else "1")
    ended = glipv2(tmp_path, "doctor", "--json")
    assert ended.code == 1
    assert json.loads(ended.out)["problems"] == ["timm is not installed; pip install glipv2"]
    assert "problem: timm is not installed; pip install glipv2" in glipv2(tmp_path, "doctor").out
    assert glipv2(tmp_path, "doctor", "--jsn").code == 2
