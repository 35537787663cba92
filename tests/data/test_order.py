"""Claims about what training batches are made of, whatever the number of processes and wherever they begin."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from glipv2.data.augment import AugmentConfig
from glipv2.data.order import Draw, TrainingOrder, drawn_seed, seed_of, seeded
from glipv2.data.shapes import ShapesDataset
from glipv2.data.transforms import ExampleDataset
from glipv2.pixels import PixelConfig


def batches(order: TrainingOrder, count: int) -> list[list[Draw]]:
    return list(itertools.islice(order, count))


def test_each_pass_shows_every_sample_once_in_another_order() -> None:
    order = TrainingOrder(12, 4, "0/detection")
    first, second = batches(order, 3), batches(order, 6)[3:]
    rows = [[draw.index for batch in part for draw in batch] for part in (first, second)]
    assert [sorted(own) for own in rows] == [list(range(12))] * 2
    assert rows[0] != rows[1]
    seeds = [draw.seed for part in (first, second) for batch in part for draw in batch]
    assert len(set(seeds)) == 24  # a sample varies from pass to pass


def test_the_rest_of_a_pass_is_dropped() -> None:
    order = TrainingOrder(11, 4, "0")
    assert order.per_pass == 2
    assert [len(batch) for batch in batches(order, 5)] == [4] * 5


def test_it_goes_on_anywhere_as_if_it_had_never_stopped() -> None:
    whole = batches(TrainingOrder(11, 2, "7"), 20)
    for start in range(20):
        later = TrainingOrder(11, 2, "7")
        later.start = start
        assert batches(later, 20 - start) == whole[start:]


def test_a_place_is_found_again_with_another_batch_size() -> None:
    four, two = TrainingOrder(10, 4, "0"), TrainingOrder(10, 1, "0", rank=1, world=2)
    assert [four.place_of(number) for number in (0, 1, 2, 20)] == [(0, 0), (0, 4), (1, 0), (10, 0)]
    assert [two.number_at(*four.place_of(number)) for number in (0, 1, 2, 20)] == [0, 2, 5, 50]
    assert [four.number_at(0, taken) for taken in (3, 4, 7, 8, 9)] == [0, 1, 1, 2, 2]
    assert [four.number_at(*four.place_of(number)) for number in range(9)] == list(range(9))


@pytest.mark.parametrize(("world", "size"), [(2, 2), (4, 1)])
def test_processes_share_the_batches_of_one(world: int, size: int) -> None:
    one = batches(TrainingOrder(22, 4, "3"), 12)
    ranks = [batches(TrainingOrder(22, size, "3", rank=rank, world=world), 12) for rank in range(world)]
    together = [[draw for step in zip(*parts, strict=True) for draw in step] for parts in zip(*ranks, strict=True)]
    assert together == one


def test_seeds_and_tasks_differ_in_their_order() -> None:
    orders = [batches(TrainingOrder(50, 10, seed), 1) for seed in ("0/detection", "1/detection", "0/vqa")]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_a_data_set_may_say_how_it_is_read_best() -> None:
    class Shards:
        def order(self, seed: int) -> Tensor:
            return torch.arange(6).flip(0)

    order = TrainingOrder(6, 3, "0", samples=Shards())
    assert [[draw.index for draw in batch] for batch in batches(order, 2)] == [[5, 4, 3], [2, 1, 0]]


def test_the_same_seed_is_the_same_number_everywhere() -> None:
    assert seed_of("0/detection", 3, 17) == 849364916276879425


def test_what_is_drawn_inside_is_not_noticed_outside() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    torch.manual_seed(5)
    found = [float(torch.rand(()))]
    with seeded(9):
        inside = torch.rand(4)
    found += torch.rand(2).tolist()
    assert found == expected
    with seeded(9):
        assert torch.equal(torch.rand(4), inside)
    torch.manual_seed(5)
    first = drawn_seed()
    assert first != drawn_seed()


def test_a_sample_varies_the_same_in_whichever_process_it_is_made() -> None:
    augment = AugmentConfig(crop=0.5, zoom_out=0.5, color=0.3, short_sides=[48, 64])
    samples = ExampleDataset(ShapesDataset("train", 8, image_size=64), PixelConfig(short_side=64), augment)
    images = []
    for workers in (0, 2):
        torch.manual_seed(workers)
        order = TrainingOrder(8, 2, "0")
        loader = DataLoader(samples, batch_sampler=order, num_workers=workers, collate_fn=list)
        images.append([example for batch in itertools.islice(loader, 6) for example in batch])
    for one, other in zip(*images, strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.instances.boxes, other.instances.boxes)
        assert one.seed == other.seed
    means = {float(example.image.float().mean()) for example in images[0]}
    assert len(means) == 12
