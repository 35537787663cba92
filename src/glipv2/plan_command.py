"""The words of `glipv2 plan`. Imports nothing heavy until something is planned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

HELP = """\
usage: glipv2 plan [GROUP=PRESET …] [KEY=VALUE …]

Says what `glipv2 train` with the same words would need: parameters of each part, trained and frozen; bytes that a
step keeps for an image of the largest size, in float32 and bfloat16, blocks kept and recomputed; the largest batch
for devices of 8, 24 and 80 GB. Downloads nothing and needs no GPU: the core is counted on shapes alone.

examples
  glipv2 plan model=glip_t task=detection
  glipv2 plan model=glip_l tune=lora trainer.precision=bf16-mixed
  glipv2 plan model=nano task=vqa tune=linear
"""


def plan_command(arguments: Sequence[str], quieten: Callable[[], None] = lambda: None) -> None:
    """`glipv2 plan …`; UserError for words that `glipv2 train` would refuse too.

    quieten: called once heavy libraries are there, before they talk.
    """
    if arguments and arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    from glipv2.planning.command import plan

    quieten()
    for line in plan(arguments):
        print(line, flush=True)
