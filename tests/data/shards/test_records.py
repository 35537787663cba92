"""Claims about an image's annotations as JSON: the same after as before."""

from __future__ import annotations

import struct

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packs import assert_same

from glipv2.data.shards.records import from_bytes, to_bytes
from glipv2.structures import Caption, GroundedPhrase, ImageTruth, Question

NUMBERS = st.floats(0, 2.0**31, width=32)
WHOLE = st.integers(-(2**62), 2**62)
TEXT = st.text(max_size=12) | st.just("\ud800 a half of a sign, as JSON may hold it")
PHRASES = st.lists(
    st.builds(
        GroundedPhrase,
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=2).map(tuple),
        st.lists(st.integers(0, 3), max_size=2).map(tuple),
        st.lists(TEXT, max_size=2).map(tuple),
    ),
    max_size=2,
).map(tuple)
QUESTIONS = st.builds(Question, TEXT, st.lists(TEXT, max_size=3).map(tuple), PHRASES, TEXT, st.none() | WHOLE, TEXT)


@st.composite
def truths(draw: st.DrawFn) -> ImageTruth:
    count, height, width = draw(st.integers(0, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    flags = st.lists(st.booleans(), min_size=count, max_size=count)
    masks = draw(st.none() | st.lists(st.booleans(), min_size=count * height * width, max_size=count * height * width))
    boxes = draw(st.lists(NUMBERS, min_size=4 * count, max_size=4 * count))
    return ImageTruth(
        draw(WHOLE),
        draw(TEXT),
        (height, width),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(draw(st.lists(st.integers(0, 2**40), min_size=count, max_size=count)), dtype=torch.int64),
        torch.tensor(draw(flags), dtype=torch.bool),
        torch.tensor(draw(st.lists(NUMBERS, min_size=count, max_size=count)), dtype=torch.float32),
        None if masks is None else torch.tensor(masks, dtype=torch.bool).reshape(count, height, width),
        tuple(draw(st.lists(st.builds(Caption, TEXT, PHRASES), max_size=2))),
        tuple(draw(st.lists(QUESTIONS, max_size=2))),
    )


@given(truths())
@settings(deadline=None, max_examples=40)
def test_what_is_known_of_an_image_comes_back_to_the_last_bit(truth: ImageTruth) -> None:
    assert_same(from_bytes(to_bytes(truth)), truth)


def test_numbers_are_written_as_short_as_they_can_be() -> None:
    (tenth,) = struct.unpack("f", struct.pack("f", 0.1))
    empty = torch.zeros(0)
    truth = ImageTruth(1, "a", (9, 9), torch.tensor([[tenth, 1, 2.5, 3]]), empty.long(), empty.bool(), empty)
    assert b'"boxes":[[0.1,1.0,2.5,3.0]]' in to_bytes(truth)
