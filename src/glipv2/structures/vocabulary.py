"""The categories of a data set or of a request: id ↔ name ↔ label."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from glipv2.errors import UserError, nearest


@dataclass(frozen=True)
class Vocabulary:
    """Ordered categories. A label is an index into `names`; `category_ids` are the data set's own.

    Raises UserError when a name is empty, or when an id or a name occurs twice.
    """

    names: tuple[str, ...]
    category_ids: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(str(name).strip() for name in self.names))
        ids = tuple(self.category_ids) or tuple(range(1, len(self.names) + 1))
        object.__setattr__(self, "category_ids", ids)
        if not self.names:
            raise UserError("expected at least one category name, but got none")
        if any(not name for name in self.names):
            position = [bool(name) for name in self.names].index(False)
            raise UserError(f"category {ids[position]} has an empty name; give it one that describes it")
        if len(ids) != len(self.names):
            raise UserError(f"expected one id for each of {len(self.names)} names, but got {len(ids)}")
        _refuse_twice("category id", ids)
        _refuse_twice("category name", self.names)

    @classmethod
    def of_categories(cls, names: Sequence[str], category_ids: Sequence[int]) -> Vocabulary:
        """Categories of a file, where several may have one name: those are told apart as "dog (id 2)"."""
        plain = [name.strip() for name in names]
        several = {name for name, count in Counter(plain).items() if name and count > 1}
        own = [
            f"{name} (id {category_id})" if name in several else name
            for name, category_id in zip(plain, category_ids, strict=True)
        ]
        return cls(tuple(own), tuple(category_ids))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _label_by_id(self) -> Mapping[int, int]:
        return {category_id: label for label, category_id in enumerate(self.category_ids)}

    @cached_property
    def _label_by_name(self) -> Mapping[str, int]:
        return {name: label for label, name in enumerate(self.names)}

    def label_of_id(self, category_id: int) -> int:
        """The label of a data set's category id; UserError when it is not listed."""
        if category_id not in self._label_by_id:
            raise UserError(
                f"category id {category_id} is not listed; {nearest(str(category_id), map(str, self.category_ids))}"
            )
        return self._label_by_id[category_id]

    def label_of_name(self, name: str) -> int:
        """The label of a name; UserError with the nearest one when it is unknown."""
        if name not in self._label_by_name:
            raise UserError(f"category '{name}' is not in the vocabulary; {nearest(name, self.names)}")
        return self._label_by_name[name]

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"names": list(self.names), "category_ids": list(self.category_ids)}

    @classmethod
    def from_json(cls, value: Mapping[str, Sequence[Any]]) -> Vocabulary:
        """The inverse of `to_json`."""
        return cls(tuple(value["names"]), tuple(int(i) for i in value["category_ids"]))


def _refuse_twice(what: str, values: Sequence[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise UserError(f"{what} '{value}' occurs twice; ids and names must be unique")
        seen.add(value)


def class_identity(name: str) -> int:
    """A positive number that is the same for the same name (letter case aside) in every data set and process."""
    digest = hashlib.blake2b(name.casefold().strip().encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1) or 1  # 63 bits: fits an int64; 0 stands for no class
