"""The answers a model can choose from, and how right each is where several people answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from glipv2.structures.answer_strings import normalised

ENOUGH = 3  # people who must agree for a full score


class AnswerList:
    """Answers by number; compared as VQA v2 compares them (see `structures.answer_strings`)."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._places = {plain(name): place for place, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self.names)

    def knows_one_of(self, answers: Sequence[str]) -> bool:
        """Whether any of the answers is in the list."""
        return any(plain(answer) in self._places for answer in answers)

    def rightness(self, answers: Sequence[str]) -> Tensor:
        """Float [A] in [0, 1]: what each answer of the list would score against what people said."""
        row = torch.zeros(len(self.names))
        for answer, count in Counter(map(plain, answers)).items():
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


def commonest_answers(commonest: Iterable[str], most: int, min_count: int) -> tuple[str, ...]:
    """The `most` frequent answers with at least `min_count` questions, from the commonest answer of each question.

    Spellings of one answer count together; it is called by the most frequent of them.
    """
    return chosen_answers(counted_answers(commonest), most, min_count)


def chosen_answers(counts: Sequence[tuple[str, int]], most: int, min_count: int) -> tuple[str, ...]:
    """The first of `counted_answers`."""
    return tuple(name for name, count in counts[:most] if count >= min_count)


def counted_answers(commonest: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Every answer and to how many questions it is the commonest, the most frequent first."""
    spellings = Counter(commonest)
    counts, names = Counter[str](), dict[str, str]()
    for spelling, count in spellings.most_common():
        counts[plain(spelling)] += count
        names.setdefault(plain(spelling), spelling.strip())
    return tuple((names[key], count) for key, count in counts.most_common())


@lru_cache(maxsize=1 << 16)
def plain(answer: str) -> str:
    """The form in which answers are compared; one made of articles and signs alone is kept as it is."""
    return normalised(answer) or answer.strip().casefold()
