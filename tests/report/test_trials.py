"""Claims about sweeps on the page: the best trial, the picture, seeds, and trials that came to nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glipv2.errors import UserError
from glipv2.report.page import write_report
from glipv2.report.parallel import Trial, parallel_coordinates
from glipv2.report.run import RunFolder
from glipv2.report.seeds import interval, seed_groups
from glipv2.report.sweep import swept_keys
from glipv2.report.trials import read_sweep, trial_names, values_of

APS = {0: 0.2, 1: 0.3, 2: 0.7, 3: 0.5}


def make_sweep(folder: Path) -> Path:
    """Two rates × two seeds; one trial that never ended, one that left a folder and nothing in it."""
    folder.mkdir()
    task = ["experiment=x", "optim.lr=0.1,0.2", "seed=1,2", "also_evaluate=[]"]
    (folder / "multirun.yaml").write_text(json.dumps({"hydra": {"overrides": {"task": task}}}))
    for number, ap in APS.items():
        rate, seed = (0.1, 0.2)[number // 2], (1, 2)[number % 2]
        make_trial(folder / str(number), rate, seed, ap)
    make_trial(folder / "4", 0.3, 1, None)
    (folder / "5").mkdir()
    return folder


def make_trial(folder: Path, rate: float, seed: int, ap: float | None) -> None:
    folder.mkdir()
    command = ["glipv2", "train", "experiment=x", f"optim.lr={rate}", f"seed={seed}"]
    (folder / "environment.json").write_text(json.dumps({"command": " ".join(command), "device": "cpu"}))
    (folder / "config.yaml").write_text(
        f"seed: {seed}\noutput: {folder}\noptim:\n  lr: {rate}\ntrainer:\n  max_steps: 9\n"
    )
    if ap is None:
        (folder / "metrics.csv").write_text("step,train/loss\n0,2.5\n4,2.0\n")
    else:
        metrics = {"detection/box_ap": ap, "run/steps": 9, "run/seconds": 1800, "run/devices": 2}
        (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return make_sweep(tmp_path / "sweep_1")


def page_of(path: Path, tmp_path: Path) -> str:
    return write_report([path], tmp_path / "r.html").read_text("utf-8")


def test_a_sweep_knows_what_it_varies(sweep: Path, tmp_path: Path) -> None:
    assert swept_keys(sweep) == ("optim.lr", "seed")
    assert swept_keys(tmp_path) is None
    (sweep / "multirun.yaml").write_text("hydra: {sweeper: {params: {optim.lr: 'interval(0, 1)'}}}")
    assert swept_keys(sweep) == ("optim.lr",)
    (sweep / "multirun.yaml").write_text("{nonsense: [")
    assert swept_keys(sweep) == ()
    (sweep / "multirun.yaml").unlink()
    (sweep / "optimization_results.yaml").write_text("best_params: {optim.lr: 0.2, seed: 1}")
    assert swept_keys(sweep) == ("optim.lr", "seed")


def test_the_best_trial_heads_the_page_with_the_command_that_makes_it_again(sweep: Path, tmp_path: Path) -> None:
    page = page_of(sweep, tmp_path)
    assert "5 trials of sweep_1" in page
    card = page.split('<div class="card hero"><h3>Best Detection: Box AP</h3>')[1].split("</pre>")[0]
    assert ">70.0<" in card
    assert "2: lr=0.2 seed=1" in card
    assert "glipv2 train experiment=x optim.lr=0.2 seed=1" in card


def test_trials_are_told_best_first_with_their_state(sweep: Path, tmp_path: Path) -> None:
    page = page_of(sweep, tmp_path)
    table = page.split('aria-label="trials"')[1].split("</table>")[0]
    assert re.findall(r'<th scope="row">(\d)</th>', table) == ["2", "3", "1", "0", "4"]
    assert table.count("finished</td>") == 4
    assert "not finished: logged up to step 4 of 9" in table
    assert "Left nothing: 5." in page
    assert "1 of 5 have no score" in page
    assert "4 device hours in all" in page


def test_seeds_are_joined_with_a_confidence_interval(sweep: Path, tmp_path: Path) -> None:
    runs = trial_names([RunFolder.read(path) for path in sorted(sweep.glob("[0-4]"))], read_sweep(sweep))  # type: ignore[arg-type]
    assert [[name[0] for name in group] for group in seed_groups(runs)] == [["0", "1"], ["2", "3"]]
    table = page_of(sweep, tmp_path).split("Over seeds")[1].split("</table>")[0]
    assert "25.0 ± 63.5" in table  # 12.706 · 0.0707 / √2
    assert "60.0 ± 127.1" in table
    assert 'title="0: lr=0.1 seed=1: 20.0, 1: lr=0.1 seed=2: 30.0"' in table


def test_an_interval_is_that_of_students_t() -> None:
    assert interval([1.0]) is None
    assert interval([1.0, 1.0]) == 0
    assert interval([1.0, 2.0, 3.0]) == pytest.approx(4.303 / 3**0.5)
    assert interval([0.0, 1.0] * 500) == pytest.approx(0.03104, rel=1e-2)  # 1.962 · 0.50025 / √1000


def test_values_come_from_the_command_and_else_from_the_config(sweep: Path) -> None:
    run = RunFolder.read(sweep / "2")
    assert values_of(run, ["optim.lr", "trainer.max_steps", "model"]) == ("0.2", "9", "")
    (sweep / "2/environment.json").write_text("{")
    assert values_of(RunFolder.read(sweep / "2"), ["optim.lr"]) == ("0.2",)


def test_lines_run_from_what_was_tried_to_what_came_of_it() -> None:
    trials = [Trial("a", ("0.001", "nano"), 0.5), Trial("b", ("0.1", "small"), 0.9), Trial("c", ("0.01", ""), None)]
    drawn = parallel_coordinates(["lr", "model"], trials, "AP")
    assert drawn.count("<path") == 3
    assert "best AP: 0.9 by b" in drawn
    assert drawn.count("stroke-dasharray") == 1  # the one without a result
    assert all(f">{word}</text>" in drawn for word in ("lr", "model", "AP", "nano", "small", "1e-3", "0.1"))


def test_a_sweep_that_left_nothing_and_one_in_which_nothing_was_scored(tmp_path: Path) -> None:
    sweep = tmp_path / "s"
    sweep.mkdir()
    (sweep / "multirun.yaml").write_text("hydra: {overrides: {task: ['seed=1,2']}}")
    (sweep / "0").mkdir()
    with pytest.raises(UserError, match="no trial has left anything"):
        write_report([sweep], tmp_path / "r.html")
    (sweep / "0/config.yaml").write_text("seed: 1\n")
    page = page_of(sweep, tmp_path)
    assert "No trial has come to a score yet." in page
    assert "not finished: nothing was logged" in page.lower()


def test_many_runs_show_the_pictures_of_the_best_alone(sweep: Path, tmp_path: Path) -> None:
    from PIL import Image

    for number in APS:
        (sweep / str(number) / "gallery/val").mkdir(parents=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(sweep / str(number) / "gallery/val/0.png")
    assert page_of(sweep, tmp_path).count("<img") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "expected the folder of a run, but got none; as in glipv2 report runs/demo"),
        (("output=x.html",), "expected the folder of a run, but got none"),
        (("--fast",), "report takes folders of runs and output=FILE, but got '--fast'"),
        (("runs", "outptu=x.html"), "report takes folders of runs and output=FILE, but got 'outptu=x.html'"),
        (("runs", "output="), "output=: expected a file, but got nothing"),
        (("runs",), "expected the folder of a run, but 'runs' does not exist"),
    ],
)
def test_wrong_words_are_told_in_one_line(
    glipv2: Callable[..., Any], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    ended = glipv2(tmp_path, "report", *words)
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []
