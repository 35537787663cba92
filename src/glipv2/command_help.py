"""What `glipv2 train --help` and its like say: how the command is used, the presets by group, and every key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from inspect import getdoc
from pathlib import Path
from textwrap import fill

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from glipv2.config import COMMANDS, SCHEMAS, config_folder, experiment_files, load_plugins

WIDTH = 110  # characters of a line
TEXTS = {
    "train": """\
glipv2 train: trains a model, evaluates it, writes a run folder.

  glipv2 train experiment=shapes_detection_nano                  an experiment by its name
  glipv2 train experiment=shapes_joint_nano task=vqa             another task in it
  glipv2 train model=small data=auto data.path=PHOTOS            your own data; glipv2 data check PHOTOS first
  glipv2 train weights=RUN_OR_FILE tune=lora data=…              from other weights
  glipv2 train -m experiment=NAME seed=1,2,3 optim.lr=1e-3,2e-3  a sweep: a run for every pair
  glipv2 train -m hydra/launcher=processes …                     its jobs side by side; slurm, on_ray: on a cluster
  glipv2 train resume=RUN                                        go on with a run that was ended
  glipv2 train experiment=NAME --cfg job                         show what would run, and run nothing

A word is GROUP=PRESET or KEY=VALUE; what comes later overrules. A list is KEY=[1,2], nothing is KEY=null.
""",
    "evaluate": """\
glipv2 evaluate: scores the weights of a run or file on a split of any data set, or by a published protocol.

  glipv2 evaluate weights=RUN_OR_FILE                            on the scenes of data=shapes
  glipv2 evaluate weights=RUN data=auto data.path=PHOTOS         on your own data
  glipv2 evaluate weights=RUN data=shapes split=unseen           on another split
  glipv2 evaluate weights=RUN before=OLD_RUN data=…              and what fine-tuning kept
  glipv2 evaluate weights=FILE protocol=coco protocol.…          by a published protocol (--cfg job shows its keys)
""",
    "predict": """\
glipv2 predict: finds names in pictures; JSON, annotated pictures and a table.

  glipv2 predict weights=RUN_OR_FILE images=FILE|FOLDER|GLOB text="a red circle. a blue square."
  glipv2 predict images=scene.png text="a red circle."           with the small model of drawn shapes that comes along
  glipv2 predict weights=RUN images=photo.jpg                    looks for the names it was trained on
  glipv2 predict weights=RUN images=photo.jpg task=vqa text="how many cups are there?"
  glipv2 predict weights=RUN images=FOLDER on_error=skip         goes on where it was killed
  glipv2 predict weights=RUN images=aerial.jpg text=… tile=640   a large picture, in tiles besides
  glipv2 predict weights=RUN images=FOLDER text="…" screen=40    of hundreds of names the likeliest alone
  glipv2 predict weights=RUN images=clip.mp4 text=… every=5      a video, each fifth frame of it
""",
}


def help_page(command: str, overrides: list[str]) -> str:
    """The page of a command with the keys' values as these words leave them."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = OmegaConf.to_yaml(compose(command, overrides))
    parts = [TEXTS[command]]
    if groups := list(_groups(command)):
        parts += ["Presets (GROUP=PRESET):", "", *groups]
    keys = "\n".join(f"  {line}".rstrip() for line in config.splitlines())
    return "\n".join([*parts, "Keys with their values (KEY=VALUE, part.key=value):", "", keys, ""])


def _groups(command: str) -> Iterator[str]:
    """The presets of each group that the command takes, a line each and an empty one."""
    known = {field.name for field in fields(COMMANDS[command])}
    for folder in sorted(path for path in config_folder().iterdir() if path.is_dir() and path.name in known):
        presets = {path.stem: _about(folder.name, path) for path in sorted(folder.glob("*.yaml"))}
        for name, schema in load_plugins().get(folder.name, {}).items():
            presets[name] = _said(schema, f"{folder.name}={name}")
        yield from _listed(folder.name, presets)
    if command == "train":
        yield from _listed("experiment", {name: _opening(path) for name, path in experiment_files().items()})


def _listed(group: str, presets: dict[str, str]) -> Iterator[str]:
    yield f"  {group}="
    widest = max(map(len, presets))
    for name, about in presets.items():
        yield fill(f"    {name:{widest}}  {about}".rstrip(), WIDTH, subsequent_indent=" " * (widest + 6))
    yield ""


def _about(group: str, path: Path) -> str:
    """What a preset says of itself: its first comment, or the first line about its schema."""
    text = _opening(path)
    if text or path.stem not in SCHEMAS.get(group, {}):
        return text
    return _said(SCHEMAS[group][path.stem], f"{group}={path.stem}")


def _said(schema: type, words: str) -> str:
    """The first line about a schema, without the words that choose it."""
    return (getdoc(schema) or "").partition("\n")[0].removeprefix(f"`{words}`").lstrip(":. ")


def _opening(path: Path) -> str:
    """The first comment line of a file that opens with one, without what names its kind."""
    first = path.read_text("utf-8").partition("\n")[0]
    return first.removeprefix("#").strip().removeprefix("Question:").strip() if first.startswith("#") else ""
