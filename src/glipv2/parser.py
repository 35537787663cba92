"""The words of commands that Hydra does not compose."""

from __future__ import annotations

import argparse
from typing import NoReturn

from glipv2.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are one line, like every other one of this command; words are never abbreviated."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}; {self.prog} --help shows its form")
