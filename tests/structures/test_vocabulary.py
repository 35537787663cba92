"""Claims about vocabularies: ids survive, faults are refused with a hint."""

from __future__ import annotations

import json
import pickle

import pytest

from glipv2.errors import UserError, nearest
from glipv2.structures import Vocabulary

PETS = Vocabulary(("cat", "dog", "red circle"), (18, 7, 2**32 + 1))


def test_labels_are_places_and_ids_are_kept_as_given() -> None:
    assert PETS.category_ids == (18, 7, 2**32 + 1)
    assert [PETS.label_of_id(category_id) for category_id in (18, 7, 2**32 + 1)] == [0, 1, 2]
    assert [PETS.label_of_name(name) for name in ("cat", "dog", "red circle")] == [0, 1, 2]
    assert len(PETS) == 3


def test_ids_count_from_one_where_none_are_given() -> None:
    assert Vocabulary(("cat", "dog")).category_ids == (1, 2)


def test_blanks_around_a_name_are_dropped() -> None:
    assert Vocabulary((" cat ", "dog\n")).names == ("cat", "dog")


def test_categories_of_one_name_are_told_apart_by_their_ids() -> None:
    read = Vocabulary.of_categories(["dog", "cat", " dog", "bat (animal)"], [7, 3, 9, 1])
    assert read.names == ("dog (id 7)", "cat", "dog (id 9)", "bat (animal)")
    assert read.category_ids == (7, 3, 9, 1)
    assert read.label_of_name("dog (id 9)") == read.label_of_id(9) == 2
    with pytest.raises(UserError, match="category id '7' occurs twice"):
        Vocabulary.of_categories(["dog", "dog"], [7, 7])
    with pytest.raises(UserError, match="category 7 has an empty name"):
        Vocabulary.of_categories(["", " "], [7, 8])


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        ((), (), "expected at least one category name"),
        (("cat", " "), (3, 9), "category 9 has an empty name"),
        (("cat", "cat"), (), "category name 'cat' occurs twice"),
        (("cat", "cat "), (), "category name 'cat' occurs twice"),
        (("cat", "dog"), (5, 5), "category id '5' occurs twice"),
        (("cat", "dog"), (5,), "expected one id for each of 2 names, but got 1"),
    ],
)
def test_a_vocabulary_that_is_not_one_is_refused(names: tuple[str, ...], ids: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Vocabulary(names, ids)


def test_an_unknown_name_or_id_comes_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match="category 'dgo' is not in the vocabulary; did you mean 'dog'"):
        PETS.label_of_name("dgo")
    with pytest.raises(UserError, match="category id 19 is not listed; did you mean '18'"):
        PETS.label_of_id(19)
    with pytest.raises(UserError, match="choose one of: cat, dog, red circle"):
        PETS.label_of_name("zzzz")


def test_the_hint_lists_the_choices_where_none_is_near() -> None:
    assert nearest("deteciton", ["detection", "captioning"]) == "did you mean 'detection'?"
    assert nearest("xyz", ["b", "a"]) == "choose one of: a, b"


def test_json_brings_the_same_vocabulary_back() -> None:
    assert Vocabulary.from_json(json.loads(json.dumps(PETS.to_json()))) == PETS


def test_a_vocabulary_travels_to_a_worker_with_its_look_up_tables() -> None:
    PETS.label_of_name("dog")
    copy = pickle.loads(pickle.dumps(PETS))
    assert copy == PETS
    assert copy.label_of_id(2**32 + 1) == 2
