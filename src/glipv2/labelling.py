"""`glipv2 data label`: a trained model grounds the phrases of captions, and what it is sure of becomes data.

GLIP's self-training: a teacher labels images with sentences from the web, a student learns from gold and these.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.progress import track

from glipv2.checkpoints import weights_file
from glipv2.config import LabelConfig
from glipv2.data.images import read_image
from glipv2.data.noun_phrases import noun_phrases, prompt_of_spans
from glipv2.data.pairs import Pair, read_pairs
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.report.gallery import check_picture_name, contact_sheet
from glipv2.structures import Prompt
from glipv2.structures.drawing import draw_boxes, draw_lines
from glipv2.structures.grounded import GroundedText
from glipv2.tokenizer import Tokenizer
from glipv2.unfinished import LineFile, begun_before

KEPT, NO_PHRASE, UNSURE, BROKEN = "labelled", "without a noun phrase", "without a sure box", "of broken images"
TOO_LONG = "longer than the model reads"
SHEET, COLUMNS = 12, 3  # pictures of the preview


def label(config: LabelConfig) -> Counter[str]:
    """Writes ODVG grounding lines; gives how many captions became what, and the phrases and boxes.

    Work is kept in OUTPUT.partial batch by batch: the same command goes on where a killed one stopped, and ends
    with the same bytes. Raises UserError for what was begun with other words.
    """
    config.check()
    if config.preview:
        check_picture_name(config.preview)
    pairs, faults = read_pairs(config.captions, config.images, config.on_error)
    partial = Partial(config)
    done = partial.begun()
    predictor = Predictor.load(config.weights, config.device)
    predictor.task_for("phrase_grounding")  # or these weights can't label
    tokenizer = predictor.task.model_config.tokenizer.build()
    starts = range(done, len(pairs), config.batch_size)
    for start in track(starts, description="labelling", console=Console(stderr=True), transient=True):
        batch = pairs[start : start + config.batch_size]
        partial.add(_labelled(predictor, tokenizer, batch, config))
    counts = partial.finish(config.output)
    counts.update({f"records left out ({kind})": number for kind, number in faults.items()})
    if config.preview:
        write_preview(config.output, config.images, config.preview)
    return counts


@dataclass(frozen=True)
class Labelled:
    """What became of a pair: its line where it has one, why not where it has none, and how many phrases it has."""

    fate: str
    phrases: int = 0
    line: dict[str, Any] | None = None


def _labelled(predictor: Predictor, tokenizer: Tokenizer, pairs: Sequence[Pair], config: LabelConfig) -> list[Labelled]:
    """What captions of the web say in [brackets] is text as all else; only a user marks phrases with them."""
    found = [Labelled(NO_PHRASE)] * len(pairs)
    asked: list[tuple[int, Image.Image, Prompt]] = []
    for place, pair in enumerate(pairs):
        try:
            picture = read_image(config.images / pair.name)
        except UserError:
            if config.on_error == "raise":
                raise
            found[place] = Labelled(BROKEN)
            continue
        if tokenizer.count(pair.caption) + tokenizer.special_tokens > tokenizer.max_tokens:
            found[place] = Labelled(TOO_LONG)
        elif spans := noun_phrases(pair.caption):
            asked.append((place, picture, prompt_of_spans(pair.caption, spans)))
    requests = [request for _, _, request in asked]
    pictures = [picture for _, picture, _ in asked]
    results = predictor.run("phrase_grounding", pictures, requests, config.batch_size) if asked else []
    for (place, picture, _), result in zip(asked, results, strict=True):
        (text,) = result.above(config.threshold).captions
        found[place] = _line(pairs[place], text, picture.size, config.boxes)
    return found


def _line(pair: Pair, text: GroundedText, size: tuple[int, int], most: int) -> Labelled:
    """The ODVG line of a caption; boxes in hundredths of a pixel, within the picture."""
    regions = []
    for place, (spans, phrase) in enumerate(zip(text.spans, text.phrases, strict=True)):
        boxes, scores = text.of(place)
        for box, score in zip(boxes[:most].tolist(), scores[:most].tolist(), strict=True):
            corners = [round(min(max(value, 0.0), size[axis % 2]), 2) for axis, value in enumerate(box)]
            if corners[2] > corners[0] and corners[3] > corners[1]:
                spoken = {"phrase": phrase, "tokens_positive": [list(span) for span in spans]}
                regions.append({"bbox": corners, **spoken, "score": round(score, 4)})
    if not regions:
        return Labelled(UNSURE, len(text.spans))
    head = {"filename": pair.name, "height": size[1], "width": size[0]}
    return Labelled(KEPT, len(text.spans), {**head, "grounding": {"caption": text.text, "regions": regions}})


class Partial:
    """Unfinished work beside the output: a line a pair, and the words with which it was begun."""

    def __init__(self, config: LabelConfig) -> None:
        self.lines = config.output.with_name(f"{config.output.name}.partial")
        self.words = config.output.with_name(f"{config.output.name}.partial.json")
        self.batch = config.batch_size
        self._file = LineFile(self.lines)
        self._wanted = _signature(config)

    def begun(self) -> int:
        """How many pairs are done, in whole batches; a batch that was cut off is forgotten."""
        if not begun_before(self.words, self._wanted, self.lines):
            self._file.path.write_bytes(b"")
            return 0
        return self._file.keep_whole(self.batch)

    def add(self, batch: Sequence[Labelled]) -> None:
        """Appends a batch, and waits until it is on the disk."""
        self._file.add(map(asdict, batch))

    def finish(self, output: Path) -> Counter[str]:
        """The lines that there are become the output; counts them all."""
        counts: Counter[str] = Counter({KEPT: 0, "phrases": 0, "boxes": 0})
        whole = output.with_name(f"{output.name}.whole")
        with self.lines.open(encoding="utf-8") as read, whole.open("w", encoding="utf-8") as write:
            for own in map(json.loads, read):
                counts[own["fate"]] += 1
                counts["phrases"] += own["phrases"]
                if own["line"] is not None:
                    counts["boxes"] += len(own["line"]["grounding"]["regions"])
                    write.write(json.dumps(own["line"], ensure_ascii=False) + "\n")
        os.replace(whole, output)
        self.lines.unlink()
        self.words.unlink()
        return counts


def _signature(config: LabelConfig) -> dict[str, Any]:
    """What decides on the result."""
    files = {"weights": weights_file(config.weights), "captions": config.captions}
    words = {"threshold": config.threshold, "boxes": config.boxes, "batch_size": config.batch_size}
    return {
        **{key: _digest(path) for key, path in files.items()},
        **words,
        "images": str(config.images.resolve()),
        "on_error": config.on_error,
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_preview(labels: Path, images: Path, output: Path) -> None:
    """A contact sheet of the first labelled captions."""
    pictures = [_drawn(line, images) for _, line in zip(range(SHEET), _read(labels), strict=False)]
    if pictures:
        output.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(pictures, COLUMNS).save(output)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _drawn(line: dict[str, Any], images: Path) -> Image.Image:
    regions, caption = line["grounding"]["regions"], line["grounding"]["caption"]
    colors = {phrase: place for place, phrase in enumerate(dict.fromkeys(own["phrase"] for own in regions))}
    boxes, names = [own["bbox"] for own in regions], [f"{own['phrase']} {own['score']:.2f}" for own in regions]
    picture = draw_boxes(
        read_image(images / line["filename"]), boxes, names, [colors[own["phrase"]] for own in regions]
    )
    return draw_lines(picture, [caption])
