"""Claims about the benchmark: it compares the same work, ways take turns, and its page says what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bench
import pytest
import torch
from bench_cases.clock import Timing, timed
from bench_cases.floor import operations
from bench_cases.models import bert_tokenizer, images, model_config, names, prompt_batches
from bench_cases.page import MARKS, write_page
from bench_cases.record import Record, rendered
from bench_cases.result import Row, ratio_row, skipped
from bench_cases.unfolded import PADDED, positions, random_pair, unfolded
from torch.testing import assert_close
from torchvision.ops import deform_conv2d

from glipv2.models import ModelConfig
from glipv2.models.fusion import FusionConfig, FusionLayer

CPU = torch.device("cpu")
FACTS = {
    "device": "a card", "cpu": "a processor", "cores": 2, "threads": 2, "torch": "2", "transformers": "5",
    "python": "3", "commit": "abc", "date": "2026-01-01", "seed": 0, "rounds": 3, "peak_flops": 1.5e11,
    "command": "python bench",
}  # fmt: skip


@pytest.mark.parametrize(("count", "tokens"), [(3, 9), (80, 194)])
def test_prompts_are_as_long_as_with_berts_own_pieces(count: int, tokens: int) -> None:
    (prompt,) = prompt_batches(bert_tokenizer(), names(count), CPU)
    assert int(prompt.text.token_mask.sum()) == tokens
    ids = prompt.text.token_ids[0, :tokens].tolist()
    assert (ids[0], ids[-1], ids.count(1012), ids.count(100)) == (101, 102, count - 1, 0)


def test_names_for_large_vocabularies_are_distinct_and_come_in_as_many_chunks_as_the_released_ones() -> None:
    assert len(set(names(1203))) == 1203
    assert len(prompt_batches(bert_tokenizer(), names(1203), CPU, most=40)) == 31


def test_presets_are_read_as_hydra_composes_them(preset: object) -> None:
    for name in ("glip_t",):
        ours, composed = model_config(name), preset(name)  # type: ignore[operator]
        assert isinstance(composed, ModelConfig)
        assert (ours.fusion, ours.regions, ours.pixels, ours.masks) == (
            composed.fusion, composed.regions, composed.pixels, composed.masks,
        )  # fmt: skip
        assert ours.image == composed.image


def test_the_unfolded_yardstick_computes_what_the_model_computes() -> None:
    torch.manual_seed(0)
    layer = FusionLayer(FusionConfig(attention_width=32, heads=4, text_heads=2, dropout=0.0), 16, 24).double().cross
    assert layer is not None
    image, text, mask = (value.double() if value.is_floating_point() else value for value in random_pair(layer, 50, 9))
    assert text.shape[1] < PADDED
    for own, other in zip(layer(image, text, mask), unfolded(layer, image, text, mask), strict=True):
        assert_close(own, other, atol=1e-10, rtol=0)


def test_a_full_size_image_has_22388_positions() -> None:
    assert positions((800, 1333)) == 100 * 167 + 50 * 84 + 25 * 42 + 13 * 21 + 7 * 11


def test_ways_take_turns_after_a_warm_up() -> None:
    done: list[str] = []
    times = timed({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, CPU, rounds=2, warm_up=1)
    turns = [name for index, name in enumerate(done) if index == 0 or done[index - 1] != name]
    assert turns == ["a", "b"] * 3
    assert [len(timing.seconds) for timing in times.values()] == [2, 2]


def test_a_ratio_is_that_of_neighbouring_rounds() -> None:
    slow_middle = {"ours": Timing((1.0, 10.0, 2.0)), "theirs": Timing((2.0, 20.0, 4.0))}
    assert ratio_row("required", "x", slow_middle, "ours", "theirs").measured == 0.5


def test_a_deformable_convolution_counts_as_a_plain_one() -> None:
    level, weight = torch.randn(2, 4, 5, 6), torch.randn(8, 4, 3, 3)
    offsets = torch.zeros(2, 18, 5, 6)
    assert operations(lambda: torch.randn(7, 5) @ torch.randn(5, 3)) == 2 * 7 * 5 * 3
    assert operations(lambda: deform_conv2d(level, offsets, weight, padding=1)) == 2 * 2 * 5 * 6 * 8 * 4 * 9


def test_pictures_are_padded_as_the_model_pads_them() -> None:
    batch = images((50, 70), CPU, 2)
    assert batch.pixels.shape == (2, 3, 64, 96)
    assert batch.image_sizes.tolist() == [[50, 70]] * 2
    assert float(batch.pixels[:, :, 50:].abs().sum()) == 0


def test_the_page_tells_what_was_measured_and_keeps_what_people_wrote(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"Before.\n\n{MARKS[0]}\nof long ago\n{MARKS[1]}\n\nAfter.\n", "utf-8")
    record = Record(tmp_path / "box.json", FACTS)
    record.add(Row("required", "a row", 0.25, "×", 0.45, 0.3, {"ours": (1.0, 1.1), "theirs": (4.0, 4.4)}))
    record.add(skipped("switches", "compile", "no compiler"))
    for at, value in ((3, 1.0), (80, 2.0)):
        record.add(Row("growth by prompt", "ours", value, "s", curve="tokens", at=float(at)))
    write_page(page, rendered([record.path]))
    text = page.read_text("utf-8")
    assert text.startswith("Before.")
    assert text.rstrip().endswith("After.")
    assert "of long ago" not in text
    assert "| a row | ≤ 0.45× | ≤ 0.3× | 0.250× | ours 1.1, theirs 4.4 |" in text
    assert "| compile | not measured | no compiler |" in text
    assert "| 80 | 2.000 s |" in text
    assert "benchmarks/box_prompt.svg" in text
    assert (tmp_path / "benchmarks/box_prompt.svg").read_text("utf-8").startswith("<svg xmlns=")
    write_page(page, rendered([record.path]))
    assert page.read_text("utf-8") == text


def test_a_case_that_is_none_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.py", "--only", "speling"])
    with pytest.raises(SystemExit, match="no case 'speling'; there are three_names"):
        bench.main()


def test_a_case_writes_its_rows_with_the_machine_they_hold_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "out/rows.json"
    words = ["--only", "nano_step", "--tiny", "--rounds", "1", "--threads", "1", "--json", str(place)]
    monkeypatch.setattr(sys, "argv", ["bench.py", *words])
    assert bench.main() == 0
    content = json.loads(place.read_text("utf-8"))
    assert content["facts"]["command"] == f"python scripts/bench.py {' '.join(words)}"
    assert content["facts"]["peak_flops"] > 0
    assert "folder" not in content["facts"]  # pages are published
    step, rate = content["rows"][:2]
    assert step["name"] == "nano, batch 2 at 64×96, 20 names, float32: one step"
    assert rate["measured"] == pytest.approx(2 / step["measured"])
