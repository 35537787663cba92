"""Plain modules: the core, its parts and the heads."""

from glipv2.models.core import Core, ModelConfig
from glipv2.models.parts import Parts

__all__ = ["Core", "ModelConfig", "Parts"]
