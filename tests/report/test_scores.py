import math

import pytest

from glipv2.report.measures import MEASURES
from glipv2.report.scores import ScoreName, parse_score, show_number, show_score, show_seconds


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("detection/box_ap", ScoreName("detection", "", "box_ap", "")),
        ("detection/box_ap_50", ScoreName("detection", "", "box_ap_50", "")),
        ("detection/box_ap/red circle", ScoreName("detection", "", "box_ap", "red circle")),
        ("detection/unseen/box_ap", ScoreName("detection", "unseen", "box_ap", "")),
        ("detection/unseen/box_ap/a/b", ScoreName("detection", "unseen", "box_ap", "a/b")),
        ("instance_segmentation/mask_ap_small", ScoreName("instance_segmentation", "", "mask_ap_small", "")),
        ("vqa/accuracy", ScoreName("vqa", "", "accuracy", "")),
        ("vqa/accuracy/question/count", ScoreName("vqa", "", "accuracy", "question/count")),
        ("vqa/unseen/accuracy", ScoreName("vqa", "unseen", "accuracy", "")),
        ("phrase_grounding/unseen/recall_1/people", ScoreName("phrase_grounding", "unseen", "recall_1", "people")),
        ("joint/unseen/mean", ScoreName("joint", "unseen", "mean", "")),
    ],
)
def test_names_come_apart_and_together_again(name: str, score: ScoreName) -> None:
    assert parse_score(name) == score
    assert score.key == name


@pytest.mark.parametrize("name", ["run/steps", "train/loss", "lr-AdamW/pg1", "epoch", "mine/unseen/agreement", ""])
def test_what_is_no_score_has_no_parts(name: str) -> None:
    assert parse_score(name) is None


def test_titles_are_what_papers_write() -> None:
    names = ["d/box_ap", "d/box_ap_50", "d/mask_ap_small", "d/box_ar_100", "d/exact_match", "d/cider_d", "d/recall_1"]
    scores = [parse_score(name) for name in names]
    assert [score.title for score in scores if score] == [
        "Box AP",
        "Box AP50",
        "Mask AP small",
        "Box AR100",
        "exact match",
        "CIDEr-D",
        "Recall@1",
    ]


def test_average_precision_is_shown_times_100_and_a_dash_where_undefined() -> None:
    score = ScoreName("detection", "", "box_ap", "")
    assert [show_score(score, value) for value in (0.7137, 0.0, -1.0, math.nan, None)] == ["71.4", "0.0", "–", "–", "–"]


def test_other_measures_are_shown_as_they_are() -> None:
    assert show_score(ScoreName("captioning", "", "cider", ""), -0.51234) == "-0.5123"


def test_shares_are_shown_times_100_and_what_is_none_as_it_is() -> None:
    shown = {
        measure: show_score(ScoreName("t", "", measure, ""), 0.5) for measure in ("accuracy", "rouge_l", "cider_d")
    }
    assert shown == {"accuracy": "50.0", "rouge_l": "50.0", "cider_d": "0.5"}
    assert show_score(ScoreName("t", "", "cider_d_other_scene", ""), -1.0) == "–"


def test_every_baseline_is_a_known_number_of_the_same_spelling() -> None:
    for measure in MEASURES.values():
        for baseline in measure.baselines:
            assert MEASURES[baseline].share == measure.share
            assert MEASURES[baseline].chart == measure.chart


def test_numbers_and_durations_are_short() -> None:
    assert [show_number(value) for value in (12, 1234567, 0.123456, math.inf)] == [
        "12",
        "1\u202f234\u202f567",
        "0.1235",
        "–",
    ]
    assert [show_seconds(value) for value in (48.2, 750, 12000, math.nan)] == ["48 s", "12.5 min", "3 h 20 min", "–"]
