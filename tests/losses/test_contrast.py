"""Claims about the contrast between images: a slow per-pair reference, who is positive for whom, two ranks."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import start_processes
from torch.testing import assert_close

from glipv2.losses.contrast import (
    NO_CLASS,
    ContrastRegions,
    ContrastWords,
    contrast_loss,
    contrast_targets,
)
from glipv2.structures import class_identity

DOG, CAT = class_identity("dog"), class_identity("cat")
WIDTH, LENGTH = 6, 5


def case(seed: int = 0) -> tuple[ContrastRegions, ContrastWords]:
    """Three texts: "dog . cat", "cat" (shorter), and a caption; five regions, two of them of the caption."""
    rng = torch.Generator().manual_seed(seed)
    own = torch.zeros(5, LENGTH, dtype=torch.bool)
    own[0, 1] = own[1, 3] = own[2, 1] = own[3, 1] = own[4, 2] = own[4, 3] = True
    regions = ContrastRegions(
        torch.randn(5, WIDTH, generator=rng).requires_grad_(),
        torch.tensor([0, 0, 1, 2, 2]),
        torch.tensor([DOG, CAT, CAT, NO_CLASS, NO_CLASS]),
        own,
    )
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    classes = torch.zeros(3, LENGTH, dtype=torch.int64)
    classes[0, 1], classes[0, 3], classes[1, 1] = DOG, CAT, CAT
    return regions, ContrastWords(torch.randn(3, LENGTH, WIDTH, generator=rng).requires_grad_(), mask, classes)


def positive(regions: ContrastRegions, words: ContrastWords, k: int, image: int, token: int) -> bool:
    """The rule, said for one pair."""
    if int(regions.images[k]) == image:
        return bool(regions.own_tokens[k, token])
    same = int(regions.classes[k]) == int(words.classes[image, token])
    return same and int(regions.classes[k]) != NO_CLASS


def slow_loss(regions: ContrastRegions, words: ContrastWords) -> float:
    """Both directions, pair by pair."""
    pairs = [(b, t) for b in range(3) for t in range(LENGTH) if bool(words.token_mask[b, t])]
    scores = [[(regions.features[k] @ words.features[b, t]).item() for b, t in pairs] for k in range(5)]
    wanted = [[positive(regions, words, k, b, t) for b, t in pairs] for k in range(5)]

    def direction(scores: list[list[float]], wanted: list[list[bool]]) -> float:
        losses = []
        for row, marks in zip(scores, wanted, strict=True):
            total = math.log(sum(math.exp(value) for value in row))
            hits = [total - value for value, mark in zip(row, marks, strict=True) if mark]
            if hits:
                losses.append(sum(hits) / len(hits))
        return sum(losses) / len(losses)

    def turned(table: list[list[float]]) -> list[list[float]]:
        return [list(column) for column in zip(*table, strict=True)]

    marks = [[bool(mark) for mark in column] for column in zip(*wanted, strict=True)]
    return (direction(scores, wanted) + direction(turned(scores), marks)) / 2


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_the_mean_over_pairs_one_by_one(seed: int) -> None:
    regions, words = case(seed)
    assert contrast_loss(regions, words).item() == pytest.approx(slow_loss(regions, words), rel=1e-5)


def test_a_class_of_the_same_name_elsewhere_is_positive_and_a_caption_is_not() -> None:
    targets = contrast_targets(*case()).reshape(5, 3, LENGTH)
    cat_of_first = targets[1]
    assert cat_of_first.nonzero().tolist() == [[0, 3], [1, 1]]  # its own "cat" and the other image's
    dog_of_first = targets[0]
    assert dog_of_first.nonzero().tolist() == [[0, 1]]
    assert targets[2].nonzero().tolist() == [[0, 3], [1, 1]]
    assert targets[3].nonzero().tolist() == [[2, 1]]  # a caption's phrase: in its own text only
    assert targets[4].nonzero().tolist() == [[2, 2], [2, 3]]


def test_without_propagation_only_a_regions_own_words_are_positive() -> None:
    regions, words = case()
    targets = contrast_targets(regions, words, propagate=False).reshape(5, 3, LENGTH)
    assert targets[1].nonzero().tolist() == [[0, 3]]
    assert targets[2].nonzero().tolist() == [[1, 1]]
    alone = contrast_loss(regions, replace(words, classes=torch.zeros_like(words.classes)))
    assert contrast_loss(regions, words, propagate=False).item() == pytest.approx(alone.item(), rel=1e-6)
    assert alone.item() != pytest.approx(contrast_loss(regions, words).item(), rel=1e-3)


def test_a_name_has_one_identity_in_every_data_set_and_process() -> None:
    assert class_identity("Dog") == class_identity("dog ") == DOG
    assert len({class_identity(f"name {index}") for index in range(5000)}) == 5000
    assert all(0 < class_identity(f"name {index}") < 2**63 for index in range(100))
    assert class_identity("dog") == 2072328596179865167


def test_padding_of_texts_changes_nothing() -> None:
    regions, words = case()
    longer = ContrastWords(
        torch.cat([words.features, 9 * torch.ones(3, 2, WIDTH)], dim=1),
        torch.cat([words.token_mask, torch.zeros(3, 2, dtype=torch.bool)], dim=1),
        torch.cat([words.classes, torch.full((3, 2), CAT)], dim=1),
    )
    wider = replace(regions, own_tokens=torch.cat([regions.own_tokens, torch.ones(5, 2, dtype=torch.bool)], dim=1))
    assert contrast_loss(wider, longer).item() == pytest.approx(contrast_loss(regions, words).item(), rel=1e-6)


def test_a_batch_without_regions_gives_zero_with_a_gradient() -> None:
    regions, words = case()
    none = ContrastRegions(regions.features[:0], regions.images[:0], regions.classes[:0], regions.own_tokens[:0])
    loss = contrast_loss(none, words)
    loss.backward()
    assert loss.item() == 0
    assert words.features.grad is not None
    assert not words.features.grad.any()


# Two ranks, as processes of their own. This file is also the program that starts them.


def shares() -> list[tuple[ContrastRegions, ContrastWords]]:
    """The case split over ranks: texts 0 and 1 with regions 0-2, text 2 (shorter batch) with regions 3 and 4."""
    regions, words = case()

    def part(rows: Tensor, texts: list[int], length: int) -> tuple[ContrastRegions, ContrastWords]:
        return (
            ContrastRegions(
                regions.features.detach()[rows].requires_grad_(),
                regions.images[rows] - texts[0],
                regions.classes[rows],
                regions.own_tokens[rows][:, :length],
            ),
            ContrastWords(
                words.features.detach()[texts, :length].requires_grad_(),
                words.token_mask[texts, :length],
                words.classes[texts, :length],
            ),
        )

    return [part(torch.tensor([0, 1, 2]), [0, 1], LENGTH), part(torch.tensor([3, 4]), [2], LENGTH)]


def rank_main(rank: int, folder: Path) -> None:
    """The loss and the gradients of this rank's share."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    regions, words = shares()[rank]
    loss = contrast_loss(regions, words)
    loss.backward()
    torch.save([loss.detach(), regions.features.grad, words.features.grad], folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_give_the_loss_and_the_gradients_of_one(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-W", "ignore", __file__, str(tmp_path)], env=environment, timeout=240, check=True)
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    regions, words = case()
    loss = contrast_loss(regions, words)
    loss.backward()
    assert regions.features.grad is not None
    assert words.features.grad is not None
    for rank in ranks:
        assert rank[0].item() == pytest.approx(loss.item(), rel=1e-5)
    # each rank computes the whole: the mean over ranks, as DDP takes it, is half of the sum gathered back
    assert_close(torch.cat([rank[1] for rank in ranks]) / 2, regions.features.grad, atol=1e-6, rtol=1e-5)
    assert_close(torch.cat([rank[2] for rank in ranks]) / 2, words.features.grad, atol=1e-6, rtol=1e-5)


if __name__ == "__main__":  # forked, so that torch is imported once and not by each rank
    start_processes(rank_main, args=(Path(sys.argv[1]),), nprocs=2, start_method="fork")  # type: ignore[no-untyped-call]


def test_a_second_text_about_an_image_is_not_compared_with_its_regions() -> None:
    """As if the two texts stood in batches of their own: neither is a negative of the other."""
    regions, words = case()
    about = torch.tensor([0, 0, 1])  # the first two texts are about one image
    together = contrast_loss(regions, replace(words, images=about))
    hidden = words.features.detach().clone()
    hidden[1] *= 100  # what the second text says changes nothing for regions of the first, and the other way round
    only_first = replace(regions, images=regions.images[:2], features=regions.features[:2], classes=regions.classes[:2],
                         own_tokens=regions.own_tokens[:2])  # fmt: skip
    before = contrast_loss(only_first, replace(words, images=about))
    assert_close(contrast_loss(only_first, replace(words, features=hidden, images=about)), before)
    assert not torch.isclose(together, contrast_loss(regions, words))
    assert_close(contrast_loss(regions, replace(words, images=torch.arange(3))), contrast_loss(regions, words))
