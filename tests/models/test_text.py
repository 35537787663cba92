"""Claims about the text encoder: how it starts, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from glipv2.errors import UserError
from glipv2.models.text import TextEncoder, TextEncoderConfig
from glipv2.structures import TextBatch

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def built(**options: object) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoderConfig(**{"options": SMALL, **options}).build(50).eval()  # type: ignore[arg-type]


def test_one_state_a_token_of_the_encoders_width() -> None:
    encoder = built()
    ids = torch.tensor([[2, 7, 8, 3]])
    assert encoder.width == 16
    assert encoder(TextBatch(ids, torch.ones_like(ids, dtype=torch.bool))).shape == (1, 4, 16)
    assert encoder.model.get_input_embeddings().num_embeddings == 50


def test_the_sentence_head_is_dropped() -> None:
    assert not [name for name, _ in built().named_parameters() if "pooler" in name]


def test_an_embedding_smaller_than_the_vocabulary_is_refused() -> None:
    with pytest.raises(UserError, match="the tokenizer has 50 pieces, the text encoder's embedding 40 rows"):
        built(options={**SMALL, "vocab_size": 40})
    assert built(options={**SMALL, "vocab_size": 60}).model.get_input_embeddings().num_embeddings == 60


def test_an_unknown_architecture_comes_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match="transformers has no 'brt'; did you mean 'bert'"):
        built(architecture="brt")


def test_a_local_folder_brings_its_own_config_and_weights(tmp_path: Path) -> None:
    saved = built(options={**SMALL, "vocab_size": 50})
    saved.model.save_pretrained(tmp_path / "encoder")
    loaded = TextEncoderConfig(weights=str(tmp_path / "encoder")).build(50)
    assert loaded.width == 16
    theirs = loaded.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in saved.state_dict().items())


def test_a_folder_without_an_encoder_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.text\.weights: expected a folder with config\.json"):
        TextEncoderConfig(weights=str(tmp_path)).build(50)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="could not be loaded"):
        TextEncoderConfig(weights=str(tmp_path)).build(50)


def test_an_unreachable_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect to 'https://huggingface.co'\nsecond line")

    monkeypatch.setattr("transformers.AutoModel.from_pretrained", unreachable)
    with pytest.raises(UserError, match=r"text encoder 'bert-base-uncased' could not be loaded.*model\.text\.weights"):
        TextEncoderConfig(pretrained=True).build(50)
