"""Claims about the hub: what is published loads again and tells what it is; whatever is refused is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from safetensors import safe_open
from torch.testing import assert_close

import glipv2 as package
from glipv2 import publishing
from glipv2.checkpoints import record_of, save_weights
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.models import ModelConfig
from glipv2.publishing import PublishedModel, PushConfig, push
from glipv2.structures import Vocabulary
from glipv2.tasks.captioning import CaptioningConfig
from glipv2.tasks.detection import DetectionTask

NAMES = Vocabulary(("green star", "pink heart"), (7, 9))


@pytest.fixture
def run(tmp_path: Path, task: DetectionTask, model_config: ModelConfig) -> Path:
    """A run's folder, whose config tells of places on a machine."""
    folder = tmp_path / "runs/stars"
    folder.mkdir(parents=True)
    with torch.no_grad():
        task.regions.prior_bias.fill_(0)
    task.vocabulary = NAMES
    model_config.image.weights = "/home/ada/backbone.safetensors"
    record = record_of(model_config, task.config, NAMES)
    save_weights(folder / "weights.safetensors", task.state_dict(), record)
    (folder / "config.yaml").write_text(
        "name: stars\nseed: 3\nweights: /home/ada/start.safetensors\n"
        "data: {train: {annotations: /home/ada/train.json}, batch_size: 4}\ntrainer: {max_steps: 20}\n"
    )
    numbers = {"detection/box_ap": 0.25, "detection/box_ap_50": 0.5, "unseen/detection/box_ap": 0.125}
    (folder / "metrics.json").write_text(json.dumps(numbers))
    return folder


def test_what_is_written_loads_again_as_the_same_model(run: Path, task: DetectionTask, tmp_path: Path) -> None:
    target = tmp_path / "published"
    assert push(PushConfig(weights=str(run), output=str(target), licence="apache-2.0")) == str(target)
    assert sorted(path.name for path in target.iterdir()) == [
        "README.md", "config.json", "metrics.json", "weights.safetensors",
    ]  # fmt: skip
    picture = torch.randint(0, 256, (3, 60, 90), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = package.from_pretrained(target, "cpu").detect(picture)
    expected = Predictor(task, "cpu").detect(picture)
    assert_close(found.boxes, expected.boxes)
    assert found.vocabulary == NAMES
    assert json.loads((target / "metrics.json").read_text())["detection/box_ap"] == 0.25


def test_the_card_tells_use_data_numbers_licence_and_limits(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "published"
    push(PushConfig(weights=str(run), output=str(target), licence="apache-2.0"))
    card = (target / "README.md").read_text("utf-8")
    assert card.startswith("---\nlibrary_name: glipv2\nlicense: apache-2.0\npipeline_tag: object-detection\n")
    for heading in ("Intended use", "Data", "Metrics", "Licence", "Limits"):
        assert f"\n## {heading}\n" in card
    assert "Run `stars`, started from `start.safetensors`." in card
    assert "| `data.train.annotations` | train.json |" in card
    assert "| `trainer.max_steps` | 20 |" in card
    assert "Its vocabulary: green star, pink heart." in card
    assert "Box AP | 25.0" in card


def test_no_place_of_the_machine_is_published(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "published"
    push(PushConfig(weights=str(run), output=str(target)))
    with safe_open(target / "weights.safetensors", "pt") as file:
        told = [*file.metadata().values(), *(path.read_text() for path in target.glob("*.[jm]*"))]
    assert not any("/home" in text or str(tmp_path) in text for text in told)
    assert "Not stated by who published these weights" in (target / "README.md").read_text()


def test_a_bare_file_says_that_its_data_are_not_known(run: Path, tmp_path: Path) -> None:
    card = PublishedModel.of(run / "weights.safetensors").card("ada/stars")
    assert "Not known: these weights came without their run." in card
    assert "None came with these weights." in card
    assert 'glipv2.from_pretrained("ada/stars")' in card


def test_the_card_shows_how_to_ask_for_what_the_weights_can(run: Path) -> None:
    own = PublishedModel.of(run / "weights.safetensors")
    assert 'model.detect("photo.jpg", [' in own.card("ada/stars")
    writes = replace(own.checkpoint, task=CaptioningConfig())
    assert 'found = model.caption("photo.jpg")' in PublishedModel(writes).card("ada/stars")


def test_pushing_hands_the_files_to_the_hub(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, Any] = {}

    class Hub:
        def __init__(self, token: str | None = None) -> None: ...

        def create_repo(self, repo_id: str, **_: Any) -> SimpleNamespace:
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, folder_path: Path, repo_id: str, **_: Any) -> str:
            sent.update({path.name: path.read_bytes() for path in folder_path.iterdir()}, repo=repo_id)
            return "where it lies"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    monkeypatch.setattr(publishing, "hub_answers", lambda: True)
    assert push(PushConfig(weights=str(run), repo="ada/stars")) == "where it lies"
    assert set(sent) == {"README.md", "config.json", "metrics.json", "weights.safetensors", "repo"}
    assert sent["repo"] == "ada/stars"
    assert b'glipv2.from_pretrained("ada/stars")' in sent["README.md"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (LocalTokenNotFoundError("no token"), "nobody is logged in at the model hub; hf auth login, then again"),
        (
            HfHubHTTPError("no", response=SimpleNamespace(status_code=403, headers={}, request=None)),  # type: ignore[arg-type]
            r"the hub refuses it \(status 403\); hf auth login with a token that may write",
        ),
        (ConnectionError("reset"), "the connection broke off; try again"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi.create_repo", refuses)
    monkeypatch.setattr(publishing, "hub_answers", lambda: True)
    with pytest.raises(UserError, match=told):
        push(PushConfig(weights=str(run), repo="ada/stars"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("weights=x",), "expected repo=NAME/MODEL to publish, or output=FOLDER"),
        (("repo=a/b",), "weights is not set; as in glipv2 push"),
        (("weights=x", "repo=a/b"), "the model hub can't be reached; try again with a network, or write the files"),
        (("weights=x", "output=new"), "weights=x: no such file or run folder"),
        (("weights=x", "licens=y"), "no key 'licens'; did you mean 'licence'?"),
    ],
)
def test_offline_and_wrong_words_are_one_line(
    glipv2: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.setattr(publishing, "hub_answers", lambda: False)
    ended = glipv2(tmp_path, "push", *words)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert told in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_was_never_fetched_is_told_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(publishing, "hub_answers", lambda: False)
    with pytest.raises(UserError, match=r"ada/none: neither here nor fetched before, and the model hub can't be"):
        package.from_pretrained("ada/none")
    with pytest.raises(UserError, match=r"expected NAME/MODEL or a folder; check the name"):
        package.from_pretrained("a/b/c")
