"""The one exception that means: the person running this can fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input, said in one line: what was expected, what came, what to do.

    Commands print the message without a traceback and exit with status 2.
    """


def nearest(word: str, choices: Iterable[str]) -> str:
    """A closing hint: the nearest valid name, or the whole list when none is near."""
    names = sorted({str(choice) for choice in choices})
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"choose one of: {', '.join(names)}"
