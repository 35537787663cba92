"""Claims about encoders' own files: official Swin, timm, BERT in one file. What fits is loaded, the rest is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from glipv2.errors import UserError
from glipv2.models.image import ImageEncoder, ImageEncoderConfig
from glipv2.models.text import TextEncoder, TextEncoderConfig

SWIN: dict[str, Any] = {"embed_dim": 24, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 3, 4], "strict_img_size": False}
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SWIN_NAME = "swin_tiny_patch4_window7_224"


def image_encoder(path: Path, backbone: str = SWIN_NAME, options: dict[str, Any] | None = None) -> ImageEncoder:
    return ImageEncoderConfig(backbone, SWIN if options is None else options, weights=str(path), width=16).build()


def timm_state(backbone: str = SWIN_NAME, **options: Any) -> dict[str, Tensor]:
    """A classifier as timm saves it, every number its own."""
    torch.manual_seed(1)
    return {
        name: torch.randn_like(value) if value.is_floating_point() else value
        for name, value in timm.create_model(backbone, **{**SWIN, **options}).state_dict().items()
    }


def official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same classifier in the official layout: merging closes a stage instead of opening the next."""
    found = {}
    for name, value in state.items():
        parts = name.split(".")
        if "downsample" in parts:
            parts[1] = str(int(parts[1]) - 1)
        found[".".join(parts).replace("head.fc.", "head.")] = value
    return {
        **found,
        "layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.int64),
        "layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49),
    }


@pytest.mark.parametrize("layout", ["official", "timm", "module."])
def test_swin_files_of_both_layouts_fill_the_backbone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, layout: str
) -> None:
    state = timm_state()
    files = {
        "official": {"model": official(state)},
        "timm": state,
        "module.": {"state_dict": {f"module.{name}": value for name, value in state.items()}},
    }
    torch.save(files[layout], tmp_path / "swin.pth")
    with caplog.at_level(logging.INFO):
        own = image_encoder(tmp_path / "swin.pth").backbone.state_dict()
    assert len(own) > 90
    for name, value in own.items():
        assert torch.equal(value, state[name.replace("layers_", "layers.", 1)]), name
    (said,) = [record.message for record in caplog.records if "swin.pth" in record.message]
    unused = 6 if layout == "official" else 4  # norm and head, and what follows from the configuration
    assert f"loaded {len(own)} tensors; {unused} not used (" in said


def test_merging_goes_to_the_stage_that_it_opens(tmp_path: Path) -> None:
    state = timm_state()
    torch.save(official(state), tmp_path / "swin.pth")
    own = image_encoder(tmp_path / "swin.pth").backbone.state_dict()
    assert "layers_0.downsample.reduction.weight" not in own
    assert torch.equal(own["layers_1.downsample.reduction.weight"], state["layers.1.downsample.reduction.weight"])


def test_stages_of_other_backbones_are_found_in_timms_files_too(tmp_path: Path) -> None:
    options = {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}
    state = timm.create_model("convnext_atto", **options).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "convnext.safetensors")
    own = image_encoder(tmp_path / "convnext.safetensors", "convnext_atto", options).backbone.state_dict()
    assert torch.equal(own["stages_2.blocks.0.mlp.fc1.weight"], state["stages.2.blocks.0.mlp.fc1.weight"])


def test_a_deeper_backbones_file_comes_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(timm_state(depths=[2, 2, 4, 2]), tmp_path / "swin_s.pth")
    image_encoder(tmp_path / "swin_s.pth")
    (said,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "26 of its tensors have no place in the image backbone swin_tiny" in said
    assert "is it the file of a deeper one?" in said


@pytest.mark.parametrize("options", [{"depths": [2, 2, 1, 2]}, {"embed_dim": 48}, {"window_size": 12}])
def test_a_file_that_does_not_fill_the_backbone_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    torch.save(timm_state(**options), tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth: does not fill the image backbone swin_tiny.*this very arch"):
        image_encoder(tmp_path / "other.pth")


# Text


def bert_state(**options: Any) -> dict[str, Tensor]:
    """A BERT with its pretraining heads as transformers saves it."""
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(1)
    return dict(BertForPreTraining(BertConfig(vocab_size=60, **{**BERT, **options})).state_dict())


def text_encoder(path: Path, **options: Any) -> TextEncoder:
    return TextEncoderConfig(options={**BERT, **options}, weights=str(path)).build(50)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
@pytest.mark.parametrize("old", [False, True], ids=["weight and bias", "gamma and beta"])
@pytest.mark.parametrize("prefix", ["bert.", ""])
def test_a_single_bert_file_fills_the_configured_encoder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, old: bool, prefix: str
) -> None:
    state = {key.replace("bert.", prefix, 1): value.clone() for key, value in bert_state().items()}
    if old:
        norm = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        for new, former in norm.items():
            state = {key.replace(new, former): value for key, value in state.items()}
    if name.endswith(".bin"):
        torch.save(state, tmp_path / name)
    else:
        save_file(state, tmp_path / name)
    with caplog.at_level(logging.INFO):
        own = text_encoder(tmp_path / name)
    reference = {key.removeprefix("bert."): value for key, value in bert_state().items()}
    found = own.model.state_dict()
    assert len(found) == 37
    assert all(torch.equal(value, reference[key]) for key, value in found.items())
    assert own.model.get_input_embeddings().num_embeddings == 60  # the file's, not the tokenizer's 50
    (said,) = [record.message for record in caplog.records if name in record.message]
    assert "loaded 37 tensors" in said
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "random" not in caplog.text


@pytest.mark.parametrize("options", [{"num_hidden_layers": 3}, {"intermediate_size": 64}, {"vocab_size": 70}])
def test_a_file_that_does_not_fill_the_text_encoder_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    torch.save(bert_state(), tmp_path / "bert.bin")
    with pytest.raises(UserError, match=r"bert\.bin: does not fill the text encoder bert"):
        text_encoder(tmp_path / "bert.bin", **options)


def test_a_deeper_text_encoders_file_comes_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(bert_state(num_hidden_layers=3), tmp_path / "bert.bin")
    text_encoder(tmp_path / "bert.bin")
    assert "16 of its tensors have no place in the text encoder bert" in caplog.text


def test_encoders_are_fetched_by_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(bert_state(), tmp_path / "bert.bin")
    torch.save(official(timm_state()), tmp_path / "swin.pth")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, path, **__: str(tmp_path / path))
    text = TextEncoderConfig(options=dict(BERT), weights="hf://someone/bert/bert.bin").build(50)
    assert torch.equal(text.model.get_input_embeddings().weight, bert_state()["bert.embeddings.word_embeddings.weight"])
    image = ImageEncoderConfig(SWIN_NAME, SWIN, weights="hf://someone/swin/swin.pth", width=16).build()
    assert torch.equal(image.backbone.state_dict()["patch_embed.proj.weight"], timm_state()["patch_embed.proj.weight"])


# Files of another kind


def test_a_file_of_another_kind_says_which_option_takes_it(tmp_path: Path, cut_glip: Any) -> None:
    glip, swin, bert = tmp_path / "glip.pth", tmp_path / "swin.pth", tmp_path / "bert.bin"
    torch.save(cut_glip.tensors(), glip)
    torch.save(official(timm_state()), swin)
    torch.save(bert_state(), bert)

    def said(build: Any, path: Path) -> str:
        with pytest.raises(UserError) as caught:
            build(path)
        return str(caught.value).replace(str(path), path.name)

    assert said(image_encoder, glip) == (
        "model.image.weights=glip.pth: expected an image backbone, but this is a released GLIP checkpoint; "
        "give it as weights=FILE"
    )
    assert "this is a BERT text encoder; give it as model.text.weights=FILE" in said(image_encoder, bert)
    assert "this is a Swin backbone in the official layout; give it as model.image.weights=FILE" in said(
        text_encoder, swin
    )
    assert "expected a text encoder, but this is a released GLIP checkpoint" in said(text_encoder, glip)
