import json
import math
from pathlib import Path

import pytest
from PIL import Image

from glipv2.errors import UserError
from glipv2.report.run import PARTS, RunFolder, flat_config


def test_a_folder_that_does_not_exist_or_is_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        RunFolder.read(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        RunFolder.read(tmp_path / "file")


def test_a_folder_without_anything_of_a_run_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"holds nothing of a run.*metrics\.json"):
        RunFolder.read(tmp_path)


def test_the_folder_above_runs_is_refused_with_their_names(tmp_path: Path) -> None:
    for name in ("seed_0", "seed_1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match="holds runs: seed_0, seed_1"):
        RunFolder.read(tmp_path)


def test_sparse_rows_become_curves_in_order_of_step(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,train/loss,detection/box_ap\n0,20,1.5,\n0,10,2.5,\n0,20,,0.25\n1,30,nan,\n"
    )
    run = RunFolder.read(tmp_path)
    assert run.curves["detection/box_ap"] == ((20.0, 0.25),)
    assert run.curves["train/loss"][:2] == ((10.0, 2.5), (20.0, 1.5))
    assert math.isnan(run.curves["train/loss"][2][1])
    assert set(run.curves) == {"train/loss", "detection/box_ap"}
    assert run.problems == ()


def test_what_is_absent_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"detection/box_ap": 0.5}')
    run = RunFolder.read(tmp_path)
    assert set(run.missing) == set(PARTS) - {"metrics.json"}
    assert (run.curves, run.config, run.galleries, run.photographs) == ({}, {}, {}, ())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", b'{"detection/box_ap": 0.5'),
        ("metrics.json", b"[1, 2]"),
        ("metrics.json", b'{"detection/box_ap": "high"}'),
        ("metrics.json", b"\xff\xfe\x00"),
        ("metrics.json", b"[" * 100_000),
        ("metrics.csv", b"step,train/loss\n1,abc\n"),
        ("metrics.csv", b"train/loss\n1.5\n"),
        ("metrics.csv", b"step,train/loss\n1,\xff\n"),
        ("config.yaml", b"a: [1, 2"),
        ("config.yaml", b"- 1\n- 2\n"),
        ("config.yaml", b"a: \x00"),
        ("environment.json", b"null"),
        ("predictions/predictions.json", b"{}"),
        ("predictions/predictions.json", b'[{"image_id": 1}, 5]'),
        ("predictions/predictions.json", b"nonsense"),
    ],
)
def test_a_broken_file_is_a_problem_told_and_no_failure(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    run = RunFolder.read(tmp_path)
    assert len(run.problems) == 1
    assert Path(name).name in run.problems[0]


def test_an_empty_csv_or_one_with_ragged_rows_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("")
    assert RunFolder.read(tmp_path).curves == {}
    (tmp_path / "metrics.csv").write_text("step,train/loss\n1,2.0,3.0,4.0\n2\n3,1.0\n")
    assert RunFolder.read(tmp_path).curves == {"train/loss": ((1.0, 2.0), (3.0, 1.0))}


def test_unresolved_interpolations_are_kept_as_text(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: {b: '${oc.env:NO_SUCH_VARIABLE}', c: 1}\nd: {}\n")
    config = RunFolder.read(tmp_path).config
    assert flat_config(config) == {"a.b": "${oc.env:NO_SUCH_VARIABLE}", "a.c": "1", "d": "{}"}


def test_galleries_are_read_by_split_in_order_of_number(tmp_path: Path) -> None:
    for name in ("val/10_a.png", "val/2_b.png", "unseen/0_c.PNG", "val/notes.txt"):
        path = tmp_path / "gallery" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    galleries = RunFolder.read(tmp_path).galleries
    assert {split: [path.name for path in paths] for split, paths in galleries.items()} == {
        "unseen": ["0_c.PNG"],
        "val": ["2_b.png", "10_a.png"],
    }


def test_photographs_are_matched_to_their_drawings_as_predict_writes_them(tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    folder.mkdir()
    for name in ("dog_1.png", "dog_2.png", "other.png"):
        Image.new("RGB", (4, 4)).save(folder / name)
    images = [{"id": 1, "file_name": "dog.jpg"}, {"id": 2, "file_name": "dog.jpeg"}, {"id": 3, "file_name": "cat.jpg"}]
    records = [
        {"image_id": 2, "file_name": "dog.jpeg", "category_name": "dog", "bbox": [0, 0, 1, 1], "score": 0.4},
        {"image_id": 2, "file_name": "dog.jpeg", "category_name": "tail", "bbox": [0, 0, 1, 1], "score": 0.8},
        {"image_id": 3, "file_name": "cat.jpg", "category_id": 7, "bbox": [0, 0, 1, 1], "score": 0.5},
    ]
    (folder / "predictions.json").write_text(json.dumps({"images": images, "annotations": records}))
    run = RunFolder.read(tmp_path)
    rows = [
        (
            photo.name,
            photo.picture and photo.picture.name,
            photo.found and [(one.name, one.score) for one in photo.found],
        )
        for photo in run.photographs
    ]
    assert rows == [
        ("dog.jpg", "dog_1.png", ()),
        ("dog.jpeg", "dog_2.png", [("tail", 0.8), ("dog", 0.4)]),
        ("cat.jpg", None, [("category 7", 0.5)]),
        ("other", "other.png", None),
    ]
    assert run.problems == ()


def test_a_bare_list_of_results_names_its_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "dog.png")
    (folder / "predictions.json").write_text('[{"image_id": "dog.jpg", "category_name": "dog", "score": 0.5}]')
    (photo,) = RunFolder.read(tmp_path).photographs
    assert (photo.name, photo.picture) == ("dog.jpg", folder / "dog.png")
