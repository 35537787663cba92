"""Text to tokens, with the characters each token came from.

Data sets and the text encoder must agree on it, so it stands below both.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from glipv2.errors import UserError
from glipv2.hub import hub
from glipv2.ranges import at_least
from glipv2.remembering import remember
from glipv2.structures.prompts import TokenizedText

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

BUILTIN = "builtin"
CARRIED = "carried:"  # a tokenizer that came inside a weights file, by its checksum
_carried: dict[str, str] = {}
MOST_COUNTS = 65_536  # texts whose number of tokens is remembered

SPECIAL = ("[PAD]", "<pad>", "[UNK]", "<unk>", "[MASK]", "<mask>")
BLANKS = (
    (re.compile(r"\s+([.,:;!?%)\]}])"), r"\1"),
    (re.compile(r"([(\[{])\s+"), r"\1"),
    (re.compile(r"(?<=\w) ([-/'’]) (?=\w)"), r"\1"),
)


@dataclass
class TokenizerConfig:
    """Which tokenizer, and how many tokens a prompt may have (special ones included).

    source: "builtin" (the small vocabulary that ships with the package), a folder or file
    (tokenizer.json or vocab.txt), or a name on the model hub.
    """

    source: str = BUILTIN
    max_tokens: int = at_least(8, 256)

    def serialized(self) -> str | None:
        """The whole tokenizer as JSON, for weights to carry; None for the builtin one, which every copy has."""
        return None if self.source == BUILTIN else load_backend(self.source).to_str()

    def build(self) -> Tokenizer:
        """The tokenizer; UserError when the source can't be read."""
        return Tokenizer(load_backend(self.source), self.max_tokens)


class Tokenizer:
    """Encodes texts with character offsets. Never truncates: a text past the budget is an error."""

    def __init__(self, backend: Backend, max_tokens: int) -> None:
        self._backend = backend
        self.max_tokens = max_tokens
        self.pad_id = _first_id(backend, "[PAD]", "<pad>")
        self.unknown_id = _first_id(backend, "[UNK]", "<unk>")
        self.mask_id = _first_id(backend, "[MASK]", "<mask>")
        ends = backend.encode("").ids  # what stands around every text
        self.special_tokens = len(ends)
        self.begin_id, self.end_id = (ends[0], ends[-1]) if ends else (self.pad_id, self.pad_id)
        special = (backend.token_to_id(name) for name in SPECIAL)
        self.special_ids = frozenset([*ends, *(token_id for token_id in special if token_id is not None)])
        self._counts: dict[str, int] = {}

    @property
    def vocab_size(self) -> int:
        """How many rows the text encoder's embedding needs."""
        return self._backend.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> list[TokenizedText]:
        """One TokenizedText a text; UserError when a text has more than `max_tokens`."""
        encoded = []
        for text in texts:
            result = self._backend.encode(text)
            if len(result.ids) > self.max_tokens:
                raise UserError(
                    f"the text '{text[:60]}…' has {len(result.ids)} tokens, the model reads at most "
                    f"{self.max_tokens}; shorten it or split it"
                )
            encoded.append(TokenizedText(tuple(result.ids), tuple(result.offsets)))
        return encoded

    def count(self, text: str) -> int:
        """Tokens of a stretch of text, special tokens not counted. Remembered, names come again and again."""
        count = self._counts.get(text)
        if count is None:
            tokens = self._backend.encode(text, add_special_tokens=False).ids
            count = remember(self._counts, text, len(tokens), MOST_COUNTS)
        return count

    def pieces(self, text: str) -> TokenizedText:
        """The tokens of a stretch of text without special tokens; no limit."""
        result = self._backend.encode(text, add_special_tokens=False)
        return TokenizedText(tuple(result.ids), tuple(result.offsets))

    def head(self, text: str, most: int, *, whole_words: bool = True) -> str:
        """The longest beginning of at most `most` tokens that ends between two words.

        Where that leaves nothing, one that ends between two tokens if `whole_words` is False.
        """
        if self.count(text) <= most:
            return text
        offsets = self.pieces(text).offsets
        ends = [offsets[index - 1][1] for index in range(min(most, len(offsets) - 1), 0, -1)]
        between_words = [end for end in ends if text[end : end + 1].isspace()]
        cuts = (text[:end].rstrip() for end in between_words + ([] if whole_words else ends))
        return next((cut for cut in cuts if self.count(cut) <= most), "")

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, special ones left out, with blanks as people set them."""
        plain = [token_id for token_id in token_ids if token_id not in self.special_ids]
        return _as_written(self._backend.decode(plain))


def _as_written(text: str) -> str:
    """Without the blanks that word pieces leave around marks: "a man ' s t - shirt ." is "a man's t-shirt."."""
    for blanks, marks in BLANKS:
        text = blanks.sub(marks, text)
    return text.strip()


def carried(serialized: str) -> str:
    """The source under which a serialized tokenizer can be built from now on."""
    source = CARRIED + hashlib.sha256(serialized.encode()).hexdigest()[:16]
    _carried[source] = serialized
    return source


@lru_cache(maxsize=4)
def load_backend(source: str) -> Backend:
    """The Rust tokenizer behind a source (see TokenizerConfig)."""
    if source == BUILTIN:
        return _word_piece(resources.files("glipv2.data").joinpath("vocab.txt").read_text("utf-8").split("\n"), source)
    if source.startswith(CARRIED):
        return _from_text(source)
    path = Path(source).expanduser()
    inside = [path / name for name in ("tokenizer.json", "vocab.txt")]
    file = path if path.is_file() else next((candidate for candidate in inside if candidate.is_file()), None)
    if file is None:
        return _from_hub(source)
    if file.suffix == ".txt":
        return _word_piece(file.read_text("utf-8").split("\n"), source)
    return _from_file(file)


def _from_text(source: str) -> Backend:
    from tokenizers import Tokenizer as Backend

    if source not in _carried:
        raise UserError(f"{source} is the tokenizer of a weights file: give weights=FILE, or another tokenizer source")
    return _without_limits(Backend.from_str(_carried[source]))


def _from_file(path: Path) -> Backend:
    from tokenizers import Tokenizer as Backend

    try:
        return _without_limits(Backend.from_file(str(path)))
    except Exception as error:  # the Rust library raises nothing narrower
        raise UserError(f"{path}: not a tokenizer.json ({str(error)[:120]}); save it again or give another") from error


def _from_hub(source: str) -> Backend:
    from transformers import AutoTokenizer

    try:
        with hub():
            tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no tokenizer at '{source}': not a folder with tokenizer.json or vocab.txt, and the model hub did not "
            f"give it; download it where there is a network and set model.tokenizer.source to the folder "
            f"(for weights to predict or evaluate with: glipv2 weights import FILE -o OUT --tokenizer FOLDER)"
        ) from error
    backend: Backend = tokenizer.backend_tokenizer
    return _without_limits(backend)


def _without_limits(backend: Backend) -> Backend:
    backend.no_truncation()
    backend.no_padding()
    return backend


def _word_piece(lines: Sequence[str], source: str) -> Backend:
    """An uncased BERT tokenizer over a list of word pieces, one a line."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    pieces = {piece: index for index, piece in enumerate(line for line in lines if line)}
    absent = [token for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if token not in pieces]
    if absent:
        raise UserError(f"{source}: not a BERT vocabulary of one piece a line; it lacks {', '.join(absent)}")
    backend = Backend(models.WordPiece(vocab=pieces, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, pieces[token]) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    backend.decoder = decoders.WordPiece(cleanup=False)
    return backend


def _first_id(backend: Backend, *tokens: str) -> int:
    ids = [backend.token_to_id(token) for token in tokens]
    return next((token_id for token_id in ids if token_id is not None), 0)
