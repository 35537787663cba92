"""The words of `glipv2 demo`. Imports nothing heavy until the page is made."""

from __future__ import annotations

from collections.abc import Sequence

HELP = """\
usage: glipv2 demo [weights=FILE] [host=127.0.0.1] [port=7860] [device=auto] [threshold=0.3] [open=true]

A page to try a model on: upload a picture or choose one, choose a task, type. It is seen on this machine alone unless
host= says otherwise, and has no password: let in only whom you trust. Needs pip install "glipv2[demo]".

  glipv2 demo open=true                      with the small model of drawn shapes that comes with the package
  glipv2 demo weights=runs/demo open=true
"""


def demo_command(arguments: Sequence[str]) -> None:
    """`glipv2 demo …`; UserError for words that are not as expected."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    from glipv2.config import DemoConfig, from_words
    from glipv2.demo.page import serve

    serve(from_words(DemoConfig, arguments))
