"""Claims about files of wordings and knowledge: the released layouts are read, anything odd is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from glipv2.config import TrainConfig, from_plain, hint, to_plain
from glipv2.data.prompts import PromptComposer, PromptConfig
from glipv2.data.wordings import Wording, read_knowledge, read_wordings, spoken_name, wordings_in
from glipv2.errors import UserError
from glipv2.remembered_prompts import RememberedPrompts
from glipv2.structures import Vocabulary
from glipv2.tokenizer import TokenizerConfig

ODINW = """
DATASETS:
  CAPTION_PROMPT: '[{"prefix": " ", "name": "fish", "suffix": ""}, {"prefix": "",
    "name": "penguin", "suffix": " , which is black and white"}, ]'
  TEST: ("val",)
"""
KNOWLEDGE = """
fish:
  clean_name: ' fish'
  def_wiki: "A cold-blooded animal:\\n  that lives in water."
  gpt3: [' An animal.', ' Another.']
  name: fish
hole:
  clean_name: there are some holes on the road
  def_wiki: null
  gpt3: [' An opening into something.']
  name: hole
'0': {clean_name: '0', def_wiki: '0.', name: '0'}
jetski: {clean_name: jetski, def_wiki: '', gpt3: [], name: jetski}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "words.yaml"


def written(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return str(path)


def prompt(names: tuple[str, ...], **options: Any) -> str:
    composer = PromptComposer(Vocabulary(names), TokenizerConfig().build(), PromptConfig(**options))
    return " || ".join(made.text for made in composer.all_names())


def test_brackets_and_underscores_are_not_read_out() -> None:
    assert spoken_name("baseball_bat") == "baseball bat"
    assert spoken_name("crab (animal)  shell") == "crab shell"
    assert spoken_name("(only this)") == "(only this)"  # better read whole than not at all


# Wordings


def test_a_released_config_words_its_prompt(file: Path) -> None:
    words = prompt(("fish", "penguin"), captions_file=written(file, ODINW))
    assert words == " fish. penguin , which is black and white"


def test_a_list_that_speaks_of_the_names_needs_no_order_and_not_all_of_them() -> None:
    content = [{"name": "penguin", "suffix": " black"}, {"prefix": " ", "name": "red fish"}]
    assert wordings_in(content, Vocabulary(("red_fish", "shark", "penguin"))) == {
        "penguin": Wording("", "penguin", " black"),
        "red_fish": Wording(" ", "red fish", ""),
    }


def test_a_list_of_other_words_belongs_to_the_names_in_order() -> None:
    content = [{"prefix": "some ", "name": "holes", "suffix": " on the road"}, {"name": "fish"}]
    found = wordings_in(content, Vocabulary(("pothole", "fish")))
    assert found == {"pothole": Wording("some ", "holes", " on the road"), "fish": Wording("", "fish", "")}
    with pytest.raises(UserError, match="'fish' stands at the place of 'pothole': another order; give them by name"):
        wordings_in(content[::-1], Vocabulary(("pothole", "fish")))
    with pytest.raises(UserError, match="a list of 2 wordings for 3 names; give them by name"):
        wordings_in(content, Vocabulary(("pothole", "fish", "shark")))


def test_a_list_for_names_that_sound_the_same_keeps_their_order() -> None:
    content = [{"name": "bow", "suffix": " of a ship"}, {"name": "bow", "suffix": " with an arrow"}]
    found = wordings_in(content, Vocabulary(("bow (ship)", "bow (weapon)")))
    assert [words.suffix for words in found.values()] == [" of a ship", " with an arrow"]


def test_the_config_counts_where_the_file_speaks_of_the_same_name(file: Path) -> None:
    path = written(file, {"fish": {"suffix": " in water"}, "shark": {"suffix": " in the sea"}})
    words = prompt(("fish", "shark"), captions_file=path, captions={"shark": {"prefix": "a "}})
    assert words == "fish in water. a shark"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fsih": {"suffix": "x"}}, "category 'fsih' is not in the vocabulary; did you mean 'fish'"),
        ({"fish": {"sufix": "x"}}, "'fish': 'sufix' is unknown; did you mean 'suffix'"),
        ({"fish": {"suffix": 3}}, "'fish': suffix is 3, expected a text"),
        ({"fish": "x"}, "'fish': expected prefix, name, suffix, but got 'x'"),
        ([{"name": "fish"}, 3], "entry 1: expected prefix, name, suffix, but got 3"),
        ("3", "expected wordings by name, or a list of them, but got int"),
        ("DATASETS: {}", "expected wordings by name, or a list of them, but got NoneType"),
        ("[{'a': 1}", "neither JSON nor YAML"),
    ],
)
def test_a_file_of_other_things_is_refused_by_its_path(file: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        prompt(("fish", "shark"), captions_file=written(file, content))
    assert str(caught.value).startswith(str(file))
    assert message in str(caught.value)


def test_an_unknown_name_in_the_config_comes_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"data\.prompts\.captions: category 'fihs' .* did you mean 'fish'"):
        prompt(("fish", "shark"), captions={"fihs": {"suffix": "x"}})
    with pytest.raises(UserError, match=r"data\.prompts\.captions: 'fish': 'sufix' is unknown; did you mean 'suffix'"):
        prompt(("fish", "shark"), captions={"fish": {"sufix": "x"}})


def test_on_the_command_line_words_are_given_by_name(compose: Callable[[Sequence[str]], TrainConfig]) -> None:
    experiment = "experiment=shapes_detection_nano"
    config = compose([experiment, '+data.prompts.captions={red circle: {suffix: ", which is round"}}'])
    assert config.data.prompts.captions == {"red circle": {"suffix": ", which is round"}}
    config = compose([experiment, "+data.prompts.captions.penguin.name=bird"])
    assert config.data.prompts.captions == {"penguin": {"name": "bird"}}
    assert from_plain(PromptConfig, to_plain(config.data.prompts), "a file") == config.data.prompts
    assert "with a plus before a new one" in hint("data.prompts.captions.penguin", TrainConfig)


@pytest.mark.parametrize("read", [read_wordings, read_knowledge])
def test_a_file_that_is_none_is_refused(tmp_path: Path, read: Any) -> None:
    with pytest.raises(UserError, match="does not exist; check the path"):
        read(str(tmp_path / "none.json"))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UserError, match="can't be read as a text"):
        read(str(tmp_path / "picture.png"))
    with pytest.raises(UserError, match="can't be read as a text"):
        read(str(tmp_path))


# Knowledge


def test_released_knowledge_is_found_by_key_name_and_clean_name(file: Path) -> None:
    assert read_knowledge(written(file, KNOWLEDGE)) == {
        "fish": "A cold-blooded animal: that lives in water",
        "hole": "An opening into something",
        "there are some holes on the road": "An opening into something",
        "0": "0",
    }


def test_a_list_of_records_and_texts_by_name_are_knowledge_too(file: Path) -> None:
    records = [{"clean_name": "fish", "def_wiki": "lives in water."}, {"name": "shark", "gpt3": "eats fish"}]
    expected = {"fish": "lives in water", "shark": "eats fish"}
    assert read_knowledge(written(file, records)) == expected
    assert read_knowledge(written(file, {"fish": " lives in\nwater. ", "shark": "eats fish"})) == expected


def test_knowledge_is_off_unless_asked_for_and_found_by_the_spoken_name(file: Path) -> None:
    path = written(file, {"red fish": "lives in water"})
    assert prompt(("red_fish",)) == "red fish"
    assert prompt(("red_fish",), knowledge=path) == "red fish, lives in water"
    assert prompt(("red_fish",), knowledge=path, knowledge_tokens=1) == "red fish"  # too short for a word


def test_names_without_knowledge_are_told_and_no_knowledge_at_all_is_refused(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(file, {"fish": "lives in water"})
    with caplog.at_level(logging.WARNING):
        assert prompt(("fish", "shark"), knowledge=path) == "fish, lives in water. shark"
    assert caplog.messages == [f"{path}: no sentence for 1 of 2 names: 'shark'"]
    with pytest.raises(UserError, match="no sentence for any of 1 names, as 'fsih'; did you mean 'fish'"):
        prompt(("fsih",), knowledge=path)


@pytest.mark.parametrize(
    "content", ["3", {"fish": 3}, ["fish"], {"fish": {"def_wiki": 3}}, {"fish": {"gpt3": [3]}}, ""]
)
def test_knowledge_of_another_kind_is_refused(file: Path, content: Any) -> None:
    with pytest.raises(UserError, match="expected"):
        read_knowledge(written(file, content))


def test_a_file_of_wordings_that_was_edited_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "wordings.json"
    remembered = RememberedPrompts(TokenizerConfig().build())
    for color in ("red", "purple"):
        path.write_text(json.dumps({"circle": {"suffix": f", which is {color}"}}))
        (made,) = remembered.all_names(Vocabulary(("circle", "star")), PromptConfig(captions_file=str(path)))
        assert made.text == f"circle, which is {color}. star"
