"""Values that cross module borders, and the pure functions on them."""

from glipv2.structures.batches import (
    DetectionBatch,
    ImageBatch,
    ImageTruth,
    PromptBatch,
    RegionTargets,
    TensorStruct,
    TextBatch,
)
from glipv2.structures.boxes import BoxConvention
from glipv2.structures.features import Features, FusedFeatures, RegionOutputs
from glipv2.structures.predictions import Detections
from glipv2.structures.prompts import Phrase, Prompt, TokenizedText, positive_tokens
from glipv2.structures.samples import Caption, GroundedPhrase, Instances, Question, Sample
from glipv2.structures.truth import (
    AnswerTruth,
    CaptionTruth,
    ExpressionTruth,
    LvisTruth,
    RegionTruth,
    SentenceTruth,
)
from glipv2.structures.vocabulary import Vocabulary

__all__ = [
    "AnswerTruth",
    "BoxConvention",
    "Caption",
    "CaptionTruth",
    "DetectionBatch",
    "Detections",
    "ExpressionTruth",
    "Features",
    "FusedFeatures",
    "GroundedPhrase",
    "ImageBatch",
    "ImageTruth",
    "Instances",
    "LvisTruth",
    "Phrase",
    "Prompt",
    "PromptBatch",
    "Question",
    "RegionOutputs",
    "RegionTargets",
    "RegionTruth",
    "Sample",
    "SentenceTruth",
    "TensorStruct",
    "TextBatch",
    "TokenizedText",
    "Vocabulary",
    "positive_tokens",
]
