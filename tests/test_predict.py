"""Claims about predicting over folders: in processes or not, killed or not, broken pictures or none, the same files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glipv2 import predict as module
from glipv2.config import PredictConfig
from glipv2.data.images import read_image, to_tensor
from glipv2.data.unlabelled import PictureBatch, picture_loader, suitable_workers
from glipv2.errors import Interrupted, UserError
from glipv2.inference import Predictor
from glipv2.pixels import PixelConfig
from glipv2.predict import Writer, devices_of, predict
from glipv2.structures import ImageBatch, Prediction, Vocabulary
from glipv2.tasks.detection import DetectionTask
from glipv2.unfinished import LineFile

NAMES = ["b.jpg", "a.png", "c.png", "sub.png", "d.jpg"]


@pytest.fixture
def predictor(task: DetectionTask, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    """An untrained detector that finds much, loaded by every command."""
    with torch.no_grad():
        task.regions.prior_bias.fill_(0)
    task.vocabulary = Vocabulary(("green star",))
    made = Predictor(task, "cpu")
    monkeypatch.setattr(module, "load_predictor", lambda config, device: made)
    return made


@pytest.fixture
def config(tmp_path: Path, predictor: Predictor) -> PredictConfig:
    """Five pictures of several sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    luck = np.random.default_rng(0)
    for index, name in enumerate(NAMES):
        pixels = luck.integers(0, 256, (40 + 10 * index, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (tmp_path / "weights").write_bytes(b"stands for weights")
    return PredictConfig(
        weights=str(tmp_path / "weights"), images=str(folder), text="red circle. star", output=str(tmp_path / "out"),
        threshold=0.0, batch_size=2, device="cpu", workers=0, draw=False,
    )  # fmt: skip


def written(config: PredictConfig) -> dict[str, Any]:
    """predictions.json."""
    content: dict[str, Any] = json.loads((Path(config.output) / "predictions.json").read_text("utf-8"))
    return content


def elsewhere(config: PredictConfig, name: str, **changed: Any) -> PredictConfig:
    """The same work into another folder."""
    return replace(config, output=str(Path(config.output).with_name(name)), **changed)


def test_every_picture_has_its_records_under_its_number(config: PredictConfig) -> None:
    summary = predict(config)
    content = written(config)
    assert content["task"] == "detection"
    assert content["categories"] == [{"id": 1, "name": "red circle"}, {"id": 2, "name": "star"}]
    assert [(image["id"], image["file_name"]) for image in content["images"]] == list(enumerate(sorted(NAMES), start=1))
    assert [image["height"] for image in content["images"]] == [50, 40, 60, 80, 70]
    for record in content["annotations"]:
        assert sorted(NAMES)[record["image_id"] - 1] == record["file_name"]
    assert {record["image_id"] for record in content["annotations"]} == {1, 2, 3, 4, 5}
    assert summary.images == 5
    assert summary.findings == len(content["annotations"])
    assert [path.name for path in Path(config.output).iterdir()] == ["predictions.json"]


def test_loader_processes_and_batches_change_nothing(config: PredictConfig) -> None:
    predict(config)
    beside = elsewhere(config, "beside", workers=2, batch_size=1)
    predict(beside)
    ours, theirs = written(config), written(beside)
    assert ours["images"] == theirs["images"]
    for own, other in zip(ours["annotations"], theirs["annotations"], strict=True):
        assert own["bbox"] == pytest.approx(other["bbox"], abs=1e-3)
        assert own["score"] == pytest.approx(other["score"], abs=1e-5)
        assert (own["file_name"], own["category_id"]) == (other["file_name"], other["category_id"])


def dies_after(monkeypatch: pytest.MonkeyPatch, batches: int, error: BaseException) -> Callable[[], None]:
    """Work ends in the middle as if the process had been killed; what it gives brings it back to life."""
    put, count = Writer.put, iter(range(100))

    def dying(self: Writer, batch: PictureBatch, found: Sequence[Prediction]) -> None:
        if next(count) == batches:
            raise error
        put(self, batch, found)

    monkeypatch.setattr(Writer, "put", dying)
    return lambda: monkeypatch.setattr(Writer, "put", put)


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same_files(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch, predictor: Predictor
) -> None:
    whole = elsewhere(config, "whole", draw=True)
    predict(whole)
    cut = replace(config, draw=True)
    revive = dies_after(monkeypatch, 1, KeyboardInterrupt())
    with pytest.raises(Interrupted, match="with 2 of 5 pictures done; the same command goes on"):
        predict(cut)
    assert not (Path(cut.output) / "predictions.json").exists()
    part = LineFile(Path(cut.output) / ".partial/part_0.jsonl")
    with part.path.open("a", encoding="utf-8") as file:
        file.write('{"path": "cut off in the mid')
    revive()
    asked: list[int] = []
    of_pictures = predictor.of_pictures

    def counted(task: str, images: ImageBatch, *rest: Any) -> Sequence[Any]:
        asked.append(len(images))
        return of_pictures(task, images, *rest)

    monkeypatch.setattr(predictor, "of_pictures", counted)
    predict(cut)
    assert asked == [2, 1]
    assert written(cut) == written(whole)
    for picture in Path(whole.output).glob("*.png"):
        assert (Path(cut.output) / picture.name).read_bytes() == picture.read_bytes()
    assert len(list(Path(cut.output).iterdir())) == 6


def test_work_of_other_words_is_not_gone_on_with(config: PredictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    revive = dies_after(monkeypatch, 1, KeyboardInterrupt())
    with pytest.raises(Interrupted):
        predict(config)
    revive()
    with pytest.raises(UserError, match=r"\.partial was begun with another text, threshold; remove it to begin anew"):
        predict(replace(config, text="a dog", threshold=0.5))
    predict(replace(config, batch_size=1))  # changes no result


def test_a_broken_picture_ends_the_work_but_not_what_was_done(config: PredictConfig) -> None:
    broken = Path(config.images) / "c.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:200])
    with pytest.raises(UserError, match=r"c\.png is damaged .*2 of 5 pictures are done and kept in .*on_error=skip"):
        predict(config)
    broken.write_bytes(content)
    predict(config)
    assert [image["id"] for image in written(config)["images"]] == [1, 2, 3, 4, 5]


def test_broken_pictures_can_be_left_out_and_are_told(config: PredictConfig) -> None:
    (Path(config.images) / "c.png").write_bytes(b"no picture")
    summary = predict(replace(config, on_error="skip"))
    content = written(config)
    assert [image["id"] for image in content["images"]] == [1, 2, 4, 5]
    assert {record["image_id"] for record in content["annotations"]} == {1, 2, 4, 5}
    (skipped,) = content["skipped"]
    assert skipped["file_name"] == "c.png"
    assert "not an image of a known format" in skipped["reason"]
    assert [path.name for path, _ in summary.skipped] == ["c.png"]


def test_nothing_is_left_when_the_first_picture_is_broken(config: PredictConfig) -> None:
    (Path(config.images) / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.png is empty \(0 bytes\); copy it again or remove it$"):
        predict(config)
    assert not Path(config.output).exists()


def test_shares_of_several_devices_give_what_one_gives(config: PredictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    predict(config)

    def in_turn(shares: Sequence[Any], task: str, told: Any) -> None:
        made = module.load_predictor(config, "cpu")
        for share in shares:
            module.do_share(share, made, task, made.task_for(task).request(config.text), told)

    monkeypatch.setattr(module, "_in_processes", in_turn)
    several = elsewhere(config, "several", devices=2)
    predict(several)
    ours, theirs = written(config), written(several)
    assert ours["images"] == theirs["images"]
    assert [own["file_name"] for own in ours["annotations"]] == [own["file_name"] for own in theirs["annotations"]]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"on_error": "ignore"}, "on_error: no way 'ignore'; choose one of: raise, skip"),
        ({"devices": 0}, "devices: expected at least 1, but got 0"),
        ({"workers": -1}, "workers: expected at least 0, but got -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(config: PredictConfig, changed: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        predict(replace(config, **changed))
    assert not Path(config.output).exists()


def test_a_screen_leaves_each_picture_its_likeliest_names(config: PredictConfig) -> None:
    words = "red circle. star. blue square. ring"
    predict(elsewhere(config, "all", text=words))
    predict(elsewhere(config, "screened", text=words, screen=2))
    names = {}
    for name in ("all", "screened"):
        records = written(elsewhere(config, name))["annotations"]
        names[name] = [{one["category_name"] for one in records if one["image_id"] == image} for image in range(1, 6)]
    assert max(map(len, names["all"])) > 2
    assert [len(found) <= 2 for found in names["screened"]] == [True] * 5
    assert set.union(*names["screened"]) <= set.union(*names["all"])


@pytest.mark.parametrize("changed", [{"task_name": "phrase_grounding", "text": "a star"}, {"tile": 64}])
def test_what_is_not_asked_for_names_is_not_screened(config: PredictConfig, changed: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="screen goes with task=detection and pictures, without tile"):
        predict(replace(config, screen=1, **changed))


def test_devices_of_a_cpu_share_its_cores(config: PredictConfig) -> None:
    assert devices_of(replace(config, devices=3)) == ["cpu", "cpu", "cpu"]


def test_the_loader_gives_pictures_in_order_as_the_model_wants_them(config: PredictConfig) -> None:
    paths = sorted(Path(config.images).iterdir())
    pixels = PixelConfig(short_side=32, max_long_side=64)
    (batch,) = picture_loader(paths, pixels, 8, None, originals=True, pinned=False)
    assert [read.place for read in batch.readable] == [0, 1, 2, 3, 4]
    assert [truth.image_size for truth in batch.truth] == [(50, 90), (40, 90), (60, 90), (80, 90), (70, 90)]
    assert batch.images.image_sizes.tolist() == [[32, 57], [28, 63], [32, 48], [32, 36], [32, 41]]
    assert torch.equal(batch.readable[0].original, to_tensor(read_image(paths[0])))
    assert suitable_workers(8, 8) == 0
    assert suitable_workers(9, 8) >= 1


def test_names_that_are_no_utf_8_are_predicted_too_and_told_as_far_as_they_go(config: PredictConfig) -> None:
    odd = os.fsencode(config.images) + b"/caf\xe9.png"
    try:
        os.rename(Path(config.images) / "a.png", odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    Path(os.fsdecode(os.fsencode(config.images) + b"/d\xe9.png")).write_bytes(b"no picture")
    summary = predict(replace(config, draw=True, on_error="skip"))
    assert summary.images == 5
    assert [image["file_name"] for image in written(config)["images"]][2] == "caf\ufffd.png"
    assert [skipped["file_name"] for skipped in written(config)["skipped"]] == ["d\ufffd.png"]
    assert len(list(Path(config.output).glob("*.png"))) == 5
