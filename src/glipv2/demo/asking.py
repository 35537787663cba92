"""What the page asks of a model, and what it shows of the answer; knows nothing of browsers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from glipv2.data.images import read_image, to_tensor
from glipv2.data.shapes import ShapesDataset
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.structures import Detections, Segments
from glipv2.structures.drawing import label_color
from glipv2.structures.grounded import Answers, GroundedText, ImageCaption, TextsInImage

MOST_PIXELS = 25_000_000
MOST_BYTES = 10 * 2**20
MOST_LETTERS = 2000
SHOWN = 12  # boxes in the table
SCENES = (4, 20, 31)  # of the validation split: three to five objects


@dataclass(frozen=True)
class Question:
    """What a task wants to be told. label: above the field; example: inside it; both empty: nothing."""

    title: str
    label: str = ""
    example: str = ""


QUESTIONS = {
    "detection": Question("Find names", "Names, separated by full stops", "a red circle. a blue square."),
    "instance_segmentation": Question("Cut out names", "Names, separated by full stops", "a red circle."),
    "phrase_grounding": Question("Ground a caption", "A caption, phrases in [brackets] if you like",
                                 "[a red circle] above [a blue square]"),
    "vqa": Question("Answer a question", "A question", "how many circles are there?"),
    "captioning": Question("Write a caption"),
}  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """An answer on its way to the page: found is the task's own result, without a threshold."""

    task: str
    image: Image.Image
    found: Any

    def drawn(self, threshold: float) -> Image.Image:
        """The picture with everything scored `threshold` or better on it."""
        picture: Image.Image = self.found.above(threshold).draw(self.image)
        return picture

    def markup(self, threshold: float) -> str:
        """HTML: the text with its phrases in the colours that they have in the picture, and what was found."""
        return "".join(_markup(self.found.above(threshold)))

    def document(self, threshold: float) -> str:
        """The same as JSON."""
        told = {"task": self.task, "threshold": threshold, **self.found.above(threshold).to_dict()}
        return json.dumps(told, indent=2, ensure_ascii=False)


def tasks_of(model: Predictor) -> list[str]:
    """Those of the five that these weights can do."""

    def can(task: str) -> bool:
        try:
            model.task_for(task)
        except UserError:
            return False
        return True

    return [task for task in QUESTIONS if can(task)]


def ask(model: Predictor, content: bytes, task: str, text: str) -> Shown:
    """What a model says of the picture in a file; UserError for what is too large, no picture, or no question."""
    if len(content) > MOST_BYTES:
        raise UserError(f"the file has {len(content) / 2**20:.1f} MB, the limit is {MOST_BYTES // 2**20} MB")
    if len(text) > MOST_LETTERS:
        raise UserError(f"the text has {len(text)} letters, the limit is {MOST_LETTERS}")
    image = read_image("picture", max_pixels=MOST_PIXELS, content=content)
    (found,) = model.run(task, to_tensor(image), model.request(task, text))
    return Shown(task, image, found)


def examples(folder: Path) -> list[tuple[Path, str]]:
    """Writes the pictures that ship with the package, a photograph and made scenes, each with the names in it."""
    photo = folder / "stop_sign.jpg"
    photo.write_bytes(resources.files("glipv2.data").joinpath("photos/stop_sign.jpg").read_bytes())
    made = [(photo, "stop sign.")]
    scenes = ShapesDataset("val", 1 + max(SCENES), image_size=256, with_language=False)
    for index in SCENES:
        scene, path = scenes[index], folder / f"scene_{index}.png"
        Image.fromarray(scene.image.permute(1, 2, 0).numpy()).save(path)
        names = dict.fromkeys(scenes.vocabulary.names[label] for label in scene.instances.labels.tolist())
        made.append((path, "".join(f"{name}. " for name in names).strip()))
    return made


def _markup(found: Any) -> Iterator[str]:
    if isinstance(found, (Detections, Segments)):
        yield _table(found.names, found.scores, found.labels.tolist())
    elif isinstance(found, Answers):
        for answer in found.answers:
            yield f"<p>{colored(answer.question)}</p>"
            ranked = list(zip(answer.texts, answer.probabilities, strict=True))
            others = [f"{escape(text)} {share:.2f}" for text, share in ranked[1:4]]
            yield f"<p><strong>{escape(answer.text)}</strong> {answer.probability:.2f}"
            yield f" <small>(next: {', '.join(others)})</small></p>" if others else "</p>"
            yield from _phrases([answer.question])
    elif isinstance(found, TextsInImage):
        for text in found.grounded_texts:
            yield f"<p>{colored(text)}</p>"
        if isinstance(found, ImageCaption):
            yield f"<p><small>{found.probability:.2f} a word</small></p>"
        yield from _phrases(found.grounded_texts)


def _phrases(texts: Sequence[GroundedText]) -> Iterator[str]:
    first = 0
    for text in texts:
        names = [text.phrases[label] for label in text.labels.tolist()]
        yield _table(names, text.scores, [first + label for label in text.labels.tolist()])
        first += len(text.spans)


def colored(text: GroundedText, first: int = 0) -> str:
    """A text as HTML, its phrases marked in the colours of their boxes."""
    marks = sorted((begin, end, first + place) for place, spans in enumerate(text.spans) for begin, end in spans)
    parts, done = [], 0
    for begin, end, color in marks:
        if begin < done:  # phrases within phrases: the outer one is shown
            continue
        parts += [escape(text.text[done:begin]), _mark(text.text[begin:end], color)]
        done = end
    return "".join([*parts, escape(text.text[done:])])


def _mark(words: str, color: int) -> str:
    red, green, blue = label_color(color)
    return f'<mark style="background: rgb({red},{green},{blue}); color: black">{escape(words)}</mark>'


def _table(names: Sequence[str], scores: Tensor, colors: Sequence[int]) -> str:
    if not names:
        return "<p>Nothing is that sure. Move the slider to the left to see what is less so.</p>"
    rows = [
        f"<tr><td>{_mark(name, color)}</td><td>{score:.2f}</td></tr>"
        for name, score, color in list(zip(names, scores.tolist(), colors, strict=True))[:SHOWN]
    ]
    more = f"<p>and {len(names) - SHOWN} more</p>" if len(names) > SHOWN else ""
    return f"<table><tr><th>what</th><th>score</th></tr>{''.join(rows)}</table>{more}"
