"""Claims about the grounding loss: values by hand, the released code's numbers, batches without boxes, two ranks."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import start_processes
from torch.testing import assert_close

from glipv2.losses.grounding import (
    GroundingLossConfig,
    GroundingTerms,
    centerness_targets,
    grounding_loss,
    mean_over_ranks,
    token_focal_loss,
    token_targets,
)
from glipv2.models.heads.regions import RegionHeadConfig
from glipv2.structures import BoxConvention, RegionOutputs, RegionTargets, positive_tokens

CONFIG = GroundingLossConfig()
SIZES = ((8, 8), (4, 4), (2, 2))  # of an image of 64 x 64
TOKENS = 5


def outputs_of(batch: int, seed: int = 0) -> RegionOutputs:
    """Random raw outputs that take gradients."""
    rng = torch.Generator().manual_seed(seed)
    count = sum(height * width for height, width in SIZES)
    head = RegionHeadConfig(anchor_scale=4.0).build(16, 16, 3)
    anchors = head.anchors(tuple(torch.zeros(1, 16, *size) for size in SIZES))

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng).requires_grad_()

    sizes = tuple(height * width for height, width in SIZES)
    return RegionOutputs(noise(batch, count, TOKENS), noise(batch, count, 4), noise(batch, count), anchors, sizes)


def targets_of(*images: list[tuple[tuple[float, ...], int]]) -> RegionTargets:
    """(box, token) pairs of each image; each box is named by one token."""
    most = max(len(rows) for rows in images)
    boxes, mask = torch.zeros(len(images), most, 4), torch.zeros(len(images), most, dtype=torch.bool)
    positive = torch.zeros(len(images), most, TOKENS, dtype=torch.bool)
    for image, rows in enumerate(images):
        for row, (box, token) in enumerate(rows):
            boxes[image, row], mask[image, row], positive[image, row, token] = torch.tensor(box), True, True
    return RegionTargets(boxes, mask, positive)


ONE: list[tuple[tuple[float, ...], int]] = [((4.0, 4.0, 40.0, 36.0), 1)]
TWO: list[tuple[tuple[float, ...], int]] = [((20.0, 20.0, 60.0, 60.0), 2), ((2.0, 2.0, 30.0, 30.0), 3)]


def mask_of(batch: int, length: int = TOKENS) -> Tensor:
    return torch.arange(TOKENS).expand(batch, -1) < length


def loss_of(outputs: RegionOutputs, targets: RegionTargets, length: int = TOKENS) -> GroundingTerms:
    mask = mask_of(len(targets.boxes), length)
    return grounding_loss(outputs, targets, mask, BoxConvention(), CONFIG)


def total(terms: GroundingTerms) -> Tensor:
    return terms.alignment + terms.box + terms.centerness


# Parts


def test_focal_loss_by_hand() -> None:
    logit = math.log(3)  # a probability of 3/4
    logits = torch.tensor([[[logit, logit]]], dtype=torch.float64)
    targets = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    everything = torch.ones(1, 2, dtype=torch.bool)
    hit = 0.25 * (1 / 4) ** 2 * -math.log(3 / 4)
    miss = 0.75 * (3 / 4) ** 2 * -math.log(1 / 4)
    assert_close(token_focal_loss(logits, targets, everything, 0.25, 2.0).item(), hit + miss)
    assert_close(token_focal_loss(logits, targets, torch.tensor([[True, False]]), 0.25, 2.0).item(), hit)
    assert_close(token_focal_loss(logits, targets, torch.tensor([[False, True]]), 0.25, 2.0).item(), miss)


def test_focal_loss_of_extreme_logits_is_finite() -> None:
    logits = torch.tensor([[[50_000.0, -50_000.0]]]).requires_grad_()
    value = token_focal_loss(logits, torch.tensor([[[0.0, 1.0]]]), torch.ones(1, 2, dtype=torch.bool), 0.25, 2.0)
    value.backward()
    assert_close(value.item(), 0.75 * 50_000 + 0.25 * 50_000)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_token_targets_follow_the_assignment() -> None:
    assignment = torch.tensor([[-1, 1, 0], [-1, -1, 1]])
    positive = torch.tensor([[[1, 0, 0], [0, 1, 1]], [[0, 0, 0], [1, 0, 1]]]).bool()
    assert token_targets(assignment, positive).tolist() == [
        [[0, 0, 0], [0, 1, 1], [1, 0, 0]],
        [[0, 0, 0], [0, 0, 0], [1, 0, 1]],
    ]


def test_centerness_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).expand(4, 4)
    middle, off, corner, outside = [4.0, 4, 6, 6], [1.0, 4, 3, 6], [0.0, 0, 0, 0], [-6.0, 4, -4, 6]
    found = centerness_targets(torch.tensor([middle, off, corner, outside]), boxes)
    assert_close(found, torch.tensor([1.0, math.sqrt(2 / 8), 0.0, 0.0]))


# The whole


def test_padding_tokens_count_nothing() -> None:
    outputs, targets = outputs_of(2), targets_of(ONE, TWO)
    short = loss_of(outputs, targets, length=4)
    louder = dataclasses.replace(outputs, alignment_logits=outputs.alignment_logits + ~mask_of(2, 4)[:, None] * 9.0)
    assert torch.equal(loss_of(louder, targets, length=4).alignment, short.alignment)
    assert loss_of(louder, targets).alignment > loss_of(outputs, targets).alignment
    gradient = torch.autograd.grad(short.alignment, outputs.alignment_logits)[0]
    assert (gradient[..., 4] == 0).all()
    assert (gradient[..., :4] != 0).all()


def test_padding_boxes_count_nothing() -> None:
    outputs = outputs_of(1)
    targets = targets_of(ONE)
    padded = RegionTargets(
        torch.cat([targets.boxes, torch.full((1, 3, 4), 7.0)], dim=1),
        torch.cat([targets.box_mask, torch.zeros(1, 3, dtype=torch.bool)], dim=1),
        torch.cat([targets.positive_map, torch.ones(1, 3, TOKENS, dtype=torch.bool)], dim=1),
    )
    assert_close(vars(loss_of(outputs, padded)), vars(loss_of(outputs, targets)))


def test_a_batch_without_boxes_is_finite_and_reaches_every_output() -> None:
    outputs = outputs_of(2)
    terms = loss_of(outputs, targets_of([], []))
    assert (terms.box.item(), terms.centerness.item(), terms.matched.item()) == (0, 0, 0)
    assert 0 < terms.alignment.item() < math.inf
    total(terms).backward()
    for values in (outputs.alignment_logits, outputs.box_deltas, outputs.centerness):
        assert values.grad is not None  # unused outputs would stop distributed training
        assert torch.isfinite(values.grad).all()


def test_images_without_boxes_push_every_logit_down() -> None:
    outputs = outputs_of(2)
    total(loss_of(outputs, targets_of([], ONE))).backward()
    assert outputs.alignment_logits.grad is not None
    assert (outputs.alignment_logits.grad[0] > 0).all()
    assert (outputs.alignment_logits.grad[1] < 0).any()  # the named box pulls its token up


def test_perfect_outputs_cost_nothing() -> None:
    targets = targets_of(TWO)
    outputs = outputs_of(1)
    with torch.no_grad():
        from glipv2.matching import assign_regions

        owner = assign_regions(
            outputs.anchors, outputs.level_sizes, targets.boxes, targets.box_mask, BoxConvention(), CONFIG.top_k
        )
        boxes = targets.boxes[0][owner[0].clamp(min=0)]
        deltas = BoxConvention().encode(boxes, outputs.anchors)
        wanted = centerness_targets(outputs.anchors, boxes)
        logits = token_targets(owner, targets.positive_map) * 40 - 20
    terms = loss_of(
        dataclasses.replace(outputs, alignment_logits=logits, box_deltas=deltas[None], centerness=wanted[None].logit()),
        targets,
    )
    assert terms.alignment.item() < 1e-6
    assert terms.box.item() < 1e-5
    matched = wanted[owner[0] >= 0]
    entropy = torch.nn.functional.binary_cross_entropy(matched, matched)  # all that a perfect centerness leaves
    assert_close(terms.centerness, entropy)


def test_weights_scale_their_own_terms() -> None:
    outputs, targets = outputs_of(1), targets_of(TWO)
    plain = GroundingLossConfig(alignment_weight=1, box_weight=1, centerness_weight=1)
    heavy = GroundingLossConfig(alignment_weight=2, box_weight=3, centerness_weight=5)
    first, second = (grounding_loss(outputs, targets, mask_of(1), BoxConvention(), config) for config in (plain, heavy))
    assert_close(second.alignment, 2 * first.alignment)
    assert_close(second.box, 3 * first.box)
    assert_close(second.centerness, 5 * first.centerness)


def test_the_terms_and_their_gradients_are_the_released_codes(shared: Path) -> None:
    """The losses of microsoft/GLIP on its own raw outputs, and the gradients on them."""
    raw, case = (np.load(shared / "parity" / name) for name in ("glip_t_small.npz", "glip_t_small_loss.npz"))
    spec = json.loads(str(case["spec"]))
    shapes = tuple(raw[f"box_deltas.{level}"].shape[-2:] for level in range(5))

    def rows(source: np.lib.npyio.NpzFile, name: str) -> Tensor:
        """[B, R, C] over all levels."""
        levels = [torch.from_numpy(source[f"{name}.{level}"]).double() for level in range(5)]
        flat = [level if level.ndim == 3 else level.flatten(2).transpose(1, 2) for level in levels]
        return torch.cat(flat, dim=1)

    head = RegionHeadConfig(inclusive_boxes=True).build(16, 16, 5)
    outputs = RegionOutputs(
        rows(raw, "alignment_logits").requires_grad_(),
        rows(raw, "box_deltas").requires_grad_(),
        rows(raw, "centerness")[..., 0].requires_grad_(),
        head.anchors(tuple(torch.zeros(1, 16, *shape) for shape in shapes)).double(),
        tuple(int(height * width) for height, width in shapes),
    )
    offsets = [(0, 0), (0, 6), (6, 7), (8, 11), (11, 12), (13, 18), (18, 23), (23, 24), (0, 0)]
    spans = [[tuple(spec["spans"][str(label)])] for label in (1, 2, 3)]
    tokens = positive_tokens(spans, offsets, 9)  # type: ignore[arg-type]
    boxes, mask, positive = torch.zeros(2, 4, 4).double(), torch.zeros(2, 4).bool(), torch.zeros(2, 4, 9).bool()
    for index, image in enumerate(spec["images"]):
        count = len(image["labels"])
        boxes[index, :count] = torch.tensor(image["boxes"], dtype=torch.float64)
        mask[index, :count] = True
        positive[index, :count] = tokens[[label - 1 for label in image["labels"]]]
    targets = RegionTargets(boxes, mask, positive)
    terms = grounding_loss(outputs, targets, torch.ones(2, 9).bool(), BoxConvention(inclusive=True), CONFIG)
    total(terms).backward()
    assert int(terms.matched) == int(case["num_positive"].sum())
    assert_close(terms.alignment.item(), float(case["token_loss"]), atol=1e-5, rtol=1e-5)
    assert_close(terms.box.item(), float(case["box_loss"]), atol=1e-5, rtol=1e-5)
    assert_close(terms.centerness.item(), float(case["centerness_loss"]), atol=1e-5, rtol=1e-5)
    for name in ("alignment_logits", "box_deltas", "centerness"):
        gradient = getattr(outputs, name).grad
        assert_close(gradient, rows(case, f"grad.{name}").reshape(gradient.shape), atol=1e-5, rtol=1e-4)


# Two ranks, as processes of their own. This file is also the program that starts them.


def rank_main(rank: int, folder: Path) -> None:
    """Gradients of this rank's half of the batch, and a mean over ranks."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    outputs, targets = halves()[rank]
    terms = loss_of(outputs, targets)
    total(terms).backward()
    value = torch.tensor(float(rank), requires_grad=True)
    mean = mean_over_ranks(value)
    answer = {
        "terms": {name: getattr(terms, name).item() for name in ("alignment", "box", "centerness", "matched")},
        "mean": [mean.item(), value.item(), mean.requires_grad],
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(answer))
    torch.save(outputs.box_deltas.grad, folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


def halves() -> list[tuple[RegionOutputs, RegionTargets]]:
    """What each rank sees: the second has no box at all."""
    return [(outputs_of(2, seed=1), targets_of(ONE, TWO)), (outputs_of(2, seed=2), targets_of([], []))]


def test_ranks_share_one_normaliser_so_that_their_mean_is_the_loss_of_the_whole(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-W", "ignore", __file__, str(tmp_path)], env=environment, timeout=240, check=True)
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert [answer["mean"] for answer in ranks] == [[0.5, 0.0, False], [0.5, 1.0, False]]
    (some, boxes), (others, none) = halves()
    outputs = RegionOutputs(
        torch.cat([some.alignment_logits, others.alignment_logits]),
        torch.cat([some.box_deltas, others.box_deltas]),
        torch.cat([some.centerness, others.centerness]),
        some.anchors,
        some.level_sizes,
    )
    assert not none.box_mask.any()
    targets = RegionTargets(
        *(torch.cat([value, torch.zeros_like(value)]) for value in vars(boxes).values() if value is not None)
    )
    whole = loss_of(outputs, targets)
    assert ranks[0]["terms"]["matched"] == whole.matched.item() > 0
    assert ranks[1]["terms"]["matched"] == 0
    for name in ("alignment", "box", "centerness"):
        mean = (ranks[0]["terms"][name] + ranks[1]["terms"][name]) / 2
        assert mean == pytest.approx(getattr(whole, name).item(), rel=1e-5)
    assert torch.load(tmp_path / "rank0.pt", weights_only=True).abs().sum() > 0
    assert torch.load(tmp_path / "rank1.pt", weights_only=True).abs().sum() == 0


if __name__ == "__main__":  # forked, so that torch is imported once and not by each rank
    start_processes(rank_main, args=(Path(sys.argv[1]),), nprocs=2, start_method="fork")  # type: ignore[no-untyped-call]
