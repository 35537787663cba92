"""Claims about METEOR, which is somebody else's program: what it is asked, and what is told where it is missing."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from glipv2.errors import UserError
from glipv2.metrics import meteor as module
from glipv2.metrics.captions import CaptionReportMetric
from glipv2.metrics.meteor import check_meteor, meteor
from glipv2.structures.truth import CaptionTruth
from glipv2.tasks.captioning import CaptioningConfig

# Speaks as the Java program does: "SCORE ||| reference ||| … ||| hypothesis", then "EVAL ||| statistics ||| …".
PROGRAM = """
import sys
for line in sys.stdin:
    first, *fields = line.rstrip("\\n").split(" ||| ")
    if first == "SCORE":
        *references, hypothesis = fields
        words = set(hypothesis.split())
        print(max(len(words & set(own.split())) for own in references), len(words), flush=True)
    else:
        shares = [int(a) / int(b) for a, b in (own.split() for own in fields)]
        print(*shares, sum(shares) / len(shares), sep="\\n", flush=True)
"""
LIBRARY = """
import subprocess, sys
class Meteor:
    def __init__(self):
        self.meteor_p = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=-1, stdout=-1, stderr=-1)
    def _ask(self, line):
        self.meteor_p.stdin.write(f"{line}\\n".encode())
        self.meteor_p.stdin.flush()
        return self.meteor_p.stdout.readline().decode().strip()
    def compute_score(self, gts, res):
        stats = [self._ask(" ||| ".join(["SCORE", *gts[i], *res[i]])) for i in gts]
        scores = [float(self._ask(" ||| ".join(["EVAL", *stats])))]
        scores += [float(self.meteor_p.stdout.readline()) for _ in stats]
        return scores[-1], scores[:-1]
"""


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A library and a program that count shared words."""
    library = ModuleType("pycocoevalcap.meteor.meteor")
    library.PROGRAM = PROGRAM  # type: ignore[attr-defined]
    exec(LIBRARY, vars(library))
    for name in ("pycocoevalcap", "pycocoevalcap.meteor"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, library.__name__, library)
    monkeypatch.setattr(module, "check_meteor", lambda: None)
    return library


def test_each_image_and_all_of_them_are_scored(program: ModuleType) -> None:
    overall, each = meteor(["a red dog", "two ||| cats"], [["a dog", "the red dog"], ["one cat"]])
    assert each == [pytest.approx(2 / 3), 0.0]
    assert overall == pytest.approx(1 / 3)
    assert meteor([], []) == (-1.0, [])


def test_the_program_is_not_left_running(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    first = program.Meteor

    def watched() -> object:
        made.append(first())
        return made[-1]

    monkeypatch.setattr(program, "Meteor", watched)
    meteor(["a dog"], [["a dog"]])
    assert made[0].meteor_p.poll() is not None


def test_a_program_that_dies_is_one_clear_error(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "PROGRAM", "raise SystemExit(1)")
    with pytest.raises(UserError, match=r"which failed .* leave METEOR out"):
        meteor(["a dog"], [["a dog"]])


def test_captions_are_scored_by_it_only_where_it_is_asked_for(program: ModuleType) -> None:
    truth = [CaptionTruth(1, ("A red dog.",)), CaptionTruth(2, ("Two cats.",))]
    scores = {}
    for wanted in (True, False):
        metric = CaptionReportMetric(with_meteor=wanted)
        metric.update(["a red dog", "two dogs"], truth)
        scores[wanted] = metric.compute().flat("captioning")
    assert scores[True]["captioning/meteor"] == pytest.approx(0.75)
    assert set(scores[True]) - set(scores[False]) == {"captioning/meteor"}


@pytest.mark.parametrize(
    ("found", "java", "message"),
    [(None, "/bin/java", r'pip install "glipv2\[meteor\]"'), (object(), None, "no java on the PATH")],
)
def test_what_is_missing_is_said_before_training(
    monkeypatch: pytest.MonkeyPatch, found: object, java: str | None, message: str
) -> None:
    finder: Callable[[str], object] = lambda name: found  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", finder)
    monkeypatch.setattr(shutil, "which", lambda name: java)
    with pytest.raises(UserError, match=message):
        CaptioningConfig(meteor=True).check(started=False)
    CaptioningConfig().check(started=False)


@pytest.mark.skipif(importlib.util.find_spec("pycocoevalcap") is None, reason="the extra 'meteor' is not installed")
def test_the_real_program_gives_its_own_numbers() -> None:
    check_meteor()
    assert meteor(["a dog runs"], [["a dog runs"]])[0] == pytest.approx(1.0)
