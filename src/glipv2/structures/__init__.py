"""Values that cross module borders, and the pure functions on them."""

from glipv2.structures.batches import (
    DetectionBatch,
    ImageBatch,
    ImageTruth,
    PromptBatch,
    RegionTargets,
    TensorStruct,
    TextBatch,
    TextQueryBatch,
    WordTargets,
)
from glipv2.structures.boxes import BoxConvention
from glipv2.structures.features import Features, FusedFeatures, RegionOutputs
from glipv2.structures.predictions import Detections, Prediction
from glipv2.structures.prompts import Phrase, Prompt, Span, TokenizedText, positive_tokens
from glipv2.structures.samples import Caption, GroundedPhrase, Instances, Question, Sample
from glipv2.structures.segments import Segments
from glipv2.structures.truth import (
    AnswerTruth,
    CaptionTruth,
    ExpressionTruth,
    LvisTruth,
    RegionTruth,
    SentenceTruth,
)
from glipv2.structures.vocabulary import Vocabulary, class_identity

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
    "Prediction",
    "Prompt",
    "PromptBatch",
    "Question",
    "RegionOutputs",
    "RegionTargets",
    "RegionTruth",
    "Sample",
    "Segments",
    "SentenceTruth",
    "Span",
    "TensorStruct",
    "TextBatch",
    "TextQueryBatch",
    "TokenizedText",
    "Vocabulary",
    "WordTargets",
    "class_identity",
    "positive_tokens",
]
