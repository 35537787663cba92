"""What a check finds: a code that never changes its meaning, where it is, what it is, and what to do about it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SHOWN = 100  # findings of one code and file that are kept in full; all are counted
OTHER = "E199"


@dataclass(frozen=True)
class Code:
    """title: what it is, in the plural. An error (E…) makes training wrong or impossible, a warning (W…) may."""

    code: str
    title: str
    remedy: str

    @property
    def is_error(self) -> bool:
        return self.code.startswith("E")


CODES: Mapping[str, Code] = {
    code.code: code
    for code in (
        Code("E101", "files that can't be used", "give the file that the message asks for, or export it again"),
        Code("E102", "files of which nothing is left", "mend what the other findings of the file name"),
        Code("E103", "records with missing or malformed fields", "mend the record or remove it (--fix DIR removes)"),
        Code("E104", "ids that occur twice", "give each record its own id (--fix DIR does)"),
        Code("E105", "records about an image that is not listed", "list the image, or remove them (--fix DIR removes)"),
        Code("E106", "unknown categories", "list the category, or remove the boxes (--fix DIR removes)"),
        Code("E107", "questions and answers that don't fit together", "take both files from the same release"),
        Code("W108", "records that are left out with their image", "mend the image's record"),
        Code(OTHER, "other faults of records", "mend the record or remove it"),
        Code("E201", "image files that are missing", "check --images, copy them, or remove the records (--fix DIR)"),
        Code("E202", "pictures that can't be read", "copy the picture again, or remove it (--fix DIR removes it)"),
        Code("E203", "pictures of another size than described", "put the original back, or mend width and height"),
        Code("E204", "images of no size", "mend width and height, or remove the record (--fix DIR removes)"),
        Code("W205", "pictures that occur twice in a split", "remove one, unless it is meant to count twice"),
        Code("E206", "pictures that are in two splits", "remove them from one: scores on seen pictures are too good"),
        Code("E301", "malformed boxes", "write [left, top, width, height] as numbers (--fix DIR removes)"),
        Code("E302", "boxes with NaN or infinite numbers", "mend or remove them (--fix DIR removes)"),
        Code("E303", "boxes without area", "mend width and height or remove them (--fix DIR removes)"),
        Code("E304", "boxes outside their image", "check units and image sizes, or remove them (--fix DIR removes)"),
        Code("E305", "boxes that are not in pixels", "multiply by the image's width and height"),
        Code("E306", "boxes with corners in place of sizes", "write right - left and bottom - top as width and height"),
        Code("E307", "masks that are malformed", "mend or remove them (--fix DIR removes the record)"),
        Code("W311", "boxes that reach past the border", "training cuts them; --fix DIR writes them cut"),
        Code("W312", "boxes thinner than a pixel", "check the units; such a box teaches nothing"),
        Code("W313", "boxes that are there twice", "remove one: it counts double and is never found"),
        Code("E401", "spans outside their text or malformed", "count characters, not bytes (--fix DIR removes)"),
        Code("E402", "phrases that don't stand in their caption", "mend the phrase or give its span (--fix removes)"),
        Code("E403", "texts that are empty", "write the text or remove the record (--fix DIR removes)"),
        Code("E404", "texts longer than the model reads", "shorten or split them, or raise model.tokenizer.max_tokens"),
        Code("W406", "spans of other words than their phrase", "mend the span or the phrase; the span is taken"),
        Code("W405", "spans that begin or end within a word", "mend the span; the whole token is taken"),
        Code("E501", "names that no prompt can hold", "rename the category"),
        Code("W502", "names that read the same", "rename them, or give them words with data.prompts.captions"),
        Code("W503", "names longer than a prompt", "shorten the name; only its beginning is read"),
        Code("W504", "names that the tokenizer doesn't know", "rename them, or use another --tokenizer"),
        Code("W505", "categories without a box", "remove them, or check that the right file was exported"),
        Code("W506", "categories with boxes in one split alone", "draw the splits anew; such a name can't be scored"),
        Code("E507", "splits that name one category id differently", "give both the same categories"),
    )
}  # fmt: skip

# What readers call a fault -> its code. Faults of other words are `OTHER`.
CODE_OF_KIND: Mapping[str, str] = {
    "annotation of a faulty image": "W108",
    "answers about another image": "E107",
    "box not finite": "E302",
    "box outside the image": "E304",
    "box past the border": "W311",
    "box without area": "E303",
    "duplicate annotation id": "E104",
    "box not in parts of the picture": "E301",
    "duplicate image": "E104",
    "duplicate image id": "E104",
    "line that is not JSON": "E103",
    "line without detection": "E103",
    "line without grounding": "E103",
    "malformed label": "E301",
    "phrase not in the caption": "E402",
    "span of other words": "W406",
    "unreadable image": "E202",
    "duplicate question id": "E104",
    "empty answer": "E403",
    "image of no size": "E204",
    "malformed annotation": "E103",
    "malformed area": "E103",
    "malformed box": "E301",
    "malformed file name": "E103",
    "malformed image id": "E103",
    "malformed mask": "E307",
    "malformed question id": "E103",
    "malformed record": "E103",
    "malformed sentence": "E103",
    "malformed span": "E401",
    "mask not finite": "E307",
    "mask of another size": "E307",
    "missing field": "E103",
    "missing image file": "E201",
    "no answers": "E403",
    "no caption": "E403",
    "no mask": "E307",
    "no question": "E403",
    "no sentence": "E403",
    "polygon of fewer than 3 points": "E307",
    "question without an answer": "E107",
    "span outside the caption": "E401",
    "unknown category": "E106",
    "unknown image": "E105",
    "unknown question": "E107",
    "unreadable annotation": "E103",
    "unreadable sentences": "E103",
}


@dataclass(frozen=True)
class Finding:
    """`what` is at `place` of `file`. picture, box (xyxy pixels): what can be shown of it; count: how often."""

    code: str
    file: str
    place: str
    what: str
    picture: str = ""
    box: tuple[float, float, float, float] | None = None
    count: int = 1

    @property
    def is_error(self) -> bool:
        """Whether it makes training wrong or impossible."""
        return CODES[self.code].is_error

    @property
    def remedy(self) -> str:
        """What to do."""
        return CODES[self.code].remedy

    def __str__(self) -> str:
        where = f"{self.file}: {self.place}" if self.place else self.file
        return f"{self.code} {where}: {self.what}; {self.remedy}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        own = {"code": self.code, "file": self.file, "place": self.place, "what": self.what, "remedy": self.remedy}
        return own | ({"count": self.count} if self.count > 1 else {})


@dataclass
class Findings:
    """All findings counted by code; of each code and file the first `SHOWN` in full."""

    counts: Counter[str] = field(default_factory=Counter)
    kept: dict[tuple[str, str], list[Finding]] = field(default_factory=lambda: defaultdict(list))

    def take(self, findings: Iterable[Finding]) -> None:
        """Takes them all."""
        for finding in findings:
            self.counts[finding.code] += finding.count
            own = self.kept[finding.code, finding.file]
            if len(own) < SHOWN:
                own.append(finding)

    @property
    def shown(self) -> list[Finding]:
        """Those kept in full: errors first, by code and file."""
        return [finding for key in sorted(self.kept) for finding in self.kept[key]]

    @property
    def errors(self) -> int:
        """How many errors."""
        return sum(count for code, count in self.counts.items() if CODES[code].is_error)

    @property
    def warnings(self) -> int:
        """How many warnings."""
        return self.counts.total() - self.errors
