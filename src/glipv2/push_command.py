"""The words of `glipv2 push`. Imports nothing heavy until weights are read."""

from __future__ import annotations

from collections.abc import Sequence

HELP = """\
usage: glipv2 push weights=RUN_OR_FILE repo=NAME/MODEL [licence=apache-2.0] [private=true]
       glipv2 push weights=RUN_OR_FILE output=FOLDER

Publishes weights on the model hub with their numbers and a card made of the run: what they do, on what they were
trained, metrics, licence, limits. Read the card first: output=FOLDER writes the same files and sends nothing.

  hf auth login                                      once, with a token that may write
  glipv2 push weights=runs/demo output=published     then look at published/README.md
  glipv2 push weights=runs/demo repo=NAME/MODEL licence=apache-2.0

  import glipv2
  model = glipv2.from_pretrained("NAME/MODEL")       or a folder
"""


def push_command(arguments: Sequence[str]) -> None:
    """`glipv2 push …`; UserError for words that are not as expected, and for what the hub refuses."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    from glipv2.config import from_words
    from glipv2.publishing import PushConfig, push

    print(push(from_words(PushConfig, arguments)))
