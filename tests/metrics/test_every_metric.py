"""Claims that hold for every metric: batches, order, repeated samples, ranks and empty data change no number."""

from __future__ import annotations

import pickle

import pytest
import torch
from metric_samples import Samples, every_metric, scores_of, update

from glipv2.errors import UserError
from glipv2.metrics.tables import UNDEFINED, first_texts, first_visits, packed, texts

EVERY = every_metric()


@pytest.fixture(params=list(EVERY))
def samples(request: pytest.FixtureRequest) -> Samples:
    return EVERY[request.param]


def test_the_truth_as_prediction_scores_best(samples: Samples) -> None:
    scores = scores_of(samples.updated(samples.perfect))
    assert {name: scores[name] for name in samples.best} == pytest.approx(samples.best)


def test_random_predictions_do_not_score_best(samples: Samples) -> None:
    scores = scores_of(samples.updated(samples.rows))
    assert len(set(scores.values())) > 2  # worth comparing
    for name, best in samples.best.items():
        assert scores[name] < best


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_neither_batches_nor_the_order_of_samples_change_a_number(samples: Samples, batch: int) -> None:
    whole = scores_of(samples.updated(samples.rows, batch=1000))
    assert scores_of(samples.updated(samples.rows, batch)) == pytest.approx(whole, abs=1e-12)
    assert scores_of(samples.updated(samples.rows[::-1], batch)) == pytest.approx(whole, abs=1e-12)


def test_a_sample_seen_twice_counts_once(samples: Samples) -> None:
    twice = [*samples.rows, *samples.rows[2:9]]
    assert scores_of(samples.updated(twice)) == pytest.approx(scores_of(samples.updated(samples.rows)), abs=1e-12)


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_merged_states_of_two_ranks_are_those_of_one_process(samples: Samples) -> None:
    whole = scores_of(samples.updated(samples.rows))
    padded = [*samples.rows[1::2], samples.rows[0]]  # as samplers do, so that ranks get as many
    first, second = samples.updated(samples.rows[::2]), samples.updated(padded)
    second.merge_state(first)
    assert scores_of(second) == pytest.approx(whole, abs=1e-12)
    idle = samples.metric()
    idle.merge_state(samples.updated(samples.rows))
    assert scores_of(idle) == pytest.approx(whole, abs=1e-12)


def test_a_metric_goes_on_after_compute_and_begins_anew_after_reset(samples: Samples) -> None:
    metric = samples.updated(samples.rows[:6])
    part = scores_of(metric)
    assert part == scores_of(samples.updated(samples.rows[:6]))
    update(metric, samples.rows[6:])
    whole = scores_of(metric)
    assert whole == pytest.approx(scores_of(samples.updated(samples.rows)), abs=1e-12)
    assert whole != part
    assert scores_of(pickle.loads(pickle.dumps(metric))) == whole
    metric.reset()
    update(metric, samples.rows[:6])
    assert scores_of(metric) == part


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_without_samples_every_number_is_undefined(samples: Samples) -> None:
    assert set(scores_of(samples.metric()).values()) == {UNDEFINED}
    metric = samples.metric()
    metric.update(*([] for _ in samples.rows[0]))
    assert set(scores_of(metric).values()) == {UNDEFINED}


def test_logged_names_begin_with_the_prefix_and_carry_floats(samples: Samples) -> None:
    for name, value in scores_of(samples.updated(samples.rows)).items():
        assert name.startswith("x/")
        assert type(value) is float


def test_a_missing_prediction_is_refused(samples: Samples) -> None:
    columns = [list(column) for column in zip(*samples.rows[:2], strict=True)]
    with pytest.raises((UserError, ValueError), match=r"expected one .* but got 1 for 2"):
        samples.metric().update(columns[0][:1], *columns[1:])


def test_strings_survive_their_way_through_a_table() -> None:
    words = ["", "zoë", "a\nb", "", "🐈"]
    assert texts(*packed(words)) == words
    assert texts(*packed([])) == []
    assert first_texts(*packed(words)).tolist() == [True, True, True, False, True]
    assert first_texts(*packed([])).tolist() == []


def test_first_visits_are_those_of_the_lowest_row_and_ranks_follow_the_ids() -> None:
    kept, rank = first_visits(torch.tensor([7, 3, 7, 2**60, 3]))
    assert kept.tolist() == [True, True, False, True, False]
    assert rank.tolist() == [1, 0, 1, 2, 0]
    kept, rank = first_visits(torch.tensor([[1, 2], [1, 1], [1, 2]]))
    assert (kept.tolist(), rank.tolist()) == ([True, True, False], [1, 0, 1])
    assert first_visits(torch.zeros(0, 2, dtype=torch.int64))[0].tolist() == []
