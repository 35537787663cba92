"""Captions: what phrases name, and whether what is said is true."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import numpy as np

from glipv2.data.shapes import HELD_OUT, ShapesDataset, answer_vocabulary, words
from glipv2.data.shapes.captions import write_caption
from glipv2.data.shapes.language import Description, Mention, a, plural, several, unique_description, write
from glipv2.data.shapes.render import stamp_object
from glipv2.data.shapes.scene import BackgroundSpec, ObjectSpec, Scene
from glipv2.structures import GroundedPhrase

NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
SIDES = "to the left of|left of|to the right of|right of|above|below|in front of|behind"


def scene_of(*objects: tuple[str, str, str, str, float, float]) -> Scene:
    specs = tuple(ObjectSpec(*names, (x, y), 0.2, 0.0, 0.0, 1.0) for *names, x, y in objects)
    grey = (0.5, 0.5, 0.5)
    return Scene(specs, BackgroundSpec("plain", grey, grey, 0.0, 0.2, 0.0), 1.0, 0.0, 0)


TWINS = scene_of(
    ("red", "circle", "small", "plain", 0.2, 0.5),
    ("red", "circle", "small", "plain", 0.8, 0.3),
    ("blue", "star", "large", "striped", 0.5, 0.9),
)


def test_spans_are_counted_while_writing():
    text, phrases = write("{1} is above {0}.", [Mention("red ring", (4,), "a "), Mention("two stars", (0, 2))])
    assert text == "two stars is above a red ring."
    assert [(phrase.spans, phrase.instances) for phrase in phrases] == [(((0, 9),), (0, 2)), (((21, 29),), (4,))]


def test_something_absent_is_a_phrase_of_nothing():
    text, phrases = write("is there {0}?", [a(Description("orange", "ring"), ())])
    assert text == "is there an orange ring?"
    assert phrases == (GroundedPhrase(((12, 23),), ()),)


def test_names_take_their_article_and_their_plural():
    assert a(Description(shape="cross"), (0,)).article == "a "
    assert a(Description(color="orange"), (0,)).article == "an "
    assert plural("red cross") == "red crosses"
    assert several(Description("red", "circle"), (0, 1)).phrase == "two red circles"


def test_twins_that_no_word_tells_apart_have_no_description_of_their_own():
    assert all(unique_description(TWINS, 0, Random(seed)) is None for seed in range(30))
    assert all(unique_description(TWINS, 2, Random(seed)) is not None for seed in range(30))


def test_twins_are_named_as_a_group():
    for seed in range(60):
        caption = write_caption(TWINS, (), Random(seed))
        groups = [phrase for phrase in caption.phrases if 0 in phrase.instances or 1 in phrase.instances]
        assert [phrase.instances for phrase in groups] == [(0, 1)]
        begin, end = groups[0].spans[0]
        assert caption.text[begin:end] in ("two red circles", "two circles", "two red objects")


def test_one_object_makes_a_short_caption():
    scene = scene_of(("green", "heart", "small", "plain", 0.5, 0.5))
    assert {write_caption(scene, (), Random(seed)).phrases[0].instances for seed in range(20)} == {(0,)}
    assert "there is a green heart." in {write_caption(scene, (), Random(seed)).text for seed in range(60)}


def test_a_phrase_names_exactly_the_instances_it_is_grounded_to(train, unseen, read):
    for shown in (*train, *unseen):
        for caption in shown.sample.captions:
            for phrase in caption.phrases:
                ((begin, end),) = phrase.spans
                assert read(caption.text[begin:end], shown.scene) == phrase.instances


def test_a_caption_mentions_every_object_once(train):
    for shown in train:
        (caption,) = shown.sample.captions
        mentioned = sorted(index for phrase in caption.phrases for index in phrase.instances)
        assert mentioned == list(range(len(shown.scene.objects)))


def test_groups_say_how_many_they_are(train):
    groups = 0
    for shown in train:
        caption = shown.sample.captions[0]
        for phrase in caption.phrases:
            first = caption.text[phrase.spans[0][0] :].split()[0]
            assert NUMBERS.get(first, 1) == len(phrase.instances)
            groups += len(phrase.instances) > 1
    assert groups > 50


def test_relations_are_true_of_the_picture(train, unseen):
    said = Counter()
    for shown in (*train, *unseen):
        caption = shown.sample.captions[0]
        for subject, other in zip(caption.phrases, caption.phrases[1:], strict=False):
            between = caption.text[subject.spans[0][1] : other.spans[0][0]]
            found = re.fullmatch(rf"(?: is| are)? ({SIDES}) (?:an? )?", between)
            if found:
                said[found[1]] += 1
                pairs = [(first, second) for first in subject.instances for second in other.instances]
                assert all(holds(shown, first, second, found[1]) for first, second in pairs), caption.text
    assert set(said) == set(SIDES.split("|"))


def holds(shown, first: int, second: int, words_between: str) -> bool:
    """Whether a viewer agrees: sides by the centres of the visible boxes, depth by hidden pixels."""
    if words_between == "in front of":
        return hides(shown.scene, first, second)
    if words_between == "behind":
        return hides(shown.scene, second, first)
    boxes = shown.sample.instances.boxes
    (x, y), (other_x, other_y) = ((boxes[i, :2] + boxes[i, 2:]).tolist() for i in (first, second))
    word = next(word for word in ("left", "right", "above", "below") if word in words_between)
    return {"left": x < other_x, "right": x > other_x, "above": y < other_y, "below": y > other_y}[word]


def hides(scene: Scene, front: int, back: int) -> bool:
    masks = []
    for spec in (scene.objects[front], scene.objects[back]):
        stamp, mask = stamp_object(spec, 96), np.zeros((96, 96), dtype=bool)
        mask[stamp.rows, stamp.columns] = stamp.mask
        masks.append(mask)
    return front > back and bool((masks[0] & masks[1]).sum() >= 0.08 * masks[1].sum())


def test_background_words_are_true(train):
    said = [(re.search(r"on an? (\w+) background", shown.sample.captions[0].text), shown) for shown in train]
    assert sum(found is not None for found, _ in said) > 30
    assert all(found[1] == shown.scene.background.kind for found, shown in said if found)


def test_several_captions_differ():
    sample = ShapesDataset("val", 8, captions_per_scene=5)[3]
    assert len(sample.captions) == 5
    assert len({caption.text for caption in sample.captions}) > 1


def test_training_texts_never_name_a_held_out_pair(train):
    for shown in train:
        texts = [text.text for text in (*shown.sample.captions, *shown.sample.questions)]
        assert not any(name in text for text in texts for name in HELD_OUT)


def test_words_cover_every_text(train, unseen):
    known = set(words())
    texts = [*ShapesDataset("val", 1).vocabulary.names, *answer_vocabulary()]
    for shown in (*train, *unseen):
        texts += [text.text for text in (*shown.sample.captions, *shown.sample.questions)]
    assert {piece for text in texts for piece in re.findall(r"\w+|[^\w\s]", text)} <= known
    assert all(word == word.lower() and " " not in word for word in known)
