"""Claims about batches of texts: which boxes teach which words, and that an image may have any number of texts."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import torch

from glipv2.data.augment import AugmentConfig
from glipv2.data.shapes import ShapesDataset
from glipv2.data.texts import CaptionCollator, QuestionCollator, drawn
from glipv2.data.transforms import Example, ExampleDataset, truth_of
from glipv2.errors import UserError
from glipv2.pixels import PixelConfig
from glipv2.structures import Caption, GroundedPhrase, Instances, Question, Sample, TextQueryBatch
from glipv2.tokenizer import TokenizerConfig

TOKENIZER = TokenizerConfig().build()
PIXELS = PixelConfig()
DOG_AND_CAT = Caption(
    "a red circle and two blue stars", (GroundedPhrase(((2, 12),), (0,)), GroundedPhrase(((17, 31),), (2, 1)))
)
ABSENT = Caption("a red circle, no ring", (GroundedPhrase(((2, 12),), (0,)), GroundedPhrase(((17, 21),), ())))
ONLY_ABSENT = Caption("a pink heart", (GroundedPhrase(((2, 12),), ()),))
UNMARKED = Caption("something else")


def example(
    captions: Sequence[Caption] = (), questions: Sequence[Question] = (), crowd: int | None = None,
    kept: tuple[int, ...] | None = None,
) -> Example:  # fmt: skip
    """Objects at boxes (k, k, k + 10, k + 20), of which `kept` are left."""
    rows = list(range(3)) if kept is None else list(kept)
    boxes = torch.tensor([[k, k, k + 10, k + 20] for k in rows], dtype=torch.float32).reshape(-1, 4)
    is_crowd = torch.tensor([k == crowd for k in rows], dtype=torch.bool)
    instances = Instances(boxes, torch.zeros(len(rows), dtype=torch.int64), is_crowd, torch.ones(len(rows)))
    image = torch.full((3, 40, 60), 100, dtype=torch.uint8)
    sample = Sample(image, 1, "a.png", instances, tuple(captions), tuple(questions))
    return Example(image, instances, truth_of(sample), sample, kept)


def taught(examples: Sequence[Example], most: int = 0) -> TextQueryBatch:
    return CaptionCollator(PIXELS, TOKENIZER, training=True, most=most)(examples)


def said(batch: TextQueryBatch, row: int, tokens: torch.Tensor) -> str:
    return TOKENIZER._backend.decode(batch.prompts.text.token_ids[row, tokens].tolist())


def test_each_box_points_at_the_words_that_name_it() -> None:
    batch = taught([example([DOG_AND_CAT])])
    assert batch.targets is not None
    assert batch.targets.boxes[0, :, 0].tolist() == [0, 1, 2]
    assert [said(batch, 0, row) for row in batch.targets.positive_map[0]] == [
        "red circle", "two blue stars", "two blue stars"
    ]  # fmt: skip
    assert [said(batch, 0, row) for row in batch.prompts.phrase_map[0]] == ["red circle", "two blue stars"]
    assert batch.prompts.phrase_labels.tolist() == [[0, 1]]


def test_a_box_that_two_phrases_name_has_the_words_of_both() -> None:
    both = Caption("the circle, a ring", (GroundedPhrase(((4, 10),), (0,)), GroundedPhrase(((14, 18),), (0,))))
    batch = taught([example([both])])
    assert batch.targets is not None
    assert said(batch, 0, batch.targets.positive_map[0, 0]) == "circle ring"


def test_a_phrase_of_nothing_has_words_but_no_box() -> None:
    batch = taught([example([ABSENT, ONLY_ABSENT])])
    assert batch.targets is not None and batch.targets.judged is not None
    assert batch.targets.box_mask.tolist() == [[True], [False]]
    assert batch.targets.judged.all(dim=1).tolist() == [True, True]  # what is known to be absent teaches as a negative
    assert [said(batch, 0, row) for row in batch.prompts.phrase_map[0]] == ["red circle", "ring"]


def test_a_text_that_nobody_annotated_is_not_judged() -> None:
    batch = taught([example([UNMARKED, DOG_AND_CAT])])
    assert batch.targets is not None and batch.targets.judged is not None
    assert batch.targets.judged.all(dim=1).tolist() == batch.targets.judged.any(dim=1).tolist() == [False, True]


def test_crowds_and_what_a_crop_took_away_teach_no_box() -> None:
    batch = taught(
        [example([DOG_AND_CAT], crowd=1), example([DOG_AND_CAT], kept=(2,)), example([DOG_AND_CAT], kept=())]
    )
    assert batch.targets is not None
    assert batch.targets.box_mask.sum(dim=1).tolist() == [2, 1, 0]
    assert batch.targets.boxes[1, 0].tolist() == [2, 2, 12, 22]
    assert said(batch, 1, batch.targets.positive_map[1, 0]) == "two blue stars"


def test_phrases_keep_their_boxes_through_every_augmentation() -> None:
    torch.manual_seed(0)
    augment = AugmentConfig(crop=1.0, zoom_out=0.5, flip=0.5)
    pixels = PixelConfig(short_side=96, max_long_side=300)
    samples = ShapesDataset("train", 12, image_size=96, captions_per_scene=1)
    examples = [ExampleDataset(samples, pixels, augment)[index] for index in range(12)]
    assert any(len(one.instances) < len(one.sample.instances) for one in examples)
    batch = CaptionCollator(pixels, TOKENIZER, training=True)(examples)
    assert batch.targets is not None
    names = samples.vocabulary.names
    for row, one in enumerate(examples):
        found = [said(batch, row, tokens) for tokens, real in zip(
            batch.targets.positive_map[row], batch.targets.box_mask[row], strict=True) if real]  # fmt: skip
        labels = one.instances.labels.tolist()
        assert len(found) == len(labels)  # a caption mentions every object
        for words, label in zip(found, labels, strict=True):
            color, shape = names[label].split()
            assert color in words or shape in words or shape[:4] in words


def test_images_have_any_number_of_texts_and_all_images_stay() -> None:
    batch = taught([example(), example([DOG_AND_CAT, UNMARKED]), example([ABSENT])])
    assert batch.image_rows.tolist() == [1, 1, 2]
    assert [text.text for text in batch.texts] == [DOG_AND_CAT.text, UNMARKED.text, ABSENT.text]
    assert len(batch) == len(batch.truth) == 3
    assert batch.words is not None and batch.words.images is not None
    assert batch.words.images.tolist() == [0, 0, 1]


def test_without_any_text_there_is_a_batch_without_rows() -> None:
    for collator in (CaptionCollator(PIXELS, TOKENIZER, training=True),
                     CaptionCollator(PIXELS, TOKENIZER, training=False),
                     QuestionCollator(PIXELS, TOKENIZER, ("yes",), training=True)):  # fmt: skip
        batch = collator([example(), example()])
        assert batch.image_rows.tolist() == []
        assert batch.prompts.text.token_ids.shape[0] == 0
        assert len(batch) == 2


def test_every_word_of_a_caption_may_be_hidden_and_none_is_propagated() -> None:
    batch = taught([example([DOG_AND_CAT, UNMARKED])])
    assert batch.words is not None
    assert said(batch, 0, batch.words.maskable[0]) == DOG_AND_CAT.text
    assert said(batch, 1, batch.words.maskable[1]) == UNMARKED.text
    assert not batch.words.token_classes.any()
    assert not batch.words.box_classes.any()


def test_no_word_of_a_question_may_be_hidden() -> None:
    batch = QuestionCollator(PIXELS, TOKENIZER, ("yes",), training=True)(
        [example(questions=[Question("is it red?", ("yes",))])]
    )
    assert batch.words is not None
    assert not batch.words.maskable.any()


def test_answers_are_rows_of_how_right_each_is(caplog: pytest.LogCaptureFixture) -> None:
    questions = [Question("is it red?", ("yes",)), Question("what is it?", ("ring", "ring", "circle", "cup"))]
    unknown = [Question("who is it?", ("Ann",)), Question("who else?", ("Bob",))]
    collator = QuestionCollator(PIXELS, TOKENIZER, ("yes", "ring", "circle"), training=True)
    with caplog.at_level(logging.WARNING):
        batch = collator([example(questions=questions), example(questions=unknown)])
        collator([example(questions=unknown)])
    assert batch.answers is not None
    assert batch.answers.flatten().tolist() == pytest.approx([1, 0, 0, 0, 0.5, 0.25, 0, 0, 0, 0, 0, 0])
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "some questions have none of the 3 answers that are learned, as 'who is it?' (Ann)"
    ]


def test_training_draws_texts_and_evaluation_takes_all() -> None:
    captions = [Caption(f"a ring {'very ' * count}red") for count in range(5)]
    torch.manual_seed(0)
    counts = [len(taught([example(captions)], most=2).texts) for _ in range(3)]
    first = {taught([example(captions)], most=1).texts[0].text for _ in range(40)}
    assert counts == [2, 2, 2]
    assert first == {caption.text for caption in captions}
    evaluated = CaptionCollator(PIXELS, TOKENIZER, training=False, most=2)([example(captions)])
    assert [text.text for text in evaluated.texts] == [caption.text for caption in captions]
    assert evaluated.targets is None
    assert drawn(captions, 0, seed=1) == captions


def test_images_whose_texts_say_left_or_right_are_never_mirrored() -> None:
    samples = ShapesDataset("train", 60, image_size=64, captions_per_scene=0)
    always = ExampleDataset(samples, PixelConfig(short_side=64), AugmentConfig(flip=1.0))
    flipped = [bool((always[index].image != samples[index].image).any()) for index in range(60)]
    sided = [any(word in question.text.split() for question in samples[index].questions for word in ("left", "right"))
             for index in range(60)]  # fmt: skip
    assert any(sided)
    assert flipped == [not side for side in sided]


# Side by side


def test_questions_side_by_side_teach_what_they_teach_one_by_one() -> None:
    asked = [
        Question("is the red circle there?", ("yes",), (GroundedPhrase(((7, 17),), (0,)),)),
        Question("why?", ("no",)),
        Question(
            "are two blue stars here, or a ring?",
            ("yes",),
            (GroundedPhrase(((4, 18),), (2, 0)), GroundedPhrase(((30, 34),), ())),
        ),
    ]
    examples = [example(), example(questions=asked), example(questions=asked[1:2])]
    batch = QuestionCollator(PIXELS, TOKENIZER, ("yes", "no"), training=True, together=True)(examples)
    assert batch.image_rows.tolist() == [1, 2]
    assert [text.text for text in batch.texts] == [one.text for one in (*asked, asked[1])]
    assert batch.answers is not None and batch.answers.tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    parts = batch.prompts.text.segment_map()
    assert [said(batch, row, parts[row, place]) for row, place in parts.any(dim=-1).nonzero().tolist()] == [
        TOKENIZER._backend.decode(list(text.token_ids)) for text in TOKENIZER.encode([one.text for one in batch.texts])
    ]
    assert [said(batch, 0, row) for row in batch.prompts.phrase_map[0]] == ["red circle", "two blue stars", "ring"]
    assert batch.targets is not None and batch.targets.judged is not None
    assert batch.targets.box_mask.tolist() == [[True, True], [False, False]]
    assert [said(batch, 0, row) for row in batch.targets.positive_map[0]] == [
        "red circle two blue stars", "two blue stars"
    ]  # fmt: skip
    judged = batch.targets.judged & batch.prompts.text.token_mask
    assert torch.equal(judged[0], parts[0, 0] | parts[0, 2])
    assert not judged[1].any()
    places = batch.prompts.text.places()
    assert [places[0, tokens].tolist() for tokens in parts[0]] == [list(range(int(row.sum()))) for row in parts[0]]


def test_texts_side_by_side_are_not_limited_together_but_each() -> None:
    long = Question("is it " + "red " * (TOKENIZER.max_tokens // 2), ("yes",))
    together = QuestionCollator(PIXELS, TOKENIZER, ("yes",), training=True, together=True)
    batch = together([example(questions=[long, long, long])])
    assert batch.prompts.text.token_ids.shape[1] > TOKENIZER.max_tokens
    with pytest.raises(UserError, match="the model reads at most"):
        together([example(questions=[Question("is it " + "red " * TOKENIZER.max_tokens, ("yes",))])])
