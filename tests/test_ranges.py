"""Claims that a number out of its range is refused when a command is composed, by its key."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from glipv2.arguments import composed
from glipv2.errors import UserError
from glipv2.models.fusion import FusionConfig
from glipv2.ranges import at_least, check_ranges, share, within


@dataclass
class Inner:
    rate: float = share(0.5)
    pair: list[float] = within(-1, 1, [0.0, 1.0], length=2)


@dataclass
class Outer:
    count: int = at_least(1, 4)
    free: float = -7.0
    factors: dict[str, float] = field(default_factory=dict)
    on: bool = True
    inner: Inner = field(default_factory=Inner)


def test_what_lies_within_its_bounds_and_the_bounds_themselves_are_taken() -> None:
    check_ranges(Outer())
    check_ranges(Outer(count=1, free=1e9, factors={"a": -1.0}, inner=Inner(rate=1.0, pair=[-1.0, 1.0])))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (Outer(count=0), r"^count: expected at least 1, but got 0$"),
        (Outer(inner=Inner(rate=1.5)), r"^inner\.rate: expected 0 to 1, but got 1\.5$"),
        (Outer(inner=Inner(pair=[0.0, 2.0])), r"^inner\.pair: expected 2 numbers of -1 to 1, but got 2$"),
        (Outer(inner=Inner(pair=[0.0])), r"^inner\.pair: expected 2 numbers of -1 to 1, but got \[0\.0\]$"),
        (Outer(free=float("nan")), r"^free: expected a number, but got nan$"),
        (Outer(factors={"a": float("inf")}), r"^factors: expected a number, but got inf$"),
    ],
)
def test_what_lies_outside_is_refused_by_its_full_name(config: Outer, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_ranges(config)


def test_lists_are_not_shared_between_configs() -> None:
    Inner().pair.append(3.0)
    assert Inner().pair == [0.0, 1.0]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("seed=-1", "seed: expected 0 to 4.29497e+09, but got -1"),
        ("data.batch_size=0", "data.batch_size: expected at least 1, but got 0"),
        ("data.workers=-1", "data.workers: expected at least 0, but got -1"),
        ("data.augment.flip=2", "data.augment.flip: expected 0 to 1, but got 2"),
        ("data.augment.short_sides=[64,0]", "data.augment.short_sides: expected at least 1, but got 0"),
        ("optim.lr=-1", "optim.lr: expected at least 0, but got -1"),
        ("optim.lr=nan", "optim.lr: expected a number, but got nan"),
        ("optim.betas=[0.9]", "optim.betas: expected 2 numbers of 0 to 0.999999, but got [0.9]"),
        ("loss.grounding.alpha=nan", "loss.grounding.alpha: expected a number, but got nan"),
        ("model.pixels.std=[0,0,0]", "model.pixels.std: expected 3 numbers of at least 1e-06, but got 0"),
        ("model.pixels.short_side=0", "model.pixels.short_side: expected at least 1, but got 0"),
        ("trainer.accumulate=0", "trainer.accumulate: expected at least 1, but got 0"),
    ],
)
def test_a_command_with_such_a_number_is_refused(word: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        composed([word])
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (FusionConfig(heads=3), "model.fusion.heads: expected a divisor of model.fusion.attention_width, 2048"),
        (FusionConfig(text_heads=5), "model.fusion.text_heads: expected a divisor of the text encoder's width, 768"),
        (FusionConfig(groups=7), "model.fusion.groups: expected a divisor of model.image.width, 256, but got 7"),
    ],
)
def test_widths_that_do_not_divide_are_refused(config: FusionConfig, said: str) -> None:
    with pytest.raises(UserError, match=said):
        config.build(256, 768)
