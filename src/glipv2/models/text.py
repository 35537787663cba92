"""The text side: any transformers encoder that returns a state for each token."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from glipv2.errors import UserError, nearest
from glipv2.structures import TextBatch

log = logging.getLogger(__name__)


@dataclass
class TextEncoderConfig:
    """Which transformers encoder and how it starts.

    architecture: its model type; options: the fields of its config that differ from the defaults
    (vocab_size is set from the tokenizer where it is not given).
    pretrained: weights of `hub_name` from the model hub; weights: a local folder in the hub's
    layout (config.json and safetensors) instead. Both bring their own config.
    """

    architecture: str = "bert"
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    hub_name: str = "bert-base-uncased"
    weights: str | None = None

    def build(self, vocab_size: int) -> TextEncoder:
        """The encoder for a tokenizer of `vocab_size` pieces; UserError when they don't fit."""
        encoder = TextEncoder(_pretrained(self) if self.pretrained or self.weights else _from_config(self, vocab_size))
        rows = encoder.model.get_input_embeddings().num_embeddings
        if rows < vocab_size:
            raise UserError(
                f"the tokenizer has {vocab_size} pieces, the text encoder's embedding {rows} rows; "
                f"set model.tokenizer.source to the encoder's own tokenizer"
            )
        return encoder


class TextEncoder(nn.Module):
    """Token ids to the last hidden state of each token."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.width = int(model.config.hidden_size)
        self.model = model

    @property
    def embeddings(self) -> Tensor:
        """One row a word piece, [V, T]."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight

    def forward(self, text: TextBatch) -> Tensor:
        """[B, L] ids to [B, L, T]; padding changes no real token."""
        output = self.model(input_ids=text.token_ids, attention_mask=text.token_mask.long())
        return output.last_hidden_state  # type: ignore[no-any-return]


def _from_config(config: TextEncoderConfig, vocab_size: int) -> nn.Module:
    from transformers import CONFIG_MAPPING, AutoConfig, AutoModel

    if config.architecture not in CONFIG_MAPPING:
        raise UserError(
            f"model.text.architecture: transformers has no '{config.architecture}'; "
            f"{nearest(config.architecture, CONFIG_MAPPING.keys())}"
        )
    settings = {"vocab_size": vocab_size, **config.options}
    model = AutoModel.from_config(AutoConfig.for_model(config.architecture, **settings))
    log.info("text encoder %s: starts from random weights", config.architecture)
    return _without_pooler(model)


def _pretrained(config: TextEncoderConfig) -> nn.Module:
    from transformers import AutoModel

    source = config.weights or config.hub_name
    if config.weights and not (Path(source).expanduser() / "config.json").is_file():
        raise UserError(
            f"model.text.weights: expected a folder with config.json and model.safetensors, but got {source}"
        )
    try:
        loaded = AutoModel.from_pretrained(
            str(Path(source).expanduser()) if config.weights else source,
            use_safetensors=True,
            local_files_only=bool(config.weights),
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"text encoder '{source}' could not be loaded; without a network download it elsewhere and set "
            f"model.text.weights to its folder ({str(error).splitlines()[0][:120]})"
        ) from error
    model, info = loaded
    log.info(
        "text encoder from %s: %d tensors, %d not in the file, %d not used",
        source,
        len(model.state_dict()),
        len(info["missing_keys"]),
        len(info["unexpected_keys"]),
    )
    return _without_pooler(model)


def _without_pooler(model: Any) -> nn.Module:
    """Drops the sentence head: unused parameters would stop distributed training."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model  # type: ignore[no-any-return]
