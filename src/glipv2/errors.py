"""What the person running this can fix, and what they asked for by Ctrl-C, each in words for them."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

DISK_TROUBLE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EIO: "the disk may be failing; choose another",
    errno.EFBIG: "choose a place that takes files of this size",
    errno.ENOENT: "check the path",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a place that is open to you"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EBUSY), "choose another place"),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP), "choose another name"),
}
NAMELESS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)  # writing to an open file does not name it


class UserError(ValueError):
    """Bad input, said in one line: what was expected, what came, what to do.

    Commands print the message without a traceback and exit with status 2.
    """


def missing_extra(library: str, extra: str) -> UserError:
    """What to tell where an optional library is not there."""
    return UserError(f'{library} is not installed; pip install "glipv2[{extra}]"')


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, told with what was kept. `resumable`: there is a checkpoint to go on with."""

    def __init__(self, kept: str, resumable: bool = False) -> None:
        super().__init__(kept)
        self.resumable = resumable


def disk_trouble(error: OSError) -> str | None:
    """One line for a full disk, a folder that may not be written and the like; None for other errors."""
    advice = DISK_TROUBLE.get(error.errno or 0)
    if advice is None or not (error.filename or error.errno in NAMELESS):
        return None
    place = f"{error.filename2 or error.filename}: " if error.filename else ""
    return f"{place}{(error.strerror or 'not possible').lower()}; {advice}"


def nearest(word: str, choices: Iterable[str]) -> str:
    """A closing hint: the nearest valid name, or the whole list when none is near."""
    names = sorted({str(choice) for choice in choices})
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"choose one of: {', '.join(names)}"


def undefined(owner: object, member: str) -> NotImplementedError:
    """What to raise where somebody's class lacks a member that it must define."""
    return NotImplementedError(f"{type(owner).__name__} must define {member}")
