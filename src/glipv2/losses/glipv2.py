"""The losses of a run with their weights: GLIPv2's three, and those of the heads."""

from __future__ import annotations

from dataclasses import dataclass, field

from glipv2.losses.contrast import ContrastConfig
from glipv2.losses.grounding import GroundingLossConfig
from glipv2.losses.masks import MaskLossConfig
from glipv2.losses.words import MaskedWordsConfig
from glipv2.ranges import at_least


@dataclass
class LossConfig:
    """`loss=glipv2`: grounding + contrast between images + masked words; `loss=grounding`: the first alone.

    The paper sums the three unweighted. masks is for the mask head; answers and captions weigh the losses of
    those heads.
    """

    grounding: GroundingLossConfig = field(default_factory=GroundingLossConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    words: MaskedWordsConfig = field(default_factory=MaskedWordsConfig)
    masks: MaskLossConfig = field(default_factory=MaskLossConfig)
    answers: float = at_least(0, 1.0)
    captions: float = at_least(0, 1.0)

    @classmethod
    def grounding_only(cls) -> LossConfig:
        """GLIP's loss, which needs no further heads; also what a model that only predicts is built with."""
        return cls(contrast=ContrastConfig(weight=0), words=MaskedWordsConfig(weight=0))
