"""The text side: any transformers encoder that returns a state for each token."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from glipv2.errors import UserError, nearest
from glipv2.models.encoder_files import read_text_encoder
from glipv2.models.fetch import is_address
from glipv2.models.weights import load_encoder
from glipv2.structures import TextBatch

log = logging.getLogger(__name__)

# of transformers' configs: says nothing of the architecture
BOOKKEEPING = (
    "architectures", "dtype", "model_type", "transformers_version", "_name_or_path", "id2label", "label2id",
)  # fmt: skip


@dataclass
class TextEncoderConfig:
    """Which transformers encoder and how it starts.

    architecture: its model type; options: the fields of its config that differ from the defaults
    (vocab_size is set from the tokenizer where it is not given).
    pretrained: weights of `hub_name` from the model hub; weights: a local folder in the hub's
    layout (config.json and safetensors) instead. Both bring their own config. A single file
    (pytorch_model.bin, model.safetensors) as weights fills the configured architecture.
    """

    architecture: str = "bert"
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    hub_name: str = "bert-base-uncased"
    weights: str | None = None

    def build(self, vocab_size: int) -> TextEncoder:
        """The encoder for a tokenizer of `vocab_size` pieces; UserError when they don't fit."""
        encoder = TextEncoder(self._model(vocab_size))
        rows = encoder.model.get_input_embeddings().num_embeddings
        if rows < vocab_size:
            raise UserError(
                f"the tokenizer has {vocab_size} pieces, the text encoder's embedding {rows} rows; "
                f"set model.tokenizer.source to the encoder's own tokenizer"
            )
        return encoder

    @property
    def brings_config(self) -> bool:
        """Whether the source of the weights decides on the architecture."""
        return not self._is_file(self.weights) if self.weights else self.pretrained

    @staticmethod
    def _is_file(weights: str) -> bool:
        return is_address(weights) or Path(weights).expanduser().is_file()

    def _model(self, vocab_size: int) -> nn.Module:
        if self.weights and self._is_file(self.weights):
            return _from_file(self, self.weights, vocab_size)
        if self.brings_config:
            return _pretrained(self)
        log.info("text encoder %s: starts from random weights", self.architecture)
        return _from_config(self, vocab_size)


class TextEncoder(nn.Module):
    """Token ids to the last hidden state of each token."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.width = int(model.config.hidden_size)
        self.model = model

    def forward(self, text: TextBatch) -> Tensor:
        """[B, L] ids to [B, L, T]; padding changes no real token."""
        output = self.model(input_ids=text.token_ids, attention_mask=text.token_mask.long())
        return output.last_hidden_state  # type: ignore[no-any-return]


def described(config: TextEncoderConfig, encoder: TextEncoder) -> TextEncoderConfig:
    """A config that builds this encoder's architecture without the folder, hub or tokenizer it came from."""
    from transformers import AutoConfig

    rows = encoder.model.get_input_embeddings().num_embeddings
    if not config.brings_config:
        return replace(config, options={**config.options, "vocab_size": rows})
    found = encoder.model.config
    usual = AutoConfig.for_model(found.model_type).to_dict()
    changed = {
        name: value
        for name, value in found.to_dict().items()
        if name in usual and value != usual[name] and name not in BOOKKEEPING
    }
    return replace(config, architecture=found.model_type, options={**changed, "vocab_size": rows})


def _from_config(config: TextEncoderConfig, vocab_size: int) -> nn.Module:
    from transformers import CONFIG_MAPPING, AutoConfig, AutoModel

    if config.architecture not in CONFIG_MAPPING:
        raise UserError(
            f"model.text.architecture: transformers has no '{config.architecture}'; "
            f"{nearest(config.architecture, CONFIG_MAPPING.keys())}"
        )
    settings = {"vocab_size": vocab_size, **config.options}
    model = AutoModel.from_config(AutoConfig.for_model(config.architecture, **settings))
    return _without_pooler(model)


def _from_file(config: TextEncoderConfig, source: str, vocab_size: int) -> nn.Module:
    """The configured architecture with the tensors of a single file, whose embedding decides on the vocabulary."""
    tensors = read_text_encoder(source, config.architecture)
    embedding = tensors.get("embeddings.word_embeddings.weight")
    rows = vocab_size if embedding is None else embedding.shape[0]
    model = _from_config(config, rows)
    load_encoder(model, tensors, source, f"text encoder {config.architecture}")
    return model


def _pretrained(config: TextEncoderConfig) -> nn.Module:
    from transformers import AutoModel

    source = config.weights or config.hub_name
    if config.weights and not (Path(source).expanduser() / "config.json").is_file():
        raise UserError(
            f"model.text.weights: expected a folder with config.json and model.safetensors, or one weights file, "
            f"but got {source}"
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
