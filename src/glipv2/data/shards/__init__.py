"""Samples in tar archives, for training from a disk or an object store: written, found, read, and put in order."""
