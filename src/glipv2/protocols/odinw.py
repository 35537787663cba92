"""Object detection in the wild: box AP on many small data sets, each with its own names and prompt."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from glipv2.data.coco import CocoDataset
from glipv2.data.odinw import OdinwFile, read_odinw
from glipv2.data.prompts import PromptConfig
from glipv2.errors import UserError, nearest
from glipv2.protocols.base import GivenData, ProtocolConfig, Round, detection_of, given_path, percent
from glipv2.tasks.base import Task

log = logging.getLogger(__name__)

POLICIES = ("raise", "skip")


@dataclass
class OdinwProtocol(ProtocolConfig):
    """`protocol=odinw`: configs (a folder of the released YAML files: those of 13 or of 35 data sets) and root.

    root: where the paths of those files begin (they begin with odinw/). split: default what each file tests.
    captions: whether the files' CAPTION_PROMPT is used. missing: "raise" names every data set whose files
    are not there and stops; "skip" leaves them out and says over how many the average then is.
    """

    name: ClassVar[str] = "odinw"

    configs: str | None = None
    root: str | None = None
    split: str | None = None
    captions: bool = True
    missing: str = "raise"

    def __post_init__(self) -> None:
        self._all = self._skipped = 0

    def rounds(self, trained: Task) -> Sequence[Round]:
        """One a data set; all are opened, and so checked, first."""
        if self.missing not in POLICIES:
            raise UserError(
                f"expected protocol.missing=raise or skip, but got '{self.missing}'; {nearest(self.missing, POLICIES)}"
            )
        files = read_odinw(given_path(self.configs, "configs"), given_path(self.root, "root"), self.split)
        there = self._there(files)
        self._all, self._skipped = len(files), len(files) - len(there)
        task = detection_of(trained)
        return [Round(f"odinw/{file.name}", task, self._data(file)) for file in there]

    def _there(self, files: Sequence[OdinwFile]) -> list[OdinwFile]:
        lacking = [(file, file.missing()) for file in files]
        told = [f"{file.name} ({', '.join(map(str, paths))})" for file, paths in lacking if paths]
        there = [file for file, paths in lacking if not paths]
        if told and self.missing == "raise":
            raise UserError(
                f"{len(told)} of {len(files)} ODinW data sets are not below protocol.root={self.root}: "
                f"{'; '.join(told)}; fetch them, or leave them out with protocol.missing=skip"
            )
        if not there:
            raise UserError(f"none of {len(files)} ODinW data sets is below protocol.root={self.root}: {told[0]}, …")
        if told:
            log.warning("left out %d of %d data sets: %s", len(told), len(files), "; ".join(told))
        return there

    def _data(self, file: OdinwFile) -> GivenData:
        samples = CocoDataset(file.annotations, file.images, on_error=self.on_error, categories=file.categories)
        if not (self.captions and file.has_captions):
            return self.data(samples)
        prompts = PromptConfig(captions_file=str(file.source))
        prompts.wordings(samples.vocabulary)  # faults of the file are told now
        return self.data(samples, prompts)

    def summary(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Average and median, named as over fewer where data sets were left out or have no object at all."""
        own = self._own(scores)
        counted = [value for value in own.values() if value >= 0]
        over = "" if len(counted) == self._all else f"_over_{len(counted)}_of_{self._all}"
        if not counted:
            return {"odinw/skipped": float(self._skipped)}
        return {
            f"odinw/average{over}": statistics.fmean(counted),
            f"odinw/median{over}": statistics.median(counted),
            "odinw/skipped": float(self._skipped),
        }

    def table(self, scores: Mapping[str, float]) -> list[list[str]]:
        """A row a data set, then average and median, in percent."""
        names = [name for name in scores if name.startswith(("odinw/average", "odinw/median"))]
        rows = [[name, percent(scores, f"odinw/{name}/box_ap")] for name in self._own(scores)]
        return [["odinw", "box ap"], *rows, *([name.removeprefix("odinw/"), percent(scores, name)] for name in names)]

    def _own(self, scores: Mapping[str, float]) -> dict[str, float]:
        found = {name.split("/")[1]: value for name, value in scores.items() if name.endswith("/box_ap")}
        return dict(sorted(found.items()))
