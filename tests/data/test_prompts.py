"""Claims about prompts: every name, no name cut, never past the budget."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glipv2.data.prompts import PromptComposer, PromptConfig, collate_prompts, collate_rows, names_in_text
from glipv2.errors import UserError
from glipv2.structures import Phrase, Prompt, Vocabulary
from glipv2.tokenizer import Tokenizer, TokenizerConfig

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "red", "circle", "dog", "cat", "cow", "hen", "##s", "a"]


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    path.write_text("\n".join(PIECES))
    return str(path)


def composer(vocab: str, names: tuple[str, ...], max_tokens: int = 12, **options: object) -> PromptComposer:
    config = PromptConfig(**options)  # type: ignore[arg-type]
    return PromptComposer(Vocabulary(names), TokenizerConfig(vocab, max_tokens).build(), config)


def labels(prompt: Prompt) -> list[int]:
    return [phrase.label for phrase in prompt.phrases]


def spoken(prompt: Prompt) -> list[str]:
    """What each phrase's characters say."""
    return [prompt.text[begin:end] for phrase in prompt.phrases for begin, end in phrase.spans]


NAMES = ("red circle", "dog", "cat", "cow", "hen", "dogs", "red dog")


# All names


def test_all_names_come_once_in_order_and_whole(vocab: str) -> None:
    prompts = composer(vocab, NAMES).all_names()
    assert [prompt.text for prompt in prompts] == ["red circle. dog. cat. cow. hen", "dogs. red dog"]
    assert [label for prompt in prompts for label in labels(prompt)] == list(range(7))
    assert [name for prompt in prompts for name in spoken(prompt)] == list(NAMES)


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(
        st.lists(st.sampled_from(["red", "dog", "dogs", "zebra", "a", "cat."]), min_size=1, max_size=3).map(" ".join),
        min_size=1,
        max_size=30,
        unique=True,
    ),
    max_tokens=st.integers(10, 40),
)
def test_no_prompt_exceeds_the_budget(vocab: str, names: list[str], max_tokens: int) -> None:
    own = composer(vocab, tuple(names), max_tokens)
    rng = random.Random(0)
    evaluation = own.all_names()
    training = [own.sampled(rng.sample(range(len(names)), len(names) // 2), rng) for _ in range(5)]
    assert [label for prompt in evaluation for label in labels(prompt)] == list(range(len(names)))
    for prompt in evaluation + training:
        assert len(own.tokenizer.encode([prompt.text])[0]) <= max_tokens
        assert spoken(prompt) == [names[label] for label in labels(prompt)]


def test_a_prompt_that_fits_exactly_is_not_split(vocab: str) -> None:
    five = composer(vocab, ("dog", "cat", "cow", "hen", "a"), max_tokens=11)
    assert len(five.all_names()) == 1  # 5 names, 4 full stops and 2 special tokens
    assert len(composer(vocab, ("dog", "cat", "cow", "hen", "a"), max_tokens=10).all_names()) == 2


def test_evaluation_prompts_hold_at_most_eval_names(vocab: str) -> None:
    prompts = composer(vocab, NAMES, 200, eval_names=3).all_names()
    assert [labels(prompt) for prompt in prompts] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(composer(vocab, NAMES, 200).all_names()) == 1


# Sampled names


def test_an_images_own_names_are_always_in_its_prompt(vocab: str) -> None:
    own = composer(vocab, NAMES, 200)
    for seed in range(50):
        chosen = labels(own.sampled([4, 1, 4], random.Random(seed)))
        assert {1, 4} <= set(chosen)
        assert len(chosen) == len(set(chosen))


def test_negatives_are_absent_names_and_their_number_varies(vocab: str) -> None:
    own = composer(vocab, NAMES, 200, full_probability=0.0)
    counts = {len(labels(own.sampled([1], random.Random(seed)))) for seed in range(100)}
    assert counts == set(range(1, 8))
    assert all(
        len(labels(composer(vocab, NAMES, 200, full_probability=1.0).sampled([1], random.Random(seed)))) == 7
        for seed in range(20)
    )


def test_a_prompt_has_at_most_max_names_but_never_fewer_than_the_positives(vocab: str) -> None:
    own = composer(vocab, NAMES, 200, max_names=2, full_probability=1.0)
    assert len(labels(own.sampled([1], random.Random(0)))) == 2
    assert sorted(labels(own.sampled([0, 1, 2, 3], random.Random(0)))) == [0, 1, 2, 3]
    everything = composer(vocab, NAMES, 200, max_names=0, full_probability=1.0)
    assert len(labels(everything.sampled([], random.Random(0)))) == 7


def test_an_image_without_objects_gets_negatives_only(vocab: str) -> None:
    own = composer(vocab, NAMES, 200)
    assert all(len(labels(own.sampled([], random.Random(seed)))) >= 1 for seed in range(20))


def test_positives_past_the_budget_are_drawn_anew_each_time(vocab: str) -> None:
    own = composer(vocab, NAMES, 8)  # three names of one word
    kept = [frozenset(labels(own.sampled([1, 2, 3, 4], random.Random(seed)))) for seed in range(60)]
    assert {len(names) for names in kept} == {3}
    assert set(kept) == {frozenset({1, 2, 3, 4} - {left_out}) for left_out in (1, 2, 3, 4)}


def test_the_same_generator_gives_the_same_prompt(vocab: str) -> None:
    own = composer(vocab, NAMES, 200)
    first = [own.sampled([1, 2], random.Random(seed)) for seed in range(10)]
    assert first == [own.sampled([2, 1], random.Random(seed)) for seed in range(10)]
    assert len({prompt.text for prompt in first}) > 1


def test_the_order_is_drawn_unless_it_shall_stay(vocab: str) -> None:
    drawn = composer(vocab, NAMES, 200, full_probability=1.0)
    fixed = composer(vocab, NAMES, 200, full_probability=1.0, shuffle=False)
    assert len({tuple(labels(drawn.sampled([6, 0], random.Random(seed)))) for seed in range(10)}) > 5
    assert {tuple(labels(fixed.sampled([6, 0], random.Random(seed)))) for seed in range(10)} == {tuple(range(7))}


# Batches


def test_collated_prompts_point_each_label_at_its_tokens(vocab: str) -> None:
    own = composer(vocab, NAMES)
    batch, encoded = collate_prompts(own.all_names(), own.tokenizer)
    assert batch.text.token_ids.shape == batch.text.token_mask.shape == (2, 12)
    assert batch.text.token_mask.sum(dim=1).tolist() == [len(text) for text in encoded] == [12, 7]
    assert batch.text.token_ids[~batch.text.token_mask].eq(own.tokenizer.pad_id).all()
    assert batch.phrase_labels.tolist() == [[0, 1, 2, 3, 4], [5, 6, -1, -1, -1]]
    pieces = {PIECES[int(i)] for i in batch.text.token_ids[0, batch.phrase_map[0, 0]]}
    assert pieces == {"red", "circle"}
    assert [PIECES[int(i)] for i in batch.text.token_ids[1, batch.phrase_map[1, 0]]] == ["dog", "##s"]
    assert not batch.phrase_map[1, 2:].any()  # no phrases there


def test_images_with_fewer_prompts_than_others_get_prompts_without_a_phrase(vocab: str) -> None:
    own = composer(vocab, NAMES)
    first, second = collate_rows([own.all_names(), [Prompt("hen", (Phrase(4, ((0, 3),)),))]], own.tokenizer)
    assert first.phrase_labels.tolist() == [[0, 1, 2, 3, 4], [4, -1, -1, -1, -1]]
    assert second.phrase_labels.tolist() == [[5, 6], [-1, -1]]
    assert not second.phrase_map[1].any()
    assert second.text.token_mask.sum(dim=1).tolist() == [7, 2]  # special tokens only


@pytest.mark.parametrize(("words", "length"), [(1, 32), (30, 32), (31, 64), (62, 64), (70, 80)])
def test_lengths_are_rounded_up_so_that_few_differ(vocab: str, words: int, length: int) -> None:
    tokenizer: Tokenizer = TokenizerConfig(vocab, max_tokens=80).build()
    batch, _ = collate_prompts([Prompt(" ".join(["dog"] * words), ())], tokenizer)
    assert batch.text.token_ids.shape == (1, length)
    assert int(batch.text.token_mask.sum()) == words + 2
    assert batch.phrase_map.shape == (1, 0, length)
    assert batch.phrase_map.dtype == torch.bool


# Names in a text


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a red circle. a blue square.", ("red circle", "blue square")),
        ("The dog.an apple . A  cat", ("dog", "apple", "cat")),
        ("dog. dog. a dog.", ("dog",)),
        ("anchor. thermos. a", ("anchor", "thermos", "a")),
        ("große Straße. 猫", ("große Straße", "猫")),
    ],
)
def test_names_are_split_at_full_stops_without_articles(text: str, names: tuple[str, ...]) -> None:
    assert names_in_text(text) == names


@pytest.mark.parametrize("text", ["", " ", ". . .", "\n"])
def test_a_text_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected names separated by full stops"):
        names_in_text(text)


def test_a_held_out_name_is_never_a_negative_in_training_but_stands_in_evaluation(vocab: str) -> None:
    vocabulary = Vocabulary(("dog", "cat", "cow"))
    made = PromptComposer(vocabulary, TokenizerConfig(vocab, 12).build(), PromptConfig(), taught=("dog", "cow"))
    drawn = {label for seed in range(50) for label in labels(made.sampled([0], random.Random(seed)))}
    assert drawn == {0, 2}
    assert [label for prompt in made.all_names() for label in labels(prompt)] == [0, 1, 2]


def test_present_names_are_left_out_as_often_as_asked(vocab: str) -> None:
    made = composer(vocab, ("dog", "cat", "cow"), leave_out=0.5, max_names=1, full_probability=1.0)
    prompts = [labels(made.sampled([0], random.Random(seed))) for seed in range(400)]
    assert all(prompts), "a prompt always has a name"
    assert 160 < sum(0 in prompt for prompt in prompts) < 240
    assert all(labels(made.sampled([0, 1, 2], random.Random(seed))) for seed in range(50))
