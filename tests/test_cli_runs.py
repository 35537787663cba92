"""Claims about whole runs: what a command leaves behind, and that the next command can use it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_run import TINY, done

from glipv2.checkpoints import read_checkpoint
from glipv2.data.shapes import HELD_OUT, NAMES, SEEN, ShapesDataset

pytestmark = pytest.mark.slow
Command = Callable[..., Any]


def refused(ended: Any) -> str:
    """The one line of a command that refused."""
    assert ended.code == 2, ended
    lines = [line for line in ended.err.splitlines() if line]
    assert len(lines) == 1, ended.err
    return str(lines[0])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, glipv2: Command) -> Path:
    """A folder with a finished run of five steps in it."""
    folder = tmp_path_factory.mktemp("home")
    words = (*TINY, "trainer.max_steps=5", "trainer.val_every=5", "output=run", "also_evaluate=[unseen]", "gallery=3")
    done(glipv2(folder, "train", *words))
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures, one with a name that is not ASCII, of different sizes and modes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    scene = ShapesDataset("val", 1, image_size=96)[0].image
    Image.fromarray(scene.permute(1, 2, 0).numpy()).save(folder / "scène 猫.png")
    Image.new("L", (120, 50), 90).save(folder / "grey.jpg")
    Image.new("RGBA", (40, 160), (255, 0, 0, 90)).save(folder / "tall.png")
    return folder


# What a run leaves


def test_a_run_leaves_its_config_and_where_it_ran(home: Path) -> None:
    config = yaml.safe_load((home / "run/config.yaml").read_text())
    assert config["trainer"]["max_steps"] == 5
    assert config["model"]["image"]["options"]["channels"] == [8, 16, 24, 32]
    environment = json.loads((home / "run/environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert (environment["cores"], environment["device"]) == (os.cpu_count(), "cpu")


def test_metrics_are_flat_numbers_by_name(home: Path) -> None:
    metrics = json.loads((home / "run/metrics.json").read_text())
    assert all(isinstance(value, float) for value in metrics.values())
    assert 0 <= metrics["detection/box_ap"] <= 1
    assert 0 <= metrics["detection/unseen/box_ap"] <= 1
    assert metrics["run/steps"] == 5
    assert metrics["run/images_per_second"] > 0


def test_each_split_is_scored_over_its_own_names(home: Path) -> None:
    metrics = json.loads((home / "run/metrics.json").read_text())
    prefix, unseen = "detection/box_ap/", "detection/unseen/box_ap/"
    assert {name.removeprefix(prefix) for name in metrics if name.startswith(prefix)} == set(SEEN)
    assert {name.removeprefix(unseen) for name in metrics if name.startswith(unseen)} == set(HELD_OUT)


def test_curves_are_a_csv_of_logged_names(home: Path) -> None:
    with (home / "run/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert any(row["detection/box_ap"] for row in rows)
    assert any(row["detection/unseen/box_ap"] for row in rows)
    assert [float(row["train/loss"]) > 0 for row in rows if row["train/loss"]] == [True] * 5


def test_checkpoints_load_without_running_code_and_say_what_they_are(home: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        content = torch.load(home / "run/checkpoints" / name, weights_only=True)
        assert content["global_step"] == 5
        record = json.loads(content["glipv2"])
        assert (record["task"], record["model"]["name"]) == ("detection", "nano")
        assert record["vocabulary"]["names"] == list(NAMES)
    assert sorted(path.name for path in (home / "run/checkpoints").iterdir()) == [
        "best.ckpt", "last.ckpt", "previous.ckpt",
    ]  # fmt: skip


def test_exported_weights_are_the_best_checkpoints(home: Path) -> None:
    exported = load_file(home / "run/weights.safetensors")
    best = torch.load(home / "run/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert exported.keys() == best.keys()
    assert all(torch.equal(exported[name], best[name]) for name in best)
    task = read_checkpoint(home / "run").build()
    assert all(torch.equal(value, best[name]) for name, value in task.state_dict().items())


def test_a_run_tells_which_of_its_steps_it_hands_on(glipv2: Command, tmp_path: Path) -> None:
    said = done(glipv2(tmp_path, "train", *TINY, "trainer.max_steps=3", "trainer.val_every=2", "output=run"))
    assert "step 2 was the best that was compared, of 3" in said
    best = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    exported = load_file(tmp_path / "run/weights.safetensors")
    assert best["global_step"] == 2
    assert all(torch.equal(exported[name], value) for name, value in best["state_dict"].items())


def test_the_gallery_shows_the_first_pictures_of_each_split(home: Path) -> None:
    for split in ("val", "unseen"):
        pictures = sorted((home / "run/gallery" / split).glob("*.png"))
        assert len(pictures) == 3
        assert min(Image.open(pictures[0]).size) >= 64
        assert (home / "run/predictions" / f"{split}.json").is_file()


def test_nothing_else_is_left_in_the_folder_where_it_ran(home: Path) -> None:
    assert [path.name for path in home.iterdir()] == ["run"]


def test_the_same_seed_trains_the_same_weights(home: Path, glipv2: Command, tmp_path: Path) -> None:
    done(glipv2(tmp_path, "train", *TINY, "trainer.max_steps=5", "output=again"))
    done(glipv2(tmp_path, "train", *TINY, "trainer.max_steps=5", "output=other", "seed=1"))
    first, again, other = (
        load_file(path / "weights.safetensors") for path in (home / "run", tmp_path / "again", tmp_path / "other")
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


# Runs after a run


def test_a_run_is_never_written_over(home: Path, glipv2: Command) -> None:
    before = (home / "run/metrics.json").read_bytes()
    message = refused(glipv2(home, "train", *TINY, "output=run", "trainer.max_steps=1"))
    assert "already holds a run" in message
    assert "resume=" in message
    assert (home / "run/metrics.json").read_bytes() == before


def test_resuming_goes_on_where_the_run_stopped(home: Path, glipv2: Command, tmp_path: Path) -> None:
    shutil.copytree(home / "run", tmp_path / "run")
    done(glipv2(tmp_path, "train", *TINY, "resume=run", "output=longer", "trainer.max_steps=8"))
    assert json.loads((tmp_path / "longer/metrics.json").read_text())["run/steps"] == 8
    content = torch.load(tmp_path / "longer/checkpoints/last.ckpt", weights_only=True)
    assert content["global_step"] == 8
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 5
    message = refused(glipv2(tmp_path, "train", *TINY, "resume=run", "output=longer", "trainer.max_steps=9"))
    assert "already holds a run" in message


def test_a_run_that_goes_on_in_its_own_folder_keeps_its_curves(home: Path, glipv2: Command, tmp_path: Path) -> None:
    shutil.copytree(home / "run", tmp_path / "run")
    before = steps_logged(tmp_path / "run")
    done(glipv2(tmp_path, "train", *TINY, "resume=run", "output=run", "trainer.max_steps=7"))
    assert json.loads((tmp_path / "run/metrics.json").read_text())["run/steps"] == 7
    assert steps_logged(tmp_path / "run")[: len(before)] == before
    assert steps_logged(tmp_path / "run")[-1] > before[-1]


def steps_logged(run: Path) -> list[int]:
    """The steps of the rows of metrics.csv."""
    with (run / "metrics.csv").open() as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def test_a_run_can_start_from_anothers_weights(home: Path, glipv2: Command, tmp_path: Path) -> None:
    words = (
        *TINY,
        f"weights={home / 'run'}",
        "optim.lr=0",
        "optim.weight_decay=0",
        "trainer.max_steps=1",
        "output=next",
    )
    done(glipv2(tmp_path, "train", *words))
    first, then = (load_file(path / "weights.safetensors") for path in (home / "run", tmp_path / "next"))
    trained = [name for name in first if "running_" not in name and "num_batches" not in name]
    assert all(torch.equal(first[name], then[name]) for name in trained)


def test_a_second_stage_adds_masks_to_a_detector(home: Path, glipv2: Command, photos: Path, tmp_path: Path) -> None:
    words = (*TINY, "task=instance_segmentation", "task.train=mask_head_only", "trainer.max_steps=2", "gallery=2")
    assert "weights=RUN" in refused(glipv2(tmp_path, "train", *words, "output=bare"))
    done(glipv2(tmp_path, "train", *words, "output=masks", f"weights={home / 'run'}"))
    first, then = (load_file(path / "weights.safetensors") for path in (home / "run", tmp_path / "masks"))
    assert all(torch.equal(value, then[name]) for name, value in first.items())
    metrics = json.loads((tmp_path / "masks/metrics.json").read_text())
    assert 0 <= metrics["instance_segmentation/mask_ap"] <= 1
    assert len(list((tmp_path / "masks/gallery").glob("val/*.png"))) == 2
    words = ("weights=masks", f"images={photos}", "text=a red circle.", "threshold=0", "task=instance_segmentation")
    done(glipv2(tmp_path, "predict", *words, "output=found"))
    content = json.loads((tmp_path / "found/predictions.json").read_text())
    sizes = {image["id"]: [image["height"], image["width"]] for image in content["images"]}
    assert content["annotations"]
    assert all(record["segmentation"]["size"] == sizes[record["image_id"]] for record in content["annotations"])


def test_each_job_of_a_sweep_is_a_run_of_its_own_in_the_tracker(glipv2: Command, tmp_path: Path) -> None:
    words = [word for word in TINY if word != "tracking=off"]
    done(glipv2(tmp_path, "train", "-m", *words, "tracking=offline", "trainer.max_steps=1", "seed=1,2"))
    found = [path.parts[-4] for path in tmp_path.rglob("*.wandb")]
    assert sorted(found) == ["0", "1"]


def test_ctrl_c_keeps_the_state_and_ends_without_a_traceback(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # SIGINT is ignored below a shell that runs the tests in the background
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}\nfrom glipv2.cli import main\nmain()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", *TINY, "trainer.max_steps=100000", "output=run"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    curves = tmp_path / "run/metrics.csv"
    end = time.monotonic() + 180
    try:
        while not curves.is_file() and time.monotonic() < end and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert curves.is_file(), err
    assert process.returncode not in (0, None)
    assert "Traceback" not in out + err
    content = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert content["global_step"] > 0
    assert not (tmp_path / "run/metrics.json").exists()


# Evaluation


def test_evaluation_gives_the_runs_own_numbers(home: Path, glipv2: Command, tmp_path: Path) -> None:
    shutil.copytree(home / "run", tmp_path / "run")
    words = ("data=shapes", "data.image_size=64", "data.eval_scenes=8", "data.workers=0", "trainer.accelerator=cpu")
    done(glipv2(tmp_path, "evaluate", "weights=run", "split=unseen", *words))
    found = json.loads((tmp_path / "run/evaluation/unseen/metrics.json").read_text())
    assert found["detection/unseen/box_ar_100"] > 0
    own = json.loads((home / "run/metrics.json").read_text())
    assert {name for name in found if name.startswith("detection/unseen/")} == set(found)
    for name, value in found.items():
        assert value == pytest.approx(own[name], abs=1e-6), name
    assert len(list((tmp_path / "run/evaluation/unseen/gallery/unseen").glob("*.png"))) == 8
    done(glipv2(tmp_path, "evaluate", "weights=run/weights.safetensors", "output=elsewhere", *words))
    assert json.loads((tmp_path / "elsewhere/metrics.json").read_text())["detection/box_ap"] == pytest.approx(
        own["detection/box_ap"], abs=1e-6
    )
    assert (tmp_path / "run/metrics.json").read_bytes() == (home / "run/metrics.json").read_bytes()


# Predictions


def test_predictions_are_coco_records_with_pictures(home: Path, glipv2: Command, photos: Path, tmp_path: Path) -> None:
    words = (f"weights={home / 'run'}", f"images={photos}", "text=a red circle. a blue square.", "threshold=0")
    out = done(glipv2(tmp_path, "predict", *words, "output=found"))
    content = json.loads((tmp_path / "found/predictions.json").read_text())
    assert {image["file_name"] for image in content["images"]} == {"scène 猫.png", "grey.jpg", "tall.png"}
    sizes = {image["file_name"]: (image["width"], image["height"]) for image in content["images"]}
    assert sizes == {"scène 猫.png": (96, 96), "grey.jpg": (120, 50), "tall.png": (40, 160)}
    assert [category["name"] for category in content["categories"]] == ["red circle", "blue square"]
    names = {image["id"]: image["file_name"] for image in content["images"]}
    assert len({record["image_id"] for record in content["annotations"]}) == 3
    for record in content["annotations"]:
        left, top, width, height = record["bbox"]
        own_width, own_height = sizes[names[record["image_id"]]]
        assert min(left, top, width, height) >= 0
        assert left + width <= own_width + 1e-3
        assert top + height <= own_height + 1e-3
    assert len(list((tmp_path / "found").glob("*.png"))) == 3
    assert "3 images" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found", "photos"]


def test_a_picture_is_predicted_the_same_alone_and_among_others(
    home: Path, glipv2: Command, photos: Path, tmp_path: Path
) -> None:
    words = (f"weights={home / 'run'}", "text=red circle. blue square", "threshold=0", "draw=false")
    done(glipv2(tmp_path, "predict", *words, f"images={photos}", "output=all", "batch_size=3"))
    done(glipv2(tmp_path, "predict", *words, f"images={photos / 'scène 猫.png'}", "output=one"))
    every, one = (json.loads((tmp_path / name / "predictions.json").read_text()) for name in ("all", "one"))
    mine = [record for record in every["annotations"] if record["file_name"] == "scène 猫.png"]
    assert [record["category_name"] for record in mine] == [record["category_name"] for record in one["annotations"]]
    for first, second in zip(mine, one["annotations"], strict=True):
        assert first["score"] == pytest.approx(second["score"], abs=1e-5)
        assert first["bbox"] == pytest.approx(second["bbox"], abs=1e-2)
    assert list((tmp_path / "all").iterdir()) == [tmp_path / "all/predictions.json"]


def test_processes_on_devices_of_their_own_give_what_one_gives(
    home: Path, glipv2: Command, photos: Path, tmp_path: Path
) -> None:
    words = (f"weights={home / 'run'}", "text=red circle", "threshold=0", "draw=false", "device=cpu", "batch_size=1")
    done(glipv2(tmp_path, "predict", *words, f"images={photos}", "output=one"))
    done(glipv2(tmp_path, "predict", *words, f"images={photos}", "output=two", "devices=2"))
    one, two = (json.loads((tmp_path / name / "predictions.json").read_text()) for name in ("one", "two"))
    assert one["images"] == two["images"]
    for first, second in zip(one["annotations"], two["annotations"], strict=True):
        assert first["file_name"] == second["file_name"]
        assert first["score"] == pytest.approx(second["score"], abs=1e-5)


def test_a_folder_with_a_broken_picture_writes_nothing(
    home: Path, glipv2: Command, photos: Path, tmp_path: Path
) -> None:
    (photos / "broken.jpg").write_bytes(b"not a picture")
    for size in (1, 8):
        words = (f"weights={home / 'run'}", f"images={photos}", "text=a dog.", f"batch_size={size}")
        assert "broken.jpg" in refused(glipv2(tmp_path, "predict", *words))
        assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_unusable_weights_are_refused_in_one_line(home: Path, glipv2: Command, photos: Path, tmp_path: Path) -> None:
    def attempt(weights: str) -> str:
        return refused(glipv2(tmp_path, "predict", f"weights={weights}", f"images={photos}", "text=a dog."))

    assert "no such file or run folder" in attempt("missing.ckpt")
    (tmp_path / "empty").mkdir()
    assert "the folder holds neither weights.safetensors nor" in attempt("empty")
    (tmp_path / "cut.safetensors").write_bytes((home / "run/weights.safetensors").read_bytes()[:1000])
    assert "not a readable safetensors file" in attempt("cut.safetensors")
    save_file({"weight": torch.ones(2)}, tmp_path / "foreign.safetensors")
    assert "not which model they belong to" in attempt("foreign.safetensors")
    torch.save({"state_dict": {}, "extra": Bomb(tmp_path / "touched")}, tmp_path / "bomb.ckpt")
    assert "could run code" in attempt("bomb.ckpt")
    assert not (tmp_path / "touched").exists()


class Bomb:
    """An object whose unpickling makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_weights_that_do_not_fit_their_own_description_are_refused(home: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(home / "run")
    wider = replace(checkpoint.model, image=replace(checkpoint.model.image, width=48))
    with pytest.raises(ValueError, match=r"these weights don't fit the model: loaded .* of another shape"):
        replace(checkpoint, model=wider).build()
    fewer = {name: value for name, value in checkpoint.tensors.items() if name != "regions.words.weight"}
    with pytest.raises(ValueError, match=r"1 not in the file \(regions\.words\.weight\)"):
        replace(checkpoint, tensors=fewer).build()


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"task": "detection"}', '{"task": "detecton"}', "not json"])
def test_weights_with_a_spoiled_description_are_refused(home: Path, tmp_path: Path, record: str) -> None:
    save_file(load_file(home / "run/weights.safetensors"), tmp_path / "odd.safetensors", metadata={"glipv2": record})
    with pytest.raises(ValueError, match=r"odd\.safetensors: ") as caught:
        read_checkpoint(tmp_path / "odd.safetensors")
    assert len(str(caught.value).splitlines()) == 1


def test_an_unfit_start_and_a_spoiled_resume_leave_no_run(home: Path, glipv2: Command, tmp_path: Path) -> None:
    words = (*TINY, "trainer.max_steps=1", "output=next")
    message = refused(glipv2(tmp_path, "train", *words, f"weights={home / 'run'}", "model.image.width=48"))
    assert "don't fit" in message
    torch.save({"state_dict": {}, "extra": Bomb(tmp_path / "touched")}, tmp_path / "bad.ckpt")
    assert "could run code" in refused(glipv2(tmp_path, "train", *words, "resume=bad.ckpt"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.ckpt"]
