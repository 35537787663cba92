"""docs/results.md: each claim with its arms, its differences and their verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from claim_results.differences import SUPPORTED, UNDECIDED, Difference, paired
from claim_results.plot import drawn
from claim_results.rows import KEPT, PROMPTED, Trial, of_arm, read_rows
from glipv2.errors import UserError
from glipv2.report.seeds import interval

HEAD = """\
# Results

What the paper claims, tried at a scale that two cores can run: a `nano` model of a few million parameters, scenes of
64 pixels, minutes a trial. Effects at this scale need not be those at the paper's; where an interval holds zero, the
claim is neither supported nor contradicted here.

A difference is taken seed by seed: an arm's number less the other arm's with the same seed, in points (a share times
100). Its interval is 95 % of 10 000 bootstrap means; beside it stands half the 95 % interval of Student's t, which few
seeds make wider. *supported* and *contradicted* need both to leave out zero. A verdict is about one number; with many
of them one of twenty comes out by chance. Losses were trained from five seeds an arm, everything else from three: more
did not fit into the minutes at hand. All arms that were run are shown. Of a trial that was resumed the minutes are
those of its last part.

`python scripts/claims.py collect NAME` takes a sweep's numbers into `docs/results/NAME.csv`; `python scripts/claims.py
render` makes this page of them.
"""


@dataclass(frozen=True)
class Comparison:
    """Two arms by the words that single them out. expected: the sign that the claim gives their difference."""

    what: str
    more: Mapping[str, Any]
    less: Mapping[str, Any]
    expected: int = 1
    sweeps: tuple[str, ...] = ()  # of each arm, where they are in different ones
    numbers: tuple[str, ...] = ()  # that it is about, the decisive one first; () = all of the claim's


@dataclass(frozen=True)
class Claim:
    """What is claimed, what the paper found, and what decides it here. numbers: titles by name in the rows.

    floor: points below which an arm has found nothing, so that a difference to another such arm says nothing.
    """

    name: str
    claim: str
    paper: str
    sweeps: tuple[str, ...]
    numbers: Mapping[str, str]
    comparisons: tuple[Comparison, ...]
    notes: str = ""
    floor: float = 0


def read_claims(path: Path) -> list[Claim]:
    """Those of a YAML file, in order; UserError for what is not as expected."""
    try:
        return [_claim(entry) for entry in yaml.safe_load(path.read_text("utf-8"))]
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}: a claim is not as expected ({error})") from error


def _claim(entry: Mapping[str, Any]) -> Claim:
    told = dict(entry)
    comparisons = tuple(_comparison(one) for one in told.pop("comparisons"))
    return Claim(comparisons=comparisons, sweeps=tuple(told.pop("sweeps")), **told)


def _comparison(entry: Mapping[str, Any]) -> Comparison:
    told = dict(entry)
    lists = {key: tuple(told.pop(key, ())) for key in ("sweeps", "numbers")}
    return Comparison(told.pop("what"), told.pop("with"), told.pop("without"), **told, **lists)


def page(claims: Sequence[Claim], rows: Path, pictures: Path) -> str:
    """The page of all claims whose sweeps were run, those that were not named; pictures are written beside it."""
    open_claims = [claim for claim in claims if not measured(claim, rows)]
    parts = [HEAD]
    shown = [claim for claim in claims if claim not in open_claims]
    if shown:
        parts.append("\n".join(_overview(shown, rows)))
    parts += ["\n".join(_section(claim, rows, pictures)) for claim in shown]
    if open_claims:
        named = "\n".join(
            f"- {claim.claim} `glipv2 train -m experiment=claims/{claim.sweeps[0]}`" for claim in open_claims
        )
        parts.append(f"## Not run yet\n\n{named}\n")
    return "\n".join(parts)


def _overview(claims: Sequence[Claim], rows: Path) -> Iterator[str]:
    """A line a claim; of a comparison the number that it is about first counts."""
    yield "| claim | the paper | here | verdict |"
    yield "|---|---|---|---|"
    for claim in claims:
        decisive: dict[str, tuple[str, Difference, int]] = {}
        for (what, key), (one, expected) in differences(claim, _trials(claim, rows)).items():
            decisive.setdefault(what, (claim.numbers[key], one, expected))
        told = [f"{what}: {_points(one)} {title}" for what, (title, one, _) in decisive.items()]
        verdicts = Counter(one.verdict(expected) for _, one, expected in decisive.values())
        summed = verdicts.most_common() if len(decisive) > 1 else [(next(iter(verdicts)), None)]
        counted = ", ".join(word if count is None else f"{count} {word}" for word, count in summed)
        yield f"| [{claim.claim}](#{_anchor(claim)}) | {claim.paper} | {'<br>'.join(told)} | {counted} |"
    yield ""


def measured(claim: Claim, rows: Path) -> bool:
    """Whether all its sweeps were collected, and what is measured of trials afterwards too where it is about that."""
    if not all((rows / f"{name}.csv").is_file() for name in claim.sweeps):
        return False
    later = [key for key in claim.numbers if key.split("/")[0] in (KEPT, PROMPTED)]
    if len(later) < len(claim.numbers):
        return True
    return any(key in trial.numbers for own in _trials(claim, rows).values() for trial in own for key in later)


def _anchor(claim: Claim) -> str:
    """What the site makes of the claim's heading."""
    return claim.name.replace("_", "-")


def _trials(claim: Claim, rows: Path) -> dict[str, list[Trial]]:
    return {name: read_rows(rows / f"{name}.csv") for name in claim.sweeps}


def differences(claim: Claim, trials: Mapping[str, Sequence[Trial]]) -> dict[tuple[str, str], tuple[Difference, int]]:
    """By comparison and number, with the sign that is expected; in points. UserError for an arm without trials."""
    found = {}
    for one in claim.comparisons:
        first, second = one.sweeps or claim.sweeps[:1] * 2
        more, less = of_arm(trials[first], one.more), of_arm(trials[second], one.less)
        for arm, own in ((one.more, more), (one.less, less)):
            if not own:
                raise UserError(f"claim {claim.name}: no trial of {dict(arm)} is in its rows")
        for key in one.numbers or claim.numbers:
            both = [{seed: 100 * trial.numbers[key] for seed, trial in own.items() if key in trial.numbers}
                    for own in (more, less)]  # fmt: skip
            if not both[0].keys() & both[1].keys():
                raise UserError(f"claim {claim.name}: no seed has {key} in both arms of '{one.what}'")
            found[one.what, key] = paired(*both, claim.floor), one.expected
    return found


def _section(claim: Claim, rows: Path, pictures: Path) -> Iterator[str]:
    trials = _trials(claim, rows)
    found = differences(claim, trials)
    yield f"## {claim.name.replace('_', ' ').capitalize()}\n"
    yield f"{claim.claim} The paper: {claim.paper}\n"
    if claim.notes:
        yield f"{claim.notes}\n"
    for name, own in trials.items():
        minutes = sum(trial.minutes for trial in own)
        yield f"`glipv2 train -m experiment=claims/{name}`, {len(own)} trials, {minutes:.0f} minutes of one core:\n"
        yield from _arms(claim, own)
        yield ""
    yield "| difference | number | mean | 95 % of bootstrap means | Student's t | seeds | verdict |"
    yield "|---|---|---|---|---|---|---|"
    for (what, key), (one, expected) in found.items():
        spread = "–" if one.spread is None else f"± {one.spread:.1f}"
        yield (
            f"| {what} | {claim.numbers[key]} | {one.mean:+.1f} | {one.low:+.1f} to {one.high:+.1f} | {spread} | "
            f"{len(one.values)} | {_verdict(one, expected)} |"
        )
    picture = pictures / f"claim_{claim.name}.svg"
    shown = [(f"{what}, {claim.numbers[key]}", one) for (what, key), (one, _) in found.items()]
    picture.write_text(drawn(shown), "utf-8")
    yield f"\n![Differences with their intervals]({pictures.name}/{picture.name})\n"


def _verdict(one: Difference, expected: int) -> str:
    verdict = one.verdict(expected)
    needed = one.seeds_needed()
    if verdict == UNDECIDED and needed is not None and needed > len(one.values):
        return f"{verdict}; about {needed} seeds would decide an effect of this size" if needed <= 500 else verdict
    return f"**{verdict}**" if verdict == SUPPORTED else verdict


def _points(one: Difference) -> str:
    return f"{one.mean:+.1f} ({one.low:+.1f} to {one.high:+.1f})"


def _arms(claim: Claim, trials: Sequence[Trial]) -> Iterator[str]:
    keys = list(dict.fromkeys(key for trial in trials for key in trial.arm))
    numbers = [key for key in claim.numbers if any(key in trial.numbers for trial in trials)]
    heads = [*(f"`{key}`" for key in keys), "seeds", *(claim.numbers[key] for key in numbers), "minutes"]
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    arms = list(dict.fromkeys(tuple(trial.arm.get(key, "") for key in keys) for trial in trials))
    for arm in arms:
        own = [trial for trial in trials if tuple(trial.arm.get(key, "") for key in keys) == arm]
        means = [_mean([100 * trial.numbers[key] for trial in own if key in trial.numbers]) for key in numbers]
        minutes = mean(trial.minutes for trial in own)
        yield f"| {' | '.join([*(f'`{word}`' for word in arm), str(len(own)), *means, f'{minutes:.1f}'])} |"


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "–"
    spread = interval(values)
    return f"{mean(values):.1f}" if spread is None else f"{mean(values):.1f} ± {spread:.1f}"
