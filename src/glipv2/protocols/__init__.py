"""Evaluation protocols by name: what is asked of weights, on which files, and which numbers come of it."""

from glipv2.protocols.base import GivenData, ProtocolConfig, Round
from glipv2.protocols.coco import CocoProtocol
from glipv2.protocols.flickr30k import Flickr30kProtocol
from glipv2.protocols.lvis import LvisProtocol
from glipv2.protocols.odinw import OdinwProtocol

__all__ = [
    "CocoProtocol",
    "Flickr30kProtocol",
    "GivenData",
    "LvisProtocol",
    "OdinwProtocol",
    "ProtocolConfig",
    "Round",
]
