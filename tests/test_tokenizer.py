"""Claims about the tokenizer: offsets, budget, and sources that can't be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from glipv2.data.shapes import ShapesDataset
from glipv2.errors import UserError
from glipv2.tokenizer import Tokenizer, TokenizerConfig

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "dog", "##s", ".", "cafe"]


@pytest.fixture
def vocab(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def small(vocab: Path) -> Tokenizer:
    return TokenizerConfig(source=str(vocab), max_tokens=6).build()


def test_tokens_know_the_characters_they_came_from(small: Tokenizer) -> None:
    encoded = small.encode(["Red dogs."])[0]
    assert encoded.token_ids == (2, 5, 6, 7, 8, 3)
    assert encoded.offsets == ((0, 0), (0, 3), (4, 7), (7, 8), (8, 9), (0, 0))
    assert len(encoded) == 6


def test_offsets_count_characters_not_bytes_and_survive_accents(small: Tokenizer) -> None:
    encoded = small.encode(["猫 Café"])[0]
    assert encoded.token_ids == (2, 1, 9, 3)
    assert encoded.offsets[1:3] == ((0, 1), (2, 6))


def test_a_text_past_the_budget_is_refused_not_cut(small: Tokenizer) -> None:
    assert len(small.encode(["red red red red"])[0]) == 6
    with pytest.raises(UserError, match="has 7 tokens, the model reads at most 6"):
        small.encode(["red", "red red red red red"])


def test_an_empty_text_has_only_the_special_tokens(small: Tokenizer) -> None:
    assert small.encode([""])[0].token_ids == (2, 3)
    assert small.encode([]) == []
    assert small.special_tokens == 2


def test_counts_leave_the_special_tokens_out(small: Tokenizer) -> None:
    assert [small.count(text) for text in ("", "dogs", "red dog.", "red dog.")] == [0, 2, 3, 3]


@pytest.mark.parametrize(
    ("text", "most", "head"),
    [
        ("red dogs red", 5, "red dogs red"),
        ("red dogs red", 3, "red dogs"),
        ("red dogs red", 2, "red"),  # not "red dog", which is another word
        ("dogs red", 1, "dog"),  # the first word is too long: cut between its tokens
        ("red  dogs", 0, ""),
        ("", 3, ""),
    ],
)
def test_a_head_ends_between_words_or_else_between_tokens(small: Tokenizer, text: str, most: int, head: str) -> None:
    assert small.head(text, most, whole_words=False) == head
    assert small.head(text, most) == ("" if head == "dog" else head)


def test_ids_for_padding_and_the_unknown_come_from_the_vocabulary(small: Tokenizer) -> None:
    assert (small.pad_id, small.unknown_id, small.vocab_size) == (0, 1, 10)


def test_the_built_in_vocabulary_has_as_many_pieces_as_rows_are_made_for_it() -> None:
    tokenizer = TokenizerConfig().build()
    ids = [index for text in tokenizer.encode(["a red circle. an orange cross."]) for index in text.token_ids]
    assert tokenizer.vocab_size == 763
    assert tokenizer.unknown_id not in ids
    assert max(ids) < 763


def test_a_folder_a_file_and_a_saved_tokenizer_are_the_same_source(vocab: Path, small: Tokenizer) -> None:
    saved = vocab.parent / "saved"
    saved.mkdir()
    small._backend.save(str(saved / "tokenizer.json"))
    for source in (vocab.parent, saved, saved / "tokenizer.json"):
        other = TokenizerConfig(source=str(source)).build()
        assert other.encode(["red dogs Café"]) == small.encode(["red dogs Café"])


def test_limits_saved_in_a_tokenizer_file_are_lifted(vocab: Path, small: Tokenizer) -> None:
    limited = vocab.parent / "limited.json"
    small._backend.enable_truncation(3)
    small._backend.enable_padding(length=8)
    try:
        small._backend.save(str(limited))
    finally:
        small._backend.no_truncation()
        small._backend.no_padding()
    assert len(TokenizerConfig(source=str(limited)).build().encode(["red dog dog"])[0]) == 5


@pytest.mark.parametrize(
    ("name", "content"),
    [("tokenizer.json", "{"), ("tokenizer.json", "[1]"), ("vocab.txt", "red\ndog\n"), ("vocab.txt", "")],
)
def test_a_source_that_is_no_tokenizer_is_refused_by_name(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError, match=str(path)):
        TokenizerConfig(source=str(path)).build()


def test_a_name_that_the_hub_can_not_give_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect to 'https://huggingface.co'")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", unreachable)
    with pytest.raises(UserError, match=r"no tokenizer at '.*nowhere'.*set model\.tokenizer\.source"):
        TokenizerConfig(source=str(tmp_path / "nowhere")).build()


def test_tokens_become_the_text_again() -> None:
    builtin = TokenizerConfig().build()
    for index in range(40):
        for caption in ShapesDataset("val", 40, image_size=64, captions_per_scene=2)[index].captions:
            (encoded,) = builtin.encode([caption.text])
            assert builtin.decode(encoded.token_ids) == caption.text
    assert builtin.decode(()) == ""


@pytest.mark.parametrize(
    "text",
    ["a man's t-shirt, red.", "is it (really) a dog? yes!", "a dog; a cat: 20% of [all] {things}", "black/white"],
)
def test_marks_stand_where_people_set_them(text: str) -> None:
    builtin = TokenizerConfig().build()
    (encoded,) = builtin.encode([text])
    assert builtin.decode(encoded.token_ids) == text


def test_special_tokens_are_no_text() -> None:
    builtin = TokenizerConfig().build()
    (encoded,) = builtin.encode(["a red circle"])
    assert {builtin.begin_id, builtin.end_id} <= set(encoded.token_ids) & builtin.special_ids
    ids = [builtin.mask_id, *encoded.token_ids, builtin.pad_id, builtin.unknown_id]
    assert builtin.decode(ids) == "a red circle"
