"""The text side: any transformers encoder that returns a state for each token."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glipv2.errors import UserError, nearest
from glipv2.hub import hub, hub_answers
from glipv2.models.encoder_files import read_text_encoder
from glipv2.models.fetch import is_address
from glipv2.models.weights import load_encoder
from glipv2.ranges import at_least
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
    learned_offsets: positions of the prompt that prompt tuning learns an offset for (0 = none).
    """

    architecture: str = "bert"
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    hub_name: str = "bert-base-uncased"
    weights: str | None = None
    learned_offsets: int = at_least(0, 0)

    def build(self, vocab_size: int) -> TextEncoder:
        """The encoder for a tokenizer of `vocab_size` pieces; UserError when they don't fit."""
        encoder = TextEncoder(self._model(vocab_size), self.learned_offsets)
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

    def __init__(self, model: Any, learned_offsets: int = 0) -> None:
        super().__init__()
        self.width = int(model.config.hidden_size)
        self.model = model
        self.offsets = nn.Parameter(torch.zeros(learned_offsets, self.width)) if learned_offsets else None

    @property
    def embeddings(self) -> Tensor:
        """One row a word piece, [V, T]."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight

    def forward(self, text: TextBatch) -> Tensor:
        """[B, L] ids to [B, L, T]; padding changes no real token."""
        if text.segments is None:
            output = self.model(input_ids=text.token_ids, attention_mask=text.token_mask.long())
            return self._offset(output.last_hidden_state, text)
        return self._read(text, text.readable())

    def causal(self, text: TextBatch) -> Tensor:
        """The same where each token reads itself and the tokens before it alone: what comes later changes nothing."""
        return self._read(text, text.causal_mask())

    def _read(self, text: TextBatch, readable: Tensor) -> Tensor:
        """The last hidden states where each token reads those that a mask bool [B, L, L] says."""
        ways = {} if text.segments is None else {"position_ids": text.places()}
        output = self.model(input_ids=text.token_ids, attention_mask=self._prepared(readable), **ways)
        return self._offset(output.last_hidden_state, text)

    def _offset(self, states: Tensor, text: TextBatch) -> Tensor:
        """States [B, L, T] plus what prompt tuning has learned for their places in their texts."""
        if self.offsets is None:
            return states
        places = text.places()
        known = places < self.offsets.shape[0]
        return states + self.offsets[places.clamp(max=self.offsets.shape[0] - 1)] * known[..., None]

    @torch.no_grad()
    def keeps_order(self) -> bool:
        """Whether `causal` works: an architecture may read masks in its own way and let later words through.

        Found by trying; taken for granted on the meta device, where nothing is computed.
        """
        if self.embeddings.is_meta:
            return True
        ids = torch.arange(4, device=self.embeddings.device).expand(2, -1).clone()
        ids[1, -1] = 5
        was_training = self.training
        self.eval()
        first, second = self.causal(TextBatch(ids, torch.ones_like(ids, dtype=torch.bool)))[:, :-1]
        self.train(was_training)
        return bool(torch.allclose(first, second, atol=1e-5))

    @torch.no_grad()
    def keeps_apart(self) -> bool:
        """Whether texts side by side are read as each alone; found by trying, see `keeps_order`."""
        if self.embeddings.is_meta:
            return True
        ids = torch.arange(4, device=self.embeddings.device)[None]
        segments = torch.tensor([[0, 0, 1, 1]], device=ids.device)
        real = torch.ones_like(ids, dtype=torch.bool)
        was_training = self.training
        self.eval()
        try:
            together = self(TextBatch(ids, real, segments)).view(2, 2, -1)
            alone = self(TextBatch(ids.view(2, 2), real.view(2, 2)))
        except TypeError:  # takes no positions
            return False
        finally:
            self.train(was_training)
        return bool(torch.allclose(together, alone, atol=1e-5))

    def _prepared(self, readable: Tensor) -> Tensor | dict[str, Tensor]:
        """A mask bool [B, L, L] as transformers wants it: with a head axis, and one for each kind of layer."""
        masks = {"full_attention": readable[:, None]}
        config = self.model.config
        if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
            place = torch.arange(readable.shape[-1], device=readable.device)
            near = (place[:, None] - place).abs() <= config.sliding_window
            masks["sliding_attention"] = masks["full_attention"] & near
        if config._attn_implementation == "eager":  # adds masks to the scores
            lowest = torch.finfo(self.embeddings.dtype).min
            zeros = self.embeddings.new_zeros(())
            masks = {kind: zeros.where(mask, lowest) for kind, mask in masks.items()}
        return masks if len(masks) > 1 else masks["full_attention"]


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
    place = str(Path(source).expanduser()) if config.weights else source
    settings = {"use_safetensors": True, "local_files_only": bool(config.weights), "output_loading_info": True}
    try:
        with nullcontext() if config.weights else hub():
            loaded = AutoModel.from_pretrained(place, **settings)
    except (OSError, ValueError) as error:
        reason = f" ({str(error).splitlines()[0][:120]})" if config.weights or hub_answers() else ""
        raise UserError(
            f"text encoder '{source}' could not be loaded{reason}; download it where there is a network and set "
            f"model.text.weights to its folder"
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
