"""Compares this project's models with recorded outputs of the released GLIP code, array by array.

    python scripts/parity.py --keys glip_t_keys.json --case glip_t_small.npz --loss glip_t_small_loss.npz
    python scripts/parity.py --photo glip_t_photo.npz --images photos/

The keys file (names and shapes of a checkpoint) tells the architecture; where none is given it is
looked for beside the case. `weights.py` beside it fills it. A case holds inputs and the outputs of every stage; a
loss case targets, losses and gradients on the same inputs; a photo case what the whole pipeline makes of
an image file. For every stored array the largest absolute difference is printed, the largest of all in
the last line.

Stored numbers are float32. Storing alone may have moved each by half the distance to the next float32;
the second column leaves that much out of each difference, and is what tolerances and the last line
mean. Boxes are compared as sets among equal scores, and tolerated to `tolerance` times a hundredth of
the image's longer side; lines of labels and assignments count what has no partner. Exit status: 0
within the tolerances, 1 beyond them, 2 for input that can't be compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from parity_case import (
    BOX_ARRAYS,
    CASE_INPUTS,
    HEAD_ARRAYS,
    LOSS_ARRAYS,
    PHOTO_ARRAYS,
    arrays_due,
    boxes_of,
    by_level,
    computed,
    filled_task,
    inputs_of,
    keys_beside,
    photo_arrays,
    preset_of,
    read_case,
    targets_of,
    weights_beside,
)
from parity_text import Case, tokenizer_of
from torch import Tensor

from glipv2.checkpoints import released_model
from glipv2.errors import UserError
from glipv2.losses.grounding import grounding_loss
from glipv2.matching import assign_regions
from glipv2.models.heads.selection import ScoredBoxes
from glipv2.structures import RegionOutputs, RegionTargets
from glipv2.tasks.detection import DetectionTask
from glipv2.tokenizer import TokenizerConfig

TOLERANCES = {"float64": 1e-5, "float32": 2e-4}
LOSS_TOLERANCE = 1e-5  # relative
GRADIENT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Row:
    """One compared array: its largest absolute difference, and the largest beyond the rounding of stored numbers."""

    name: str
    plain: float
    difference: float
    tolerance: float

    @property
    def within(self) -> bool:
        """Whether the difference is tolerated."""
        return self.difference <= self.tolerance


def row(name: str, ours: Tensor | NDArray[Any], theirs: NDArray[Any], tolerance: float) -> Row:
    """Compares values in their order; UserError when their numbers differ. NaN is infinitely far from all."""
    mine = np.asarray(ours.detach() if isinstance(ours, Tensor) else ours, dtype=np.float64)
    if mine.size != theirs.size:
        raise UserError(f"{name} has {theirs.size} values in the case, but {mine.size} here; keys and case don't match")
    if not mine.size:
        return Row(name, 0.0, 0.0, tolerance)
    gap = np.abs(mine.reshape(theirs.shape) - theirs.astype(np.float64))
    storage = np.spacing(np.abs(theirs)) / 2 if theirs.dtype == np.float32 else 0.0
    plain, beyond = (float(np.where(np.isnan(far), np.inf, far).max()) for far in (gap, np.maximum(gap - storage, 0)))
    return Row(name, plain, beyond, tolerance)


def exact(name: str, without_partner: int) -> Row:
    """A count that has to be 0."""
    return Row(name, float(without_partner), float(without_partner), 0.0)


def forward_rows(
    task: DetectionTask, case: Case, tokenizer: TokenizerConfig, tolerance: float
) -> tuple[list[Row], RegionOutputs]:
    """Every stage of the forward pass, then the boxes of each image."""
    images, prompts = inputs_of(case, tokenizer, task.regions.words.weight.dtype)
    arrays, outputs = computed(task, images, prompts)
    rows = [row(name, values, case[name], tolerance) for name, values in sorted(arrays.items()) if name in case]
    for index, found in enumerate(boxes_of(task, outputs, images, prompts)):
        stored = [case[f"{name}.{index}"] for name in BOX_ARRAYS]
        side = float(case["image_sizes"][index].max())
        rows += box_rows(f".{index}", found, stored, tolerance, side, task.config.selection.max_detections)
    return rows, outputs


def box_rows(
    suffix: str, found: ScoredBoxes, stored: Sequence[NDArray[Any]], tolerance: float, side: float, most: int
) -> list[Row]:
    """Scores in the order given; boxes and their partners, of the same label and an equal score; what has none.

    Where both lists are full (`most`), boxes that tie with the last one may be others.
    """
    boxes, scores, labels = stored
    ours = [values.numpy() for values in (found.boxes, found.scores, found.labels)]
    count = min(len(ours[1]), len(scores))
    apart = np.abs(ours[0][:, None] - boxes).max(axis=2, initial=0.0)
    equal = (ours[2][:, None] == labels) & (np.abs(ours[1][:, None] - scores) <= tolerance)
    pairs: dict[int, int] = {}
    for flat in np.argsort(np.where(equal, apart, np.inf), axis=None, kind="stable"):  # the nearest first
        i, j = divmod(int(flat), max(len(scores), 1))
        if equal[i, j] and i not in pairs and j not in pairs.values():
            pairs[i] = j
    edge = float(scores.min()) + tolerance if count >= most else -np.inf
    alone = [score for i, score in enumerate(ours[1]) if i not in pairs and score > edge]
    alone += [score for j, score in enumerate(scores) if j not in pairs.values() and score > edge]
    mine, theirs = list(pairs), list(pairs.values())
    return [
        row(f"scores{suffix}", ours[1][:count], scores[:count], tolerance),
        row(f"boxes{suffix}", ours[0][mine], boxes[theirs], tolerance * max(1.0, side / 100)),
        exact(f"labels{suffix}", len(alone)),
    ]


def loss_rows(
    task: DetectionTask, loss: Case, case: Case, outputs: RegionOutputs, tokenizer: TokenizerConfig
) -> list[Row]:
    """Assignment, losses, and gradients on the raw outputs of the forward pass."""
    mask = inputs_of(case, tokenizer, outputs.centerness.dtype)[1].text.token_mask
    raw = replace(outputs, **{name: getattr(outputs, name).detach().requires_grad_() for name in HEAD_ARRAYS})
    targets = targets_of(loss, case, tokenizer, raw.centerness.dtype)
    terms = grounding_loss(raw, targets, mask, task.regions.config.boxes, task.grounding.loss.grounding)
    (terms.alignment + terms.box + terms.centerness).backward()
    rows = assignment_rows(task, loss, raw, targets)
    values = {"token_loss": terms.alignment, "box_loss": terms.box, "centerness_loss": terms.centerness}
    for name, value in values.items():
        rows.append(row(name, value, loss[name], LOSS_TOLERANCE * float(np.abs(loss[name]))))
    gradients = by_level(replace(raw, **{name: getattr(raw, name).grad for name in HEAD_ARRAYS}))
    for name, slopes in gradients.items():
        rows.append(row(f"grad.{name}", slopes, loss[f"grad.{name}"], GRADIENT_TOLERANCE))
    return rows


def assignment_rows(task: DetectionTask, loss: Case, raw: RegionOutputs, targets: RegionTargets) -> list[Row]:
    """How many regions of each image are matched otherwise, and the difference of their numbers."""
    owners = assign_regions(
        raw.anchors,
        raw.level_sizes,
        targets.boxes,
        targets.box_mask,
        task.regions.config.boxes,
        task.grounding.loss.grounding.top_k,
    )
    rows = []
    for index, image in enumerate(json.loads(str(loss["spec"]))["images"]):
        regions = (owners[index] >= 0).nonzero()[:, 0].tolist()
        ours = {(region, image["labels"][int(owners[index, region])]) for region in regions}
        stored = [loss[f"{name}.{index}"].tolist() for name in ("positive_regions", "assigned_label")]
        rows.append(exact(f"assignment.{index}", len(ours ^ set(zip(*stored, strict=True)))))
    return [*rows, row("num_positive", (owners >= 0).sum(dim=1), loss["num_positive"], 0.0)]


def photo_rows(task: DetectionTask, photo: Case, path: Path, tokenizer: TokenizerConfig, tolerance: float) -> list[Row]:
    """A photo file through `Predictor`: what the model gets, and the boxes in the photo's pixels."""
    arrays, found = photo_arrays(task, path, photo["names"].tolist(), tokenizer)
    if arrays["input_ids"].shape != photo["input_ids"].shape:
        return [exact("photo.input_ids", max(arrays["input_ids"].size, photo["input_ids"].size))]
    rows = [row(f"photo.{name}", values, photo[name], 0.0) for name, values in arrays.items()]
    rows[-1] = replace(rows[-1], tolerance=tolerance)  # the pixels; all before them is whole numbers
    side, most = float(max(found.image_size)), task.config.selection.max_detections
    boxes = ScoredBoxes(found.boxes, found.scores, found.labels + 1)
    return rows + box_rows("", boxes, [photo[name] for name in BOX_ARRAYS], tolerance, side, most)


def check_case(keys: Path, case: Case, loss: Case | None) -> None:
    """UserError for a case of another architecture or without some of its arrays; tells what is left out."""
    model = released_model(preset_of(keys))
    due = model.fusion.layers * (3 if model.fusion.cross_attention else 1)
    found = 1 + max((int(name.split(".")[1]) for name in case if name.startswith("tower.")), default=-1)
    if found not in (0, due):
        raise UserError(f"{keys} is of {model.name} with {due} tower modules, but the case has {found}; give its keys")
    arrays, images = arrays_due(model), range(len(case["image_sizes"]))
    boxes = [f"{name}.{index}" for index in images for name in BOX_ARRAYS]
    stages = {name.split(".")[0] for name in (*case, *HEAD_ARRAYS)}
    needed = [f"image.{index}" for index in images] + boxes
    _refuse_absent("case", case, needed + [name for name in arrays if name.split(".")[0] in stages])
    if loss is not None:
        if len(loss["num_positive"]) != len(images):
            raise UserError(f"the loss case has {len(loss['num_positive'])} images, the case {len(images)}")
        assigned = [f"{name}.{index}" for index in images for name in ("positive_regions", "assigned_label")]
        gradients = [f"grad.{name}" for name in arrays if name.split(".")[0] in HEAD_ARRAYS]
        _refuse_absent("loss case", loss, [*assigned, *gradients])
    known = {*arrays, *needed, *CASE_INPUTS}
    for name in dict.fromkeys(name.split(".")[0] for name in arrays):
        if name not in stages:
            print(f"{name}: not in the case")
    for name in case:
        if name not in known:
            print(f"{name}: unknown, not compared")


def _refuse_absent(what: str, case: Case, needed: Sequence[str]) -> None:
    absent = [name for name in needed if name not in case]
    if absent:
        raise UserError(f"the {what} lacks {', '.join(absent[:6])}{', …' if len(absent) > 6 else ''}; it is not whole")


def picture_of(photo: Case, folder: Path) -> Path:
    """The one file of the photo's name in a folder or below it; copies are one."""
    name = str(photo["image"])
    if (folder / name).is_file():
        return folder / name
    found = sorted(folder.rglob(escape(Path(name).name)))
    if len({path.read_bytes() for path in found}) != 1:
        raise UserError(f"expected one {name} in {folder}, but found {len(found)}")
    return found[0]


def compared(arguments: argparse.Namespace) -> list[Row]:
    """All rows of what the command line names; UserError where it can't be compared."""
    if arguments.loss and not arguments.case:
        raise UserError("--loss needs the --case whose inputs it was made on")
    if not arguments.case and not arguments.photo:
        raise UserError("expected --case or --photo (or both), but got neither")
    if bool(arguments.photo) != bool(arguments.images):
        raise UserError("--photo and --images (the folder of its picture) go together")
    case = read_case(arguments.case, CASE_INPUTS) if arguments.case else None
    loss = read_case(arguments.loss, LOSS_ARRAYS) if arguments.loss else None
    photo = read_case(arguments.photo, (*PHOTO_ARRAYS, *BOX_ARRAYS)) if arguments.photo else None
    keys, weights = _keys_and_weights(arguments)
    if case is not None:
        check_case(keys, case, loss)
    picture = picture_of(photo, arguments.images) if photo is not None else None
    task = filled_task(keys, weights, getattr(torch, arguments.dtype))
    rows: list[Row] = []
    tolerance, photo_tolerance = (
        TOLERANCES[dtype] if arguments.tolerance is None else arguments.tolerance
        for dtype in (arguments.dtype, "float32")  # photos were recorded in float32, whatever computes here
    )
    if case is not None:
        tokenizer = tokenizer_of(case, arguments.tokenizer)
        rows, outputs = forward_rows(task, case, tokenizer, tolerance)
        rows += loss_rows(task, loss, case, outputs, tokenizer) if loss is not None else []
    if photo is not None and picture is not None:
        tokenizer = tokenizer_of(photo, arguments.tokenizer)
        rows += photo_rows(task, photo, picture, tokenizer, photo_tolerance)
    return rows


def _keys_and_weights(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """The keys and the Python file that fills them, found near the cases where they are not given."""
    cases = [path for path in (arguments.case, arguments.photo) if path]
    keys = arguments.keys or keys_beside(cases[0])
    if not arguments.keys:
        print(f"keys: {keys}")
    return keys, arguments.weights_module or weights_beside(keys, *cases)


def arguments_of(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keys", type=Path, help="JSON of names and shapes; default: the one beside the case")
    parser.add_argument("--case", type=Path, help="inputs and stages")
    parser.add_argument("--loss", type=Path, help="targets, losses and gradients on the inputs of --case")
    parser.add_argument("--photo", type=Path, help="boxes of an image file, in its pixels")
    parser.add_argument("--images", type=Path, help="folder of that image file")
    parser.add_argument("--weights-module", type=Path, help="default: weights.py beside --keys, or a case")
    parser.add_argument("--tokenizer", help="default: told from the token ids of the case")
    parser.add_argument("--dtype", choices=TOLERANCES, default="float64")
    parser.add_argument("--tolerance", type=float, help="default: 1e-5 in float64, 2e-4 in float32 and for photos")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Prints the rows; the exit status."""
    try:
        rows = compared(arguments_of(words))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{'array':24} {'difference':>10} {'beyond storage':>14}")
    for one in rows:
        verdict = "" if one.within else f"  more than {one.tolerance:.3g}"
        print(f"{one.name:24} {one.plain:10.3g} {one.difference:14.3g}{verdict}")
    print(f"max_abs_diff={max(one.difference for one in rows):.3g}")
    return 0 if all(one.within for one in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
