"""Recall of the phrases of Flickr30k Entities, or of any grounded captions in MDETR's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from glipv2.data.flickr30k import Flickr30kDataset
from glipv2.data.mdetr import MdetrDataset
from glipv2.errors import UserError
from glipv2.losses.glipv2 import LossConfig
from glipv2.protocols.base import ProtocolConfig, Round, given_path, own_config, percent
from glipv2.ranges import at_least
from glipv2.tasks.base import Task
from glipv2.tasks.phrase_grounding import PhraseGroundingConfig, PhraseGroundingTask, RecallScores

if TYPE_CHECKING:
    from glipv2.models import Parts

CUTS = ("recall_1", "recall_5", "recall_10", "upper_bound")


@dataclass
class Flickr30kProtocol(ProtocolConfig):
    """`protocol=flickr30k`: root (the official Annotations/, Sentences/ and split.txt) or annotations (MDETR JSON).

    images: the folder of the photographs. split: which list under root. boxes_a_phrase: ranked for a phrase;
    more than 10 only raise the upper bound.
    """

    name: ClassVar[str] = "flickr30k"

    root: str | None = None
    annotations: str | None = None
    images: str | None = None
    split: str = "test"
    boxes_a_phrase: int = at_least(1, 100)

    def rounds(self, trained: Task) -> Sequence[Round]:
        """One."""
        if bool(self.root) == bool(self.annotations):
            raise UserError(
                "give either protocol.root=FOLDER (Annotations/, Sentences/, lists) or protocol.annotations=FILE.json"
            )
        if self.boxes_a_phrase < 10:
            raise UserError(f"protocol.boxes_a_phrase is {self.boxes_a_phrase}; recall@10 needs at least 10")
        images = given_path(self.images, "images")
        samples = (
            Flickr30kDataset(self.root, images, self.split, on_error=self.on_error)
            if self.root
            else MdetrDataset(given_path(self.annotations, "annotations"), images, on_error=self.on_error)
        )
        own = own_config(trained, PhraseGroundingConfig)
        ranking = replace(own.ranking, boxes=self.boxes_a_phrase, min_score=0.0)
        return [Round(self.name, PhraseRecallConfig(ranking=ranking), self.data(samples))]

    def table(self, scores: Mapping[str, float]) -> list[list[str]]:
        """A row a type of phrase and one for all; any-box and merged-box recall in percent."""
        kinds = sorted({name.split("/", 2)[2] for name in scores if name.count("/") > 1})
        heading = ["", *(f"{way} {cut}" for way in ("any", "merged") for cut in ("R@1", "R@5", "R@10", "bound"))]
        names = [f"flickr30k/{way}_{cut}" for way in ("any_box", "merged_box") for cut in CUTS]
        rows = [("all", ""), *((kind, f"/{kind}") for kind in kinds)]
        return [heading, *([kind, *(percent(scores, name + own) for name in names)] for kind, own in rows)]


@dataclass
class PhraseRecallConfig(PhraseGroundingConfig):
    """Phrase grounding that reports both protocols by their full names."""

    def assemble(self, parts: Parts, loss: LossConfig) -> PhraseRecallTask:
        """A grounder from a model's parts."""
        return PhraseRecallTask(self, parts, loss)


class PhraseRecallTask(PhraseGroundingTask):
    """See `PhraseRecallConfig`."""

    def compute_metric(self) -> RecallScores:
        """Both ways of counting, over all phrases and by type."""
        assert self.metric is not None, "call reset_metric first"
        return FullRecallScores(self.metric.compute())


@dataclass(frozen=True)
class FullRecallScores(RecallScores):
    """Both ways of counting by their full names."""

    def flat(self, prefix: str) -> dict[str, float]:
        """flickr30k/any_box_recall_1, …, flickr30k/merged_box_recall_1, …, flickr30k/any_box_recall_1/people, …"""
        numbers: dict[str, float] = {}
        for way, every, by_kind in (
            ("any_box", self.scores.any_box, self.scores.any_box_by_kind),
            ("merged_box", self.scores.merged_box, self.scores.merged_box_by_kind),
        ):
            numbers |= every.flat(f"{prefix}/{way}_")
            for kind, recall in by_kind.items():
                numbers |= {f"{name}/{kind}": value for name, value in recall.flat(f"{prefix}/{way}_").items()}
        return numbers
