"""Procedural scenes of coloured shapes: one data set, without files, for every task of this suite."""

from glipv2.data.shapes.dataset import HELD_OUT, NAMES, SEEN, ShapesDataset, words
from glipv2.data.shapes.questions import answer_vocabulary
from glipv2.data.shapes.scene import SPLITS

__all__ = ["HELD_OUT", "NAMES", "SEEN", "SPLITS", "ShapesDataset", "answer_vocabulary", "words"]
