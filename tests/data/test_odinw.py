"""Claims about the released ODinW files: read as data, never run."""

from __future__ import annotations

from pathlib import Path

import pytest
from protocol_files import AQUARIUM, write_odinw

from glipv2.data.odinw import read_odinw
from glipv2.errors import UserError


def test_a_file_says_where_its_boxes_are_and_what_is_asked(tmp_path: Path) -> None:
    configs, root = write_odinw(tmp_path)
    aquarium, pistols = read_odinw(configs, root)
    assert (aquarium.name, pistols.name) == ("Aquarium", "pistols")
    assert aquarium.annotations == root / "odinw/Aquarium/v2/valid/boxes.json"
    assert aquarium.images == root / "odinw/Aquarium/v2/valid"
    assert [record["name"] for record in aquarium.categories or ()] == ["fish", "stingray"]
    assert aquarium.has_captions
    assert pistols.categories is None
    assert not pistols.has_captions
    assert aquarium.missing() == []


def test_the_root_may_be_the_folder_odinw_itself(tmp_path: Path) -> None:
    configs, root = write_odinw(tmp_path)
    assert read_odinw(configs, root / "odinw")[0].missing() == []


def test_another_split_can_be_chosen(tmp_path: Path) -> None:
    configs, root = write_odinw(tmp_path)
    (configs / "pistols_export.yaml").unlink()
    [aquarium] = read_odinw(configs, root, "test")
    assert aquarium.missing() == [root / "odinw/Aquarium/v2/test/boxes.json", root / "odinw/Aquarium/v2/test"]


def test_data_sets_in_one_folder_get_longer_names(tmp_path: Path) -> None:
    configs, root = write_odinw(tmp_path)
    text = (configs / "pistols_export.yaml").read_text()
    (configs / "pistols_other.yaml").write_text(text.replace("pistols/export", "pistols/other"))
    assert [file.name for file in read_odinw(configs, root)] == ["Aquarium", "pistols_export", "pistols_other"]


def test_python_lists_are_read_as_data(tmp_path: Path) -> None:
    configs, root = write_odinw(tmp_path)
    text = AQUARIUM.replace(
        '[{"id": 1, "name": "fish"}, {"id": 2, "name": "stingray"}]', "[{''id'': 1, ''name'': ''a''}]"
    )
    (configs / "Aquarium_v2.yaml").write_text("\n".join(line for line in text.splitlines() if "CAPTION" not in line))
    assert read_odinw(configs, root)[0].categories == ({"id": 1, "name": "a"},)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('[{"id": 1, "name": "fish"}', '[open("x"), {"id": 1}', "neither JSON nor a plain Python list"),
        (
            '\'[{"id": 1, "name": "fish"}, {"id": 2, "name": "stingray"}]\'',
            "!!python/object/apply:os.getcwd []",
            "YAML",
        ),
        ('("val",)', '("val", "test")', "expected one split"),
        ('("val",)', '("valid",)', "did you mean 'val'"),
        ("odinw/Aquarium/v2/valid/boxes.json", "../../boxes.json", "leads out of protocol.root"),
        ("odinw/Aquarium/v2/valid/boxes.json", "/boxes.json", "leads out of protocol.root"),
        ("img_dir: odinw/Aquarium/v2/valid}", "x: 1}", "no ann_file and img_dir"),
        ("REGISTER", "REGISTRY", "expected REGISTER"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    configs, root = write_odinw(tmp_path)
    assert old in AQUARIUM
    (configs / "Aquarium_v2.yaml").write_text(AQUARIUM.replace(old, new))
    with pytest.raises(UserError, match=message):
        read_odinw(configs, root)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_odinw(tmp_path / "none", tmp_path)
    with pytest.raises(UserError, match="holds no YAML file"):
        read_odinw(tmp_path, tmp_path)
