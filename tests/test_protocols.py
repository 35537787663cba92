"""Claims about evaluation protocols, each through the command on small files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from protocol_files import NAMES, Place, make_place

from glipv2.models import ModelConfig
from glipv2.structures import DetectionBatch, Detections, TextQueryBatch
from glipv2.structures.grounded import GroundedCaptions, GroundedText
from glipv2.tasks.detection import DetectionTask
from glipv2.tasks.phrase_grounding import PhraseGroundingTask

Command = Callable[..., Any]
QUIET = ("protocol.workers=0", "trainer.progress=false", "trainer.accelerator=cpu", "gallery=1")
FILES = {
    "coco": ("protocol=coco", "protocol.annotations=coco.json", "protocol.images=images"),
    "lvis": ("protocol=lvis", "protocol.annotations=lvis.json", "protocol.images=images"),
    "odinw": ("protocol=odinw", "protocol.configs=configs", "protocol.root=DATASET"),
    "flickr30k": ("protocol=flickr30k", "protocol.root=flickr", "protocol.images=images"),
    "mdetr": ("protocol=flickr30k", "protocol.annotations=mdetr.json", "protocol.images=images"),
}


@pytest.fixture
def place(tmp_path: Path, model_config: ModelConfig) -> Place:
    return make_place(tmp_path, model_config)


def run(glipv2: Command, place: Place, *words: str, output: str = "out") -> dict[str, float]:
    """metrics.json of an evaluation."""
    ended = glipv2(place.folder, "evaluate", "weights=weights.safetensors", *words, *QUIET, f"output={output}")
    assert ended.code == 0, ended.err
    numbers: dict[str, float] = json.loads((place.folder / output / "metrics.json").read_text())
    return numbers


def refused(glipv2: Command, place: Place, *words: str) -> str:
    ended = glipv2(place.folder, "evaluate", "weights=weights.safetensors", *words, *QUIET, "output=out")
    assert ended.code == 2, ended
    assert not (place.folder / "out").exists()
    return str(ended.err)


def truthful(task: DetectionTask, batch: DetectionBatch) -> list[Detections]:
    """The truth as predictions."""
    vocabulary = task.vocabulary
    assert vocabulary is not None
    return [
        Detections(one.boxes, torch.ones(len(one.boxes)), one.labels, one.image_size, vocabulary) for one in batch.truth
    ]


def truthful_phrases(task: PhraseGroundingTask, batch: TextQueryBatch) -> list[GroundedCaptions]:
    """One box a phrase, its true one."""
    found = []
    for one in batch.truth:
        captions = []
        for caption in one.captions:
            rows = [(own.instances[0], place) for place, own in enumerate(caption.phrases) if own.instances]
            boxes = one.boxes[[row for row, _ in rows]]
            labels = torch.tensor([place for _, place in rows], dtype=torch.int64)
            spans = tuple(own.spans for own in caption.phrases)
            captions.append(GroundedText(caption.text, spans, boxes, torch.ones(len(rows)), labels))
        found.append(GroundedCaptions(one.image_size, tuple(captions)))
    return found


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that say the truth."""
    monkeypatch.setattr(DetectionTask, "predictions", truthful)
    monkeypatch.setattr(PhraseGroundingTask, "predictions", truthful_phrases)


@pytest.mark.usefixtures("told")
def test_the_truth_scores_one_everywhere(glipv2: Command, place: Place) -> None:
    assert run(glipv2, place, *FILES["coco"])["coco/box_ap"] == pytest.approx(1)
    lvis = run(glipv2, place, *FILES["lvis"])
    for name in ("box_ap", "box_ap_rare", "box_ap_common", "box_ap_frequent", "box_fixed_ap", "box_fixed_ap_rare"):
        assert lvis[f"lvis/{name}"] == pytest.approx(1)
    odinw = run(glipv2, place, *FILES["odinw"])
    names = ("Aquarium/box_ap", "pistols/box_ap", "average", "median")
    assert [odinw[f"odinw/{name}"] for name in names] == pytest.approx([1, 1, 1, 1])
    assert odinw["odinw/skipped"] == 0
    flickr = run(glipv2, place, *FILES["flickr30k"])
    for name in ("any_box_recall_1", "any_box_recall_10", "any_box_recall_1/animals", "any_box_recall_1/other"):
        assert flickr[f"flickr30k/{name}"] == 1
    assert flickr["flickr30k/merged_box_recall_1/animals"] == 1
    assert flickr["flickr30k/merged_box_recall_1/people"] == 0  # two boxes; one of them is not the box around both
    assert run(glipv2, place, *FILES["mdetr"], output="mdetr")["flickr30k/any_box_recall_5"] == 1


@pytest.mark.parametrize("name", list(FILES))
def test_the_batch_size_changes_no_number(glipv2: Command, place: Place, name: str) -> None:
    alone = run(glipv2, place, *FILES[name], "protocol.batch_size=1", output="alone")
    together = run(glipv2, place, *FILES[name], "protocol.batch_size=4", output="together")
    assert alone == pytest.approx(together, abs=1e-6)
    assert any(value > 0 for value in alone.values())
    every = [path.relative_to(place.folder / "alone") for path in (place.folder / "alone").rglob("*.json")]
    files = sorted(path for path in every if path.parts[0] != "diagnosis")
    assert len(files) == (3 if name == "odinw" else 2)
    for path in files:
        records = [json.loads((place.folder / which / path).read_text()) for which in ("alone", "together")]
        assert len(records[0]) == len(records[1]) > 0


def test_a_table_is_printed_and_pictures_are_written(glipv2: Command, place: Place) -> None:
    words = ("weights=weights.safetensors", *FILES["odinw"], *QUIET)
    ended = glipv2(place.folder, "evaluate", *words)
    assert ended.code == 0, ended.err
    said = ended.out + ended.err
    for row in ("odinw", "Aquarium", "pistols", "average", "median"):
        assert any(re.match(rf"(\[[\d:]+\] )?{row}\b", line) for line in said.splitlines()), said
    folder = place.folder / "evaluation" / "odinw"
    assert (folder / "predictions" / "odinw" / "Aquarium.json").is_file()
    assert len(list((folder / "gallery" / "odinw" / "pistols").glob("*.png"))) == 1
    assert not list(folder.rglob("*.partial"))


def test_lvis_writes_the_best_boxes_of_an_image_only(glipv2: Command, place: Place) -> None:
    run(glipv2, place, *FILES["lvis"], "protocol.names_a_prompt=1")
    records = json.loads((place.folder / "out" / "predictions" / "lvis.json").read_text())
    scores: dict[int, list[float]] = {}
    for record in records:
        scores.setdefault(record["image_id"], []).append(record["score"])
    assert len(scores) == 5
    for own in scores.values():
        assert own == sorted(own, reverse=True)
        assert len(own) <= 300


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("protocol=coc",), "did you mean 'coco'?"),
        (("protocol=coco", "protocol.anotations=x"), "did you mean 'protocol.annotations'?"),
        (("protocol=coco", "protocol.annotations=coco.json"), "protocol.images is not set"),
        (("protocol=lvis", "protocol.names_a_prompt=many"), "protocol.names_a_prompt"),
        ((*FILES["coco"], "split=test"), "leave out split= and data="),
        ((*FILES["coco"], "data=coco"), "leave out split= and data="),
        (("protocol=flickr30k", "protocol.images=images"), "either protocol.root=FOLDER"),
        (("protocol=flickr30k", "protocol.root=flickr", "protocol.images=images", "protocol.split=tst"), "'test'"),
        (("protocol=lvis", "protocol.annotations=coco.json", "protocol.images=images"), "not an LVIS v1 file"),
        ((*FILES["odinw"], "protocol.missing=ignore"), "raise or skip"),
        ((*FILES["odinw"], "protocol.split=valid"), "no split 'valid' in DATASETS.REGISTER"),
    ],
)
def test_what_can_not_work_is_refused_before_anything_runs(
    glipv2: Command, place: Place, words: Sequence[str], message: str
) -> None:
    assert message in refused(glipv2, place, *words)


def test_missing_data_sets_are_all_named_or_skipped_and_the_average_says_so(glipv2: Command, place: Place) -> None:
    shutil.rmtree(place.folder / "DATASET" / "odinw" / "Aquarium")
    said = refused(glipv2, place, *FILES["odinw"])
    assert "1 of 2 ODinW data sets" in said
    assert "boxes.json" in said
    numbers = run(glipv2, place, *FILES["odinw"], "protocol.missing=skip")
    assert numbers["odinw/skipped"] == 1
    assert numbers["odinw/average_over_1_of_2"] == numbers["odinw/pistols/box_ap"]
    assert "odinw/average" not in numbers
    shutil.rmtree(place.folder / "DATASET" / "odinw" / "pistols")
    shutil.rmtree(place.folder / "out")
    said = refused(glipv2, place, *FILES["odinw"])
    assert "Aquarium (" in said
    assert "pistols (" in said


def test_prompts_of_odinw_are_those_of_its_files(
    glipv2: Command, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    real = DetectionTask.predictions

    def watched(task: DetectionTask, batch: DetectionBatch) -> list[Detections]:
        seen.append(batch.prompts[0].text.token_ids[0].tolist())
        return real(task, batch)

    monkeypatch.setattr(DetectionTask, "predictions", watched)
    run(glipv2, place, *FILES["odinw"], "protocol.batch_size=8")
    tokenizer = ModelConfig().tokenizer.build()
    texts = [tokenizer.decode([token for token in ids if token]) for ids in seen]
    assert "stingray which is flat" in texts[0].lower()
    assert "x1" not in texts[0]
    run(glipv2, place, *FILES["odinw"], "protocol.captions=false", output="plain")
    assert "flat" not in tokenizer.decode([token for token in seen[2] if token])


def test_weights_of_any_vocabulary_are_asked_for_the_files_names(glipv2: Command, place: Place) -> None:
    numbers = run(glipv2, place, *FILES["odinw"])
    assert "odinw/Aquarium/box_ap/stingray" in numbers
    assert not any(name in key for key in numbers for name in NAMES)
