"""Claims about weights files: nothing in them runs, and what did not fit is said."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from glipv2.errors import UserError
from glipv2.models.weights import load_encoder, load_into, read_contents, read_file, read_tensors


class Bomb:
    """An object whose unpickling makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".bin"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "plain pickle"])
def test_code_in_a_file_is_refused_and_does_not_run(tmp_path: Path, suffix: str, zipped: bool) -> None:
    touched = tmp_path / "touched"
    path = tmp_path / f"weights{suffix}"
    content = {"state_dict": {"weight": torch.ones(2)}, "extra": Bomb(touched)}
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    assert "could run code" in refusal(path)
    assert not touched.exists()
    pickle.loads(pickle.dumps(Bomb(touched)))
    assert touched.exists()  # the bomb works


def test_code_under_the_name_of_a_safe_format_does_not_run_either(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    path = tmp_path / "weights.safetensors"
    path.write_bytes(pickle.dumps(Bomb(touched)))
    assert "not a readable safetensors file" in refusal(path)
    assert not touched.exists()


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".safetensors"])
def test_missing_empty_cut_and_foreign_files_are_refused_in_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    assert "no such weights file" in refusal(path)
    good = whole({"weight": torch.arange(1000.0)}, path)
    cut = [good[: len(good) * part // 9] for part in range(9)]
    for broken in (*cut, b"hello, I am a text\n" * 40, b"\x89PNG\r\n\x1a\n" + bytes(500)):
        path.write_bytes(broken)
        message = refusal(path)
        assert "readable" in message
        assert "run code" not in message
    path.unlink()
    path.mkdir()
    assert "no such weights file" in refusal(path)


def whole(tensors: dict[str, torch.Tensor], path: Path) -> bytes:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path.read_bytes()


def test_a_file_without_named_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(torch.ones(3), path)
    assert "expected named tensors, but got Tensor" in refusal(path)
    torch.save({"epoch": 3, "lr": 0.1}, path)
    assert "no named tensors in it; keys found: epoch, lr" in refusal(path)


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "model_state_dict"])
def test_wrapped_and_plain_tensors_are_found(tmp_path: Path, wrapper: str | None) -> None:
    path = tmp_path / "weights.pth"
    tensors = {"weight": torch.arange(3.0), "note": "hello"}
    torch.save(tensors if wrapper is None else {wrapper: tensors, "epoch": 3}, path)
    found = read_tensors(path)
    assert list(found) == ["weight"]
    assert found["weight"].tolist() == [0, 1, 2]


def test_files_written_before_torch_used_archives_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {"weight": torch.arange(3.0)}}, path, _use_new_zipfile_serialization=False)
    assert read_tensors(path)["weight"].tolist() == [0, 1, 2]


def test_safetensors_bring_their_metadata(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"weight": torch.arange(3.0)}, path, metadata={"glipv2": "{}"})
    content, metadata = read_file(path)
    assert content["weight"].tolist() == [0, 1, 2]
    assert metadata["glipv2"] == "{}"


# Loading into a module


def test_what_fits_is_copied_and_the_rest_is_named() -> None:
    module = nn.Linear(3, 2)
    bias = module.bias.detach().clone()
    report = load_into(module, {"weight": torch.ones(2, 3), "other": torch.ones(1)}, "file.pth", "layer")
    assert torch.equal(module.weight, torch.ones(2, 3))
    assert torch.equal(module.bias, bias)
    assert (report.loaded, report.missing, report.unused, report.wrong_shape) == (1, ("bias",), ("other",), ())
    assert str(report) == "loaded 1 tensors; 1 not in the file (bias); 1 not used (other)"


def test_tensors_of_another_shape_are_left_alone_and_named() -> None:
    module = nn.Linear(3, 2)
    before = module.weight.detach().clone()
    report = load_into(module, {"weight": torch.ones(5, 3), "bias": torch.ones(2)}, "file.pth", "layer")
    assert torch.equal(module.weight, before)
    assert (report.loaded, report.wrong_shape) == (1, ("weight",))
    assert "1 of another shape (weight)" in str(report)


def test_long_reports_are_cut() -> None:
    module = nn.Linear(3, 2)
    extra = {f"extra.{index}": torch.ones(1) for index in range(5)}
    report = load_into(module, {"bias": torch.ones(2), **extra}, "file.pth", "layer")
    assert "5 not used (extra.0, extra.1, extra.2, …)" in str(report)


def test_a_file_of_which_nothing_fits_is_refused() -> None:
    with pytest.raises(UserError, match=r"file\.pth: none of its 1 tensors fits the layer"):
        load_into(nn.Linear(3, 2), {"conv.weight": torch.ones(1)}, "file.pth", "layer")


# Wrappers and whole encoders


def test_the_model_is_preferred_to_its_average_and_what_else_is_there_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "weights.pth"
    inner = {"model_ema": {"weight": torch.zeros(1)}, "model": {"weight": torch.ones(1)}}
    torch.save({**inner, "optimizer": {}, "iteration": 3}, path)
    with caplog.at_level(logging.INFO):
        contents = read_contents(path)
    assert contents.tensors["weight"].item() == 1
    assert (contents.wrapper, contents.others) == ("model", ("model_ema", "optimizer", "iteration"))
    assert "took 'model'; averaged weights are there too" in caplog.text
    averaged = read_contents(path, averaged=True)
    assert (averaged.tensors["weight"].item(), averaged.wrapper) == (0, "model_ema")


def test_averaged_weights_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"model": {"weight": torch.ones(1)}}, path)
    with pytest.raises(UserError, match=r"expected averaged weights under model_ema or ema_state_dict.*found model"):
        read_contents(path, averaged=True)


@pytest.mark.parametrize("tensors", [{"weight": torch.ones(2, 3)}, {"weight": torch.ones(2, 3), "bias": torch.ones(9)}])
def test_an_encoder_is_filled_wholly_or_not_at_all(tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(UserError, match=r"file\.pth: does not fill the layer: .*\(bias\)"):
        load_encoder(nn.Linear(3, 2), tensors, "file.pth", "layer")


def test_heads_beside_an_encoder_are_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    whole = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    spare = dict.fromkeys(("head.weight", "norm.bias", "cls.predictions.bias", "a.attn_mask"), torch.ones(1))
    load_encoder(nn.Linear(3, 2), {**whole, **spare}, "file.pth", "layer")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    load_encoder(nn.Linear(3, 2), {**whole, "blocks.7.weight": torch.ones(1)}, "file.pth", "layer")
    assert "1 of its tensors have no place in the layer (blocks.7.weight" in caplog.text
