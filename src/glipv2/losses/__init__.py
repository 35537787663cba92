"""Losses: tensors in, scalars out."""
