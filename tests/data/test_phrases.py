"""Claims about single names in prompts: spoken, worded, cut and checked, and what is told of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glipv2.data.phrases import PhraseBook
from glipv2.data.prompts import PromptComposer, PromptConfig
from glipv2.data.wordings import Wording
from glipv2.errors import UserError
from glipv2.structures import Vocabulary
from glipv2.tokenizer import TokenizerConfig

PIECES = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "red", "circle", "dog", "cat", "big", "house", "##s",
    "##house", "a", "x",
]  # fmt: skip


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    path.write_text("\n".join(PIECES))
    return str(path)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was warned about, message by message."""
    caplog.set_level(logging.WARNING)
    return lambda: caplog.messages


def book(vocab: str, names: tuple[str, ...], max_tokens: int = 14, separator: str = ". ", **options: Any) -> PhraseBook:
    wordings = {name: Wording(**words) for name, words in options.pop("captions", {}).items()}
    tokenizer = TokenizerConfig(vocab, max_tokens).build()
    return PhraseBook(Vocabulary(names), tokenizer, separator, wordings, options.pop("knowledge", {}), **options)


def texts(made: PhraseBook) -> list[str]:
    """Each phrase, its name between bars."""
    return [f"{phrase.before}|{phrase.name}|{phrase.after}" for phrase in made.phrases]


# Words around a name


def test_only_the_name_stands_between_its_prefix_and_suffix(vocab: str) -> None:
    captions = {"dog": {"prefix": "big ", "suffix": ", red"}, "cat": {"name": "a CAT (toy)"}}
    made = book(vocab, ("red_circle", "dog", "cat"), captions=captions)
    assert texts(made) == ["|red circle|", "big |dog|, red", "|a CAT (toy)|"]  # another name is not cleaned
    assert [phrase.cost for phrase in made.phrases] == [2, 4, 5]
    assert made.separator_cost == 1


@pytest.mark.parametrize(
    ("separator", "words"),
    [("", {}), ("and", {}), (" and", {}), ("\u200b", {}), (". ", {"suffix": "x"}), (". ", {"prefix": "big"})],
)
def test_a_name_that_runs_into_its_neighbours_is_refused(vocab: str, separator: str, words: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"the name 'house' runs into the text beside it: '.*house.*'; put a space"):
        book(vocab, ("house",), separator=separator, captions={"house": words})


def test_an_ending_may_follow_that_leaves_the_name_its_tokens(vocab: str) -> None:
    assert texts(book(vocab, ("house",), captions={"house": {"suffix": "s"}})) == ["|house|s"]


@pytest.mark.parametrize("name", ["\u200b", "\u0301", "\ufe0f\u200d"])
def test_a_name_without_a_token_is_refused_unless_words_are_given(vocab: str, name: str) -> None:
    with pytest.raises(UserError, match="has no token, the model could not see it; rename it, or give it words"):
        book(vocab, ("dog", name))
    assert texts(book(vocab, ("dog", name), captions={name: {"name": "cat"}})) == ["|dog|", "|cat|"]


def test_a_prompt_without_room_for_a_token_is_refused(vocab: str) -> None:
    with pytest.raises(UserError, match=r"a prompt of 2 tokens holds no name; raise model\.tokenizer\.max_tokens"):
        book(vocab, ("dog",), max_tokens=2)


# Names longer than a prompt


def test_a_name_longer_than_a_prompt_is_cut_between_words_and_told_of_once(
    vocab: str, told: Callable[[], list[str]]
) -> None:
    made = book(vocab, ("cat", "dog dog dogs dog", "big dogs dog red"), max_tokens=5)
    assert texts(made) == ["|cat|", "|dog dog|", "|big dogs|"]
    assert [phrase.cost for phrase in made.phrases] == [1, 2, 3]
    assert told() == [
        "phrases longer than a prompt of 3 tokens were cut: "
        "'dog dog dogs dog' to '…dog dog', 'big dogs dog red' to '…big dogs'"
    ]


def test_a_word_longer_than_a_prompt_is_cut_between_its_tokens(vocab: str, told: Callable[[], list[str]]) -> None:
    assert texts(book(vocab, ("househouses",), max_tokens=4)) == ["|househouse|"]
    assert told() == ["phrases longer than a prompt of 2 tokens were cut: 'househouses' to '…househouse'"]


def test_of_a_long_phrase_the_suffix_goes_first_then_the_prefix_then_the_name(vocab: str) -> None:
    captions = {"dog": {"prefix": "big red ", "suffix": ", a red circle"}}
    cut = [texts(book(vocab, ("dog",), max_tokens, captions=captions))[0] for max_tokens in (9, 8, 7, 6, 5, 4, 3)]
    assert cut == [
        "big red |dog|, a red circle", "big red |dog|, a red", "big red |dog|, a", "big red |dog|,",
        "big red |dog|", "|dog|,", "|dog|",
    ]  # fmt: skip


def test_a_prompt_holds_a_cut_name_alone(vocab: str) -> None:
    tokenizer = TokenizerConfig(vocab, 5).build()
    made = PromptComposer(Vocabulary(("cat", "dog dog dog dog", "red")), tokenizer, PromptConfig())
    assert [prompt.text for prompt in made.all_names()] == ["cat", "dog dog dog", "red"]


# Knowledge


def test_knowledge_follows_the_name_and_belongs_to_nobody(vocab: str, told: Callable[[], list[str]]) -> None:
    made = book(vocab, ("dog", "cat"), captions={"dog": {"suffix": ", red"}}, knowledge={"dog": "a big dog"})
    assert texts(made) == ["|dog|, red, a big dog", "|cat|"]
    assert made.phrases[0].cost == 7
    assert told() == []


def test_knowledge_is_cut_to_the_room_left_and_told_of(vocab: str, told: Callable[[], list[str]]) -> None:
    knowledge = {"dog": "a big red dog", "cat": "a cat"}
    assert texts(book(vocab, ("dog", "cat"), 6, knowledge=knowledge)) == ["|dog|, a big", "|cat|, a cat"]
    assert told() == ["the knowledge of these names was cut to fit: 'dog'"]
    assert texts(book(vocab, ("dog",), knowledge=knowledge, knowledge_tokens=3)) == ["|dog|, a big red"]
    assert texts(book(vocab, ("dog",), 4, knowledge=knowledge)) == ["|dog|"]


# What is told


def test_names_of_unknown_tokens_only_are_told_of_once(vocab: str, told: Callable[[], list[str]]) -> None:
    book(vocab, ("dog", "zebra", "red zebra", "🐶 dog"))
    assert told() == ["the tokenizer knows no part of these names, the model reads them as unknown: 'zebra'"]


def test_names_that_read_the_same_are_told_of_once(vocab: str, told: Callable[[], list[str]]) -> None:
    names = ("dog (toy)", "Dog", "cat", "dog_(animal)", "CÀT", "zebra", "okapi", "red zebra")
    book(vocab, names)
    assert told() == [
        "the tokenizer knows no part of these names, the model reads them as unknown: 'zebra', 'okapi'",
        "the model can't tell these names apart, they read the same: 'dog (toy)' = 'Dog' = 'dog_(animal)', "
        "'cat' = 'CÀT', 'zebra' = 'okapi'; rename them, or give them words with data.prompts.captions",
    ]


def test_words_tell_names_apart_that_read_the_same(vocab: str, told: Callable[[], list[str]]) -> None:
    book(vocab, ("dog (toy)", "Dog"), captions={"Dog": {"suffix": ", big"}})
    assert told() == []


def test_of_many_names_a_warning_shows_the_first(vocab: str, told: Callable[[], list[str]]) -> None:
    book(vocab, tuple(f"q{letter * 60} {'red ' * k}cat" for k, letter in enumerate("bcdefgh")), max_tokens=3)
    (message, _, _) = told()
    assert message.count("…' to") == 5
    assert message.endswith(" and 2 more")
