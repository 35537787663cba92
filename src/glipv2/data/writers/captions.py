"""What is written of a caption, whatever the layout: its phrases, and the boxes that they name."""

from __future__ import annotations

from dataclasses import dataclass

from glipv2.data.writers.parts import Written
from glipv2.structures import Caption, ImageTruth, Span

Phrase = tuple[tuple[Span, ...], tuple[int, ...]]  # spans, and places of boxes among the truth's


@dataclass(frozen=True)
class CaptionRows:
    """phrases: those with a box; spans_of: by the place of a box among the truth's, all that name it."""

    text: str
    phrases: tuple[Phrase, ...]
    spans_of: dict[int, list[Span]]


def caption_rows(truth: ImageTruth, caption: Caption, written: Written, *, with_crowds: bool) -> CaptionRows:
    """Counts what is lost: crowds where the layout has none, absent phrases, types, phrases that share words."""
    lost = written.lost
    phrases: list[Phrase] = []
    spans_of: dict[int, list[Span]] = {}
    for phrase in caption.phrases:
        kept = tuple(one for one in phrase.instances if with_crowds or not bool(truth.is_crowd[one]))
        lost["phrases without a box (left out)"] += not kept
        lost["types of phrases"] += len(phrase.kinds)
        if kept:
            phrases.append((phrase.spans, kept))
        for one in kept:
            own = spans_of.setdefault(one, [])
            own += [span for span in phrase.spans if span not in own]
    for spans, instances in phrases:  # a reader gives a phrase every box that has one of its spans
        read = {one for one, own in spans_of.items() if not set(own).isdisjoint(spans)}
        lost["phrases that share words (and so their boxes)"] += read != set(instances)
    return CaptionRows(caption.text, tuple(phrases), spans_of)


def lose_unnamed(truth: ImageTruth, written: Written) -> None:
    """Counts images and boxes that captions do not speak of, and boxes that several captions share."""
    named = [{one for phrase in caption.phrases for one in phrase.instances} for caption in truth.captions]
    times = [sum(one in own for own in named) for one in range(len(truth.boxes))]
    written.lost["images without a caption (left out)"] += not truth.captions
    written.lost["boxes that no phrase names (left out)"] += sum(count == 0 for count in times)
    written.lost["boxes shared by captions (repeated for each)"] += sum(count > 1 for count in times)
