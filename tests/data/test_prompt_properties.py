"""Claims that hold for every vocabulary: each name owns its own tokens and no other, and none is lost."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors, trainers

from glipv2.data.prompts import PromptComposer, PromptConfig, collate_prompts
from glipv2.data.wordings import spoken_name
from glipv2.structures import Prompt, Vocabulary
from glipv2.tokenizer import Tokenizer, TokenizerConfig

TINY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", "hot", "red", "c", "##s", "##at", "x", ".", ",", "-", "'", "a", "猫"]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Sources: the shipped vocabulary, a small one with much unknown to it, one of bytes with spaces in its tokens."""
    folder: Path = tmp_path_factory.mktemp("tokenizers")
    (folder / "vocab.txt").write_text("\n".join(TINY), "utf-8")
    backend = Backend(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, special_tokens=special)
    backend.train_from_iterator(["a red circle and a hot dog on the road", "dogs which are red"], trainer)
    ends = [(token, backend.token_to_id(token)) for token in ("<s>", "</s>")]
    backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    backend.save(str(folder / "tokenizer_bytes.json"))
    sources = {"shipped": "builtin", "tiny": folder / "vocab.txt", "bytes": folder / "tokenizer_bytes.json"}
    return {name: str(source) for name, source in sources.items()}


WORDS = [
    "dog", "Dog", "DOGS", "hot dog", "red circle", "circle", "T-shirt", "dog's", "St. Bernard", "C++", "a.b.c", "100%",
    "red_circle", "bear_(animal)", "bear (toy)", "(only)", "über", "große Straße", "猫", "犬 dog", "🐶", "x", "##s",
    "[CLS]", "[UNK]", '"red"', "dog, hot", "a", ".", "...", "e\u0301clair", "no.", "dog.", "- dog -", "ca\u00adt",
]  # fmt: skip
LETTERS = st.sampled_from("abcdogXYZ019 .,-_'()#éßÅ猫日🐶\u200dИя")
NAMES = st.one_of(st.sampled_from(WORDS), st.text(LETTERS, min_size=1, max_size=12))
SEPARATORS = st.sampled_from([". ", " . ", ", ", " ", "; ", " | ", ".", "/", " and ", "。", "\n", " - "])
WORDINGS = st.fixed_dictionaries(
    {},
    optional={
        "prefix": st.sampled_from(["a ", "there is a big ", " "]),
        "name": st.sampled_from(["hand of a person", "red  thing", "DOG", "猫"]),
        "suffix": st.sampled_from([", which is round", " on the road", " (toy)", " , red and hot "]),
    },
)


@dataclass(frozen=True)
class Case:
    names: tuple[str, ...]
    config: PromptConfig
    max_tokens: int
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Names that have a token in any tokenizer, with wordings for some, and room for few or many of them."""
    drawn = draw(st.lists(NAMES, min_size=1, max_size=16))
    spoken = {name.strip() for name in drawn if any(letter.isalnum() for letter in spoken_name(name.strip()))}
    names = tuple(sorted(spoken) or ["dog"])
    config = PromptConfig(
        separator=draw(SEPARATORS),
        max_names=draw(st.integers(0, 20)),
        eval_names=draw(st.sampled_from([0, 0, 1, 3])),
        shuffle=draw(st.booleans()),
        captions={name: draw(WORDINGS) for name in draw(st.lists(st.sampled_from(names), max_size=3))},
    )
    return Case(names, config, draw(st.sampled_from([48, 64, 256])), draw(st.integers(0, 2**32)))


def composed(case: Case, source: str) -> PromptComposer:
    tokenizer = TokenizerConfig(source, case.max_tokens).build()
    return PromptComposer(Vocabulary(case.names), tokenizer, case.config)


def check_tokens(prompt: Prompt, composer: PromptComposer, case: Case) -> None:
    """Each phrase's tokens say its name; all others are the separators, prefixes, suffixes and special tokens."""
    tokenizer = composer.tokenizer
    batch, (encoded,) = collate_prompts([prompt], tokenizer)
    owned = batch.phrase_map[0, :, : len(encoded)]
    assert len(encoded) <= case.max_tokens
    assert owned.any(dim=1).all()
    assert (owned.sum(dim=0) <= 1).all(), "two phrases share a token"
    pieces = []
    for phrase, row in zip(prompt.phrases, owned, strict=True):
        name = case.names[phrase.label]
        wording = case.config.captions.get(name, {})
        words = wording.get("name", spoken_name(name))
        ((begin, end),) = phrase.spans
        assert prompt.text[begin:end] == words
        ids = tuple(encoded.token_ids[token] for token in row.nonzero().flatten().tolist())
        assert ids in (tokenizer.pieces(words).token_ids, tokenizer.pieces(f"x {words}").token_ids[1:])
        pieces.append(wording.get("prefix", "") + words + wording.get("suffix", ""))
        assert says(tokenizer, ids, words)
    assert prompt.text == case.config.separator.join(pieces)
    outside = [offset for offset, own in zip(encoded.offsets, owned.any(dim=0).tolist(), strict=True) if not own]
    spans = [phrase.spans[0] for phrase in prompt.phrases]
    assert not any(first < end and begin < last for first, last in outside if first < last for begin, end in spans)


def says(tokenizer: Tokenizer, ids: tuple[int, ...], words: str) -> bool:
    """Whether tokens decode to these words, blanks aside; unknown ones can't."""
    if tokenizer.unknown_id in ids:
        return True
    normalizer = tokenizer._backend.normalizer
    plain = words if normalizer is None else normalizer.normalize_str(words)
    if normalizer is None:
        decoder = pre_tokenizers.ByteLevel(add_prefix_space=False)
        plain = "".join(piece for piece, _ in decoder.pre_tokenize_str(plain))
    said = "".join(str(tokenizer._backend.id_to_token(token_id)).removeprefix("##") for token_id in ids)
    return said.replace("Ġ", "").replace("Ċ", "") == "".join(plain.split()).replace("Ġ", "").replace("Ċ", "")


@pytest.mark.parametrize("kind", ["shipped", "tiny", "bytes"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_every_name_stands_once_in_order_and_owns_its_tokens(kind: str, tokenizers: dict[str, str], case: Case) -> None:
    composer = composed(case, tokenizers[kind])
    prompts = composer.all_names()
    assert [phrase.label for prompt in prompts for phrase in prompt.phrases] == list(range(len(case.names)))
    for prompt in prompts:
        check_tokens(prompt, composer, case)
        assert len(prompt.phrases) <= (case.config.eval_names or len(case.names))


@pytest.mark.parametrize("kind", ["shipped", "tiny", "bytes"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_training_prompts_hold_every_present_name_that_fits(kind: str, tokenizers: dict[str, str], case: Case) -> None:
    composer = composed(case, tokenizers[kind])
    rng = random.Random(case.seed)
    present = set(rng.choices(range(len(case.names)), k=rng.randint(0, 4)))
    prompt = composer.sampled(sorted(present), rng)
    labels = [phrase.label for phrase in prompt.phrases]
    check_tokens(prompt, composer, case)
    assert labels
    assert len(set(labels)) == len(labels)
    book = composer.book
    used = 0
    for label in present & set(labels):
        used = book.after(used, label)
    assert not any(book.fits(used, label) for label in present - set(labels))
    same = {book.phrases[label].token_ids for label in present}
    assert not any(book.phrases[label].token_ids in same for label in set(labels) - present)
