"""The answers a model can choose from, and how right each is where several people answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

ENOUGH = 3  # people who must agree for a full score


class AnswerList:
    """Answers by number; letter case and blanks around do not count."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._places = {_plain(name): place for place, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self.names)

    def knows_one_of(self, answers: Sequence[str]) -> bool:
        """Whether any of the answers is in the list."""
        return any(_plain(answer) in self._places for answer in answers)

    def rightness(self, answers: Sequence[str]) -> Tensor:
        """Float [A] in [0, 1]: what each answer of the list would score against what people said."""
        row = torch.zeros(len(self.names))
        for answer, count in Counter(map(_plain, answers)).items():
            if answer in self._places:
                row[self._places[answer]] = agreement(count, len(answers))
        return row


def agreement(count: int, people: int) -> float:
    """The accuracy of an answer that `count` of `people` gave: min(0.3·count, 1) for ten, 1 for one who is alone.

    VQA v2's formula: min(1, matches / 3) with one person left out, over all of them; of fewer than four
    people all the others must agree.
    """
    if people == 1:
        return 1.0
    enough = min(ENOUGH, people - 1)
    alike, unlike = min(1.0, (count - 1) / enough), min(1.0, count / enough)
    return (count * alike + (people - count) * unlike) / people


def _plain(answer: str) -> str:
    return answer.strip().casefold()
