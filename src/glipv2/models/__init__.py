"""Plain modules: the core, its parts and the heads."""

from glipv2.models.core import Core, ModelConfig

__all__ = ["Core", "ModelConfig"]
