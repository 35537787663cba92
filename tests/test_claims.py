"""Claims about the claims' page: rows keep every trial, differences are taken seed by seed, verdicts are careful."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from claim_results.differences import paired
from claim_results.page import differences, measured, page, read_claims
from claim_results.rows import Trial, of_arm, read_rows, trials_in, word, write_rows
from claims import CLAIMS

from glipv2.arguments import composed
from glipv2.config import experiment_files, to_plain
from glipv2.errors import UserError

SPEC = """
- name: warmth
  claim: Warmth helps.
  paper: "says so"
  sweeps: [warmth]
  numbers: {detection/box_ap: AP}
  comparisons:
    - {what: warm, with: {heat: true}, without: {heat: false}}
"""


def trials(warm: list[float], cold: list[float]) -> list[Trial]:
    return [
        Trial({"heat": heat}, seed, {"detection/box_ap": value}, 1.5)
        for heat, values in (("true", warm), ("false", cold))
        for seed, value in enumerate(values)
    ]


def sweep(folder: Path, aps: dict[tuple[str, int], float]) -> Path:
    folder.mkdir(parents=True)
    heats, seeds = ({str(one[place]) for one in aps} for place in (0, 1))
    params = {"heat": ",".join(heats), "seed": ",".join(seeds)}
    (folder / "multirun.yaml").write_text(json.dumps({"hydra": {"sweeper": {"params": params}}}))
    for number, ((heat, seed), ap) in enumerate(aps.items()):
        run = folder / str(number)
        run.mkdir()
        (run / "config.yaml").write_text(f"heat: {heat}\nseed: {seed}\n")
        metrics = {
            "detection/box_ap": ap, "detection/box_ap/red circle": 0.1, "detection/box_ap/pink heart": 0.3,
            "detection/box_ap/cyan circle": -1.0, "detection/unseen/box_ap": 0.5, "run/steps": 3, "run/seconds": 90.0,
        }  # fmt: skip
        (run / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_a_sweep_becomes_rows_and_rows_come_back(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "warmth", {("True", 0): 0.25, ("false", 0): 0.125, ("True", 1): 0.5, ("false", 1): 0.75})
    write_rows(tmp_path / "warmth.csv", trials_in(folder))
    assert (tmp_path / "warmth.csv").read_text().splitlines() == [
        "heat,seed,detection/box_ap,detection/unseen/box_ap,detection/box_ap_rare,minutes",
        "false,0,0.125,0.5,0.2,1.50",
        "false,1,0.75,0.5,0.2,1.50",
        "true,0,0.25,0.5,0.2,1.50",
        "true,1,0.5,0.5,0.2,1.50",
    ]
    assert of_arm(read_rows(tmp_path / "warmth.csv"), {"heat": True})[1].numbers["detection/box_ap"] == 0.5


def test_arms_that_are_numbers_come_by_their_size(tmp_path: Path) -> None:
    found = [Trial({"shots": shots}, seed, {}, 1.0) for shots in ("10", "5", "none", "1") for seed in (1, 0)]
    write_rows(tmp_path / "shots.csv", found)
    lines = (tmp_path / "shots.csv").read_text().splitlines()[1:]
    assert [line[:-5] for line in lines] == ["1,0", "1,1", "5,0", "5,1", "10,0", "10,1", "none,0", "none,1"]


def test_what_weights_kept_of_their_old_world_and_learn_of_another_stands_beside(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "warmth", {("true", 0): 0.25, ("true", 1): 0.5})
    (folder / "1/kept").mkdir()
    (folder / "1/kept/metrics.json").write_text('{"detection/box_ap": 0.125}')
    (folder / "0/prompted").mkdir()
    (folder / "0/prompted/metrics.json").write_text('{"detection/box_ap": 0.375}')
    for key, numbers in (("kept", [None, 0.125]), ("prompted", [0.375, None])):
        assert [trial.numbers.get(f"{key}/detection/box_ap") for trial in trials_in(folder)] == numbers


def test_an_arm_is_found_however_its_mapping_is_spelt() -> None:
    rows = [
        Trial({"model.fusion": word("{layers:2, crossing:1}")}, 0, {}, 1.0),
        Trial({"heat": word("{on:False}")}, 0, {}, 1.0),
    ]
    assert of_arm(rows, {"model.fusion": "{layers: 2,   crossing: 1}"}) == {0: rows[0]}
    assert of_arm(rows, {"heat": "{on: false}"}) == {0: rows[1]}


def test_a_sweep_that_has_not_ended_is_refused(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "warmth", {("true", 0): 0.25})
    (folder / "0/metrics.json").write_text('{"detection/box_ap": 0.2}')
    with pytest.raises(UserError, match=r"warmth/0: this trial is .*glipv2 train resume="):
        trials_in(folder)
    short = sweep(tmp_path / "cold", {("true", 0): 0.25, ("false", 0): 0.25, ("true", 1): 0.5})
    with pytest.raises(UserError, match=r"cold: 3 of 4 trials are there; glipv2 train resume="):
        trials_in(short)


def test_differences_are_taken_seed_by_seed() -> None:
    """Each seed gains exactly 1, however far seeds are apart."""
    one = paired({0: 10.0, 1: 50.0, 2: 90.0, 7: 0.0}, {0: 9.0, 1: 49.0, 2: 89.0})
    assert one.values == (1.0, 1.0, 1.0)
    assert (one.low, one.high, one.spread) == (1.0, 1.0, 0.0)
    assert one.verdict(1) == "supported"
    assert one.verdict(-1) == "contradicted"


def test_three_lucky_seeds_decide_nothing() -> None:
    """All three gain, so no bootstrap mean is below zero; Student's t knows how little three seeds say."""
    one = paired({0: 1.0, 1: 2.0, 2: 9.0}, {0: 0.0, 1: 0.0, 2: 0.0})
    assert one.low > 0
    assert one.spread is not None
    assert one.spread > one.mean
    assert one.verdict(1) == "undecided"
    assert one.seeds_needed() == 10  # (2.8 · 4.359 / 4)², rounded up


def test_arms_that_are_not_singled_out_are_refused() -> None:
    with pytest.raises(UserError, match="names several arms, of which two have seed 0"):
        of_arm(trials([1.0], [2.0]), {})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("heat: true", "heat: 3"), r"no trial of \{'heat': 3\}"),
        (("box_ap: AP", "box_app: AP"), "no seed has detection/box_app in both arms of 'warm'"),
    ],
)
def test_a_claim_about_what_was_not_measured_is_refused(tmp_path: Path, changed: tuple[str, str], message: str) -> None:
    (tmp_path / "claims.yaml").write_text(SPEC.replace(*changed))
    write_rows(tmp_path / "warmth.csv", trials([0.5], [0.3]))
    with pytest.raises(UserError, match=message):
        page(read_claims(tmp_path / "claims.yaml"), tmp_path, tmp_path)


def test_the_page_shows_every_arm_and_what_was_not_run(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text(SPEC + SPEC.replace("warmth", "cold").replace("Warmth", "Cold"))
    claims = read_claims(tmp_path / "claims.yaml")
    write_rows(tmp_path / "warmth.csv", trials([0.5, 0.6, 0.7], [0.3, 0.41, 0.49]))
    text = page(claims, tmp_path, tmp_path)
    table = ["| `heat` | seeds | AP | minutes |", "|---|---|---|---|"]
    table += ["| `false` | 3 | 40.0 ± 23.7 | 1.5 |", "| `true` | 3 | 60.0 ± 24.8 | 1.5 |"]
    assert text.count("\n".join(table)) == text.count("| `heat` |") == text.count("| `true` |") == 1
    assert "| warm | AP | +20.0 | +19.0 to +21.0 | ± 2.5 | 3 | **supported** |" in text
    assert "| [Warmth helps.](#warmth) | says so | warm: +20.0 (+19.0 to +21.0) AP | supported |" in text
    assert "## Not run yet\n\n- Cold helps. `glipv2 train -m experiment=claims/cold`" in text
    (tmp_path / "claims.yaml").write_text(SPEC.replace("detection/box_ap", "prompted/detection/box_ap"))
    unprompted = page(read_claims(tmp_path / "claims.yaml"), tmp_path, tmp_path)
    assert "## Not run yet\n\n- Warmth helps." in unprompted
    assert (tmp_path / "claim_warmth.svg").read_text().count("<circle") == 4


def test_what_is_committed_is_what_the_page_and_the_experiments_say() -> None:
    docs = CLAIMS.parents[1] / "docs"
    for claim in read_claims(CLAIMS):
        for name in claim.sweeps:
            assert f"claims/{name}" in experiment_files()
        rows = {name: docs / "results" / f"{name}.csv" for name in claim.sweeps}
        if measured(claim, docs / "results"):
            assert differences(claim, {name: read_rows(path) for name, path in rows.items()})


def test_no_two_arms_of_a_claim_are_the_same_training() -> None:
    for claim in read_claims(CLAIMS):
        arms: dict[str, set[str]] = {}
        for one in claim.comparisons:
            for name, arm in zip(one.sweeps or claim.sweeps[:1] * 2, (one.more, one.less), strict=True):
                words = [f"experiment=claims/{name}", *(f"{key}={word(value)}" for key, value in arm.items())]
                trained = {**to_plain(composed(words)), "name": ""}
                arms.setdefault(json.dumps(trained, sort_keys=True), set()).add(" ".join(words))
        assert all(len(named) == 1 for named in arms.values()), f"the same: {arms.values()}"


def test_a_difference_between_arms_that_found_nothing_decides_nothing() -> None:
    warm, cold = {0: 0.4, 1: 0.5, 2: 0.45}, {0: 0.1, 1: 0.2, 2: 0.15}
    assert paired(warm, cold).verdict(1) == "supported"
    assert paired(warm, cold, floor=1).verdict(1) == "next to nothing on both sides"
    assert paired({0: 1.4, 1: 1.5, 2: 1.45}, cold, floor=1).verdict(1) == "supported"
