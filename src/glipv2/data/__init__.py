"""Readers, procedural scenes, prompts, transforms, and the loaders around them."""
