import math

import pytest

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
    ],
)
def test_names_come_apart_and_together_again(name: str, score: ScoreName) -> None:
    assert parse_score(name) == score
    assert score.key == name


@pytest.mark.parametrize("name", ["run/steps", "train/loss", "lr-AdamW/pg1", "epoch", "vqa/unseen/accuracy", ""])
def test_what_is_no_score_has_no_parts(name: str) -> None:
    assert parse_score(name) is None


def test_titles_are_what_papers_write() -> None:
    names = ["d/box_ap", "d/box_ap_50", "d/mask_ap_small", "d/box_ar_100", "d/exact_match"]
    scores = [parse_score(name) for name in names]
    assert [score.title for score in scores if score] == [
        "Box AP",
        "Box AP50",
        "Mask AP small",
        "Box AR100",
        "exact match",
    ]


def test_average_precision_is_shown_times_100_and_a_dash_where_undefined() -> None:
    score = ScoreName("detection", "", "box_ap", "")
    assert [show_score(score, value) for value in (0.7137, 0.0, -1.0, math.nan, None)] == ["71.4", "0.0", "–", "–", "–"]


def test_other_measures_are_shown_as_they_are() -> None:
    assert show_score(ScoreName("captioning", "", "cider", ""), -0.51234) == "-0.5123"


def test_numbers_and_durations_are_short() -> None:
    assert [show_number(value) for value in (12, 1234567, 0.123456, math.inf)] == [
        "12",
        "1\u202f234\u202f567",
        "0.1235",
        "–",
    ]
    assert [show_seconds(value) for value in (48.2, 750, 12000, math.nan)] == ["48 s", "12.5 min", "3 h 20 min", "–"]
