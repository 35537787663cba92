"""Claims about searching for sentences: what is found is what counting everything finds, image by image."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.models.generation import Ends, GenerationConfig, Sentence, repeating, search

BEGIN, END, WORDS = 0, 1, 6  # of which 2 to 5 are words
ENDS = Ends(BEGIN, END)


def scorer(seed: int) -> Callable[[Tensor], Tensor]:
    """Next words at random, but always the same after the same beginning."""

    def after(beginning: tuple[int, ...]) -> Tensor:
        rng = random.Random(f"{seed}/{beginning}")
        return torch.tensor([rng.gauss(0, 2) for _ in range(WORDS)])

    def next_word(ids: Tensor) -> Tensor:
        return torch.stack([after(tuple(row)) for row in ids.flatten(0, 1).tolist()]).view(*ids.shape[:2], WORDS)

    return next_word


def log_prob(next_word: Callable[[Tensor], Tensor], words: tuple[int, ...]) -> float:
    """Of a sentence and its end, word by word."""
    total = 0.0
    for place, word in enumerate((*words, END)):
        ids = torch.tensor([[[BEGIN, *words[:place]]]])
        total += float(next_word(ids)[0, 0].log_softmax(dim=0)[word])
    return total


def best_of_all(next_word: Callable[[Tensor], Tensor], config: GenerationConfig) -> Sentence:
    lengths = range(config.min_length, config.max_length + 1)
    every = [words for length in lengths for words in product(range(2, WORDS), repeat=length)]
    found = [Sentence(words, log_prob(next_word, words)) for words in every]
    return max(found, key=lambda one: one.log_prob / (len(one.token_ids) + 1) ** config.length_penalty)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_enough_beams_find_what_counting_every_sentence_finds(seed: int, penalty: float) -> None:
    config = GenerationConfig(beams=600, length_penalty=penalty, max_length=3)
    next_word = scorer(seed)
    (found,), best = search(next_word, 1, ENDS, config), best_of_all(next_word, config)
    assert found.token_ids == best.token_ids
    assert found.log_prob == pytest.approx(best.log_prob, abs=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_one_beam_is_the_likeliest_word_at_every_step(seed: int) -> None:
    next_word = scorer(seed)
    words: list[int] = []
    while len(words) < 10:
        scores = next_word(torch.tensor([[[BEGIN, *words]]]))[0, 0]
        scores[BEGIN] = -torch.inf
        word = int(scores.argmax()) if words else 2 + int(scores[2:].argmax())  # a sentence has a word
        if word == END:
            break
        words.append(word)
    (found,) = search(next_word, 1, ENDS, GenerationConfig(beams=1, max_length=10))
    assert found.token_ids == tuple(words)
    assert found.log_prob == pytest.approx(log_prob(next_word, tuple(words)), abs=1e-4)


def test_the_log_probability_is_that_of_the_sentence_and_its_end() -> None:
    next_word = scorer(5)
    (found,) = search(next_word, 1, ENDS, GenerationConfig(beams=4, max_length=8))
    assert found.log_prob == pytest.approx(log_prob(next_word, found.token_ids), abs=1e-4)
    assert Sentence((2, 3, 4), -4.0).probability == pytest.approx(0.36788, abs=1e-5)  # e^-1: three words and an end


def test_more_beams_find_no_worse_sentence_here() -> None:
    config = GenerationConfig(beams=1, max_length=4)
    for seed in range(5):
        found = [search(scorer(seed), 1, ENDS, replace(config, beams=beams))[0] for beams in (1, 600)]
        scores = [one.log_prob / (len(one.token_ids) + 1) for one in found]
        assert scores[0] <= scores[1] + 1e-6


def test_images_beside_each_other_get_the_sentences_they_get_alone() -> None:
    config = GenerationConfig(beams=3, max_length=9)
    every = [scorer(seed) for seed in range(4)]

    def all_at_once(ids: Tensor) -> Tensor:
        return torch.cat([next_word(own[None]) for next_word, own in zip(every, ids, strict=True)])

    alone = [search(next_word, 1, ENDS, config)[0] for next_word in every]
    assert len({one.token_ids for one in alone}) > 1
    assert search(all_at_once, 4, ENDS, config) == alone


def test_no_run_of_words_comes_twice() -> None:
    def stuck(ids: Tensor) -> Tensor:  # would say "2 3 2 3 ..." for ever
        scores = torch.full((*ids.shape[:2], WORDS), -5.0)
        latest = ids[..., -1]
        scores.scatter_(2, torch.where(latest == 2, 3, 2)[..., None], 5.0)
        return scores

    free = search(stuck, 1, ENDS, GenerationConfig(beams=1, max_length=12))[0].token_ids
    assert free == (2, 3) * 6
    for run in (1, 2, 3):
        for beams in (1, 3):
            words = search(stuck, 1, ENDS, GenerationConfig(beams=beams, max_length=12, no_repeat=run))[0].token_ids
            runs = [words[start : start + run] for start in range(len(words) - run + 1)]
            assert len(set(runs)) == len(runs)


def test_a_word_is_a_repetition_only_after_the_same_words() -> None:
    words = torch.tensor([[[2, 3, 4, 2, 3], [2, 3, 4, 5, 3]]])
    assert repeating(words, 3, WORDS)[0].nonzero().tolist() == [[0, 4]]
    assert repeating(words, 2, WORDS)[0].nonzero().tolist() == [[0, 4], [1, 4]]
    assert repeating(words, 1, WORDS)[0].nonzero().tolist() == [[0, 2], [0, 3], [0, 4], [1, 2], [1, 3], [1, 4], [1, 5]]
    assert not repeating(words[..., :1], 2, WORDS).any()


@pytest.mark.parametrize("beams", [1, 3])
def test_sentences_keep_to_their_lengths(beams: int) -> None:
    for seed in range(4):
        for least, most in ((0, 2), (3, 3), (5, 7)):
            config = GenerationConfig(beams=beams, min_length=least, max_length=most)
            for sentence in search(scorer(seed), 3, ENDS, config):
                assert least <= len(sentence.token_ids) <= most


def test_a_penalty_on_brevity_makes_longer_sentences() -> None:
    lengths = [
        sum(
            len(
                search(scorer(seed), 1, ENDS, GenerationConfig(beams=50, length_penalty=penalty, max_length=6))[
                    0
                ].token_ids
            )
            for seed in range(5)
        )
        for penalty in (0.0, 1.0, 3.0)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


def test_banned_tokens_never_occur() -> None:
    ends = replace(ENDS, banned=frozenset({3, 5, END}))  # the end stays allowed
    for sentence in search(scorer(0), 3, ends, GenerationConfig(beams=2, max_length=8)):
        assert set(sentence.token_ids) <= {2, 4}


def test_a_sentence_that_cannot_go_on_ends_early() -> None:
    ends = replace(ENDS, banned=frozenset({3, 4, 5}))
    config = GenerationConfig(beams=2, min_length=4, max_length=8, no_repeat=1)
    assert search(scorer(0), 1, ends, config)[0].token_ids == (2,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beams": 0}, "at least 1 beam"),
        ({"no_repeat": -1}, "no_repeat of at least 0"),
        ({"min_length": 9, "max_length": 8}, "min_length <= max_length"),
        ({"min_length": 0, "max_length": 0}, "max_length of at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        GenerationConfig(**settings).check()
