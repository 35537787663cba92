"""Readers of oracle folders: predictions, truth and expected numbers of other people's evaluators, as cases."""
