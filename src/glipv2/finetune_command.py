"""The words of `glipv2 finetune`. Imports nothing heavy until data is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glipv2.errors import UserError

HELP = """\
usage: glipv2 finetune data=PATH weights=FILE [KEY=VALUE …] [--plan]

Recognises the data, checks it, chooses task, way of tuning, batch and length, says what and why in ten lines,
trains, measures the weights before and after, and ends with the command that uses the new ones.

  data=PATH      a file or folder of annotations: COCO, YOLO, Pascal VOC, LVIS, ODVG, MDETR, captions, VQA v2, …
                 Without a validation split a fifth of the images is held out, the same in every run.
  weights=FILE   a run, a weights file, a released GLIP or an hf:// address
  keep=PATH      further data (or keep=shapes) on which it is measured what the weights keep of what they could do
  images=FOLDER  where the pictures lie, if not near the annotations
  output=FOLDER  the run's folder (runs/finetuned/…)
  task= tune=    chosen when left out: by what is annotated, and by the number of images
  KEY=VALUE      any key of glipv2 train, which overrules what was chosen
  --plan         say what would be done, and stop

examples
  glipv2 finetune data=instances.json weights=glip_t.safetensors
  glipv2 finetune data=yolo/data.yaml weights=runs/demo tune=full trainer.max_steps=500
"""
OWN = ("data", "weights", "keep", "output")


def finetune_command(
    arguments: Sequence[str], run: Callable[[str, Sequence[str]], None], quieten: Callable[[], None] = lambda: None
) -> None:
    """`glipv2 finetune …`; UserError for words that are not as expected.

    run: starts another command with its words. quieten: called once heavy libraries are there, before they talk.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    words = {}
    for word in arguments:
        if word == "--plan":
            continue
        key, separator, value = word.partition("=")
        if not separator:
            raise UserError(f"expected KEY=VALUE, but got '{word}'; glipv2 finetune --help shows the words")
        words["data.images" if key == "images" else key] = value
    for key in ("data", "weights"):
        if not words.get(key):
            raise UserError(f"{key} is not set; as in glipv2 finetune data=instances.json weights=glip_t.safetensors")
    from glipv2.finetuning.command import FinetuneRequest, finetune

    quieten()
    given = {key: value for key, value in words.items() if key not in OWN}
    own = {key: words[key] for key in OWN if key in words}
    finetune(FinetuneRequest(**own, given=given), run, only_plan="--plan" in arguments)
