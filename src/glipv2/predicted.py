"""What a prediction over a folder has found so far, and the files that it becomes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from glipv2.runs import write_json
from glipv2.structures import Prediction
from glipv2.unfinished import LineFile, begun_before

TOLD = 40  # findings of a picture that the terminal's table may show; the files hold everything

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Summary:
    """What came of it. skipped: pictures that could not be read, with the reason; rows: the first findings in words."""

    images: int
    findings: int
    skipped: tuple[tuple[Path, str], ...]
    rows: tuple[tuple[str, str, str, str], ...]


class Kept:
    """The folder `.partial` of an output: lines of finished pictures, by part, and the pictures drawn."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output / ".partial"
        self.pictures = self.folder / "pictures"

    def begin(self, words: Mapping[str, Any]) -> None:
        """Makes the folder, or goes on with it; UserError for what was begun with other words."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        if begun_before(self.folder / "words.json", words, self.folder):
            for part in self._parts():
                part.keep_whole()

    def part(self, number: int) -> LineFile:
        """Where one process writes its lines."""
        return LineFile(self.folder / f"part_{number}.jsonl")

    def done(self) -> set[str]:
        """Paths of pictures that were read and predicted; broken ones are tried again."""
        return {line["path"] for part in self._parts() for line in part.read() if "fault" not in line}

    def drop(self) -> None:
        """Forgets everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def finish(self, paths: Sequence[Path], content: Mapping[str, Any]) -> Summary:
        """Writes predictions.json and puts it and the pictures in their place; ids count the paths from 1."""
        places = self._places()
        numbered = [(number, path) for number, path in enumerate(paths, start=1) if str(path) in places]
        summary = self._summary(numbered, places)
        whole = self.folder / "predictions.json"
        images = [
            {"id": number, "file_name": printable(path.name), "height": line["height"], "width": line["width"]}
            for number, path, line in self._lines(numbered, places)
        ]
        head = {**content, "images": images}
        if summary.skipped:
            head["skipped"] = [
                {"file_name": printable(path.name), "reason": reason} for path, reason in summary.skipped
            ]
        write_json(self.folder / "head.json", head)
        with whole.open("w", encoding="utf-8") as file:
            file.write((self.folder / "head.json").read_text("utf-8").rstrip().removesuffix("}").rstrip())
            file.write(',\n  "annotations": [')
            between = "\n"
            for number, path, line in self._lines(numbered, places):
                for record in line["records"]:
                    whole_record = {**record, "image_id": number, "file_name": printable(path.name)}
                    file.write(f"{between}    {json.dumps(whole_record, ensure_ascii=False)}")
                    between = ",\n"
            file.write("\n  ]\n}\n")
        for number, path, line in self._lines(numbered, places):
            drawn = self.pictures / f"{picture_key(path)}.png"
            if line["drawn"] and drawn.exists():
                os.replace(drawn, self.output / f"{path.stem}_{number}.png")
        os.replace(whole, self.output / "predictions.json")
        self.drop()
        return summary

    def _parts(self) -> list[LineFile]:
        return [LineFile(path) for path in sorted(self.folder.glob("part_*.jsonl"))]

    def _places(self) -> dict[str, tuple[Path, int]]:
        """File and offset of the latest line of each path: lines themselves may be too many for the memory."""
        found: dict[str, tuple[Path, int]] = {}
        for part in self._parts():
            with part.path.open("rb") as file:
                offset = 0
                for line in file:
                    found[json.loads(line)["path"]] = (part.path, offset)
                    offset += len(line)
        return found

    def _lines(
        self, numbered: Sequence[tuple[int, Path]], places: Mapping[str, tuple[Path, int]], broken: bool = False
    ) -> Iterator[tuple[int, Path, Line]]:
        """The lines of readable pictures, or of broken ones, in order."""
        for number, path in numbered:
            source, offset = places[str(path)]
            with source.open("rb") as file:
                file.seek(offset)
                line = json.loads(file.readline())
            if ("fault" in line) == broken:
                yield number, path, line

    def _summary(self, numbered: Sequence[tuple[int, Path]], places: Mapping[str, tuple[Path, int]]) -> Summary:
        images, findings = 0, 0
        rows: list[tuple[str, str, str, str]] = []
        for _, path, line in self._lines(numbered, places):
            images += 1
            findings += line["findings"]
            rows += [(printable(path.name), *own) for own in line["told"][: TOLD - len(rows)]]
        broken = tuple((path, line["fault"]) for _, path, line in self._lines(numbered, places, broken=True))
        return Summary(images, findings, broken, tuple(rows))


def printable(text: str) -> str:
    """A file's name, or a sentence with one, for JSON and terminals: bytes that are no UTF-8 as U+FFFD."""
    return os.fsencode(text).decode("utf-8", "replace")


def picture_key(path: Path) -> str:
    """A file name for what is drawn of a picture while its number may still change."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:24]


def line_of(path: Path, found: Prediction, drawn: bool) -> dict[str, Any]:
    """What is kept of a picture."""
    told = found.lines()
    height, width = found.image_size
    return {
        "path": str(path), "height": height, "width": width, "records": found.to_records(0), "told": told[:TOLD],
        "findings": len(told), "drawn": drawn,
    }  # fmt: skip


def as_image(pixels: Tensor) -> Image.Image:
    """RGB uint8 [3, H, W] for drawing."""
    assert pixels.dtype == torch.uint8
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
