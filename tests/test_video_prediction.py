"""Claims about videos: every frame once, at its own time, annotated; and what is no video is told as such."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glipv2 import predict as module
from glipv2.config import PredictConfig
from glipv2.data.videos import VideoFile, is_video, opened_video
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.predict import predict
from glipv2.structures import Vocabulary
from glipv2.tasks.detection import DetectionTask

pytest.importorskip("av")
FRAMES = 7


def grey(number: int) -> np.ndarray[Any, Any]:
    """A frame of an odd size whose brightness tells its number."""
    return np.full((61, 91, 3), 20 * number + 40, np.uint8)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Frames at a tenth of a second each, the last one late."""
    path = tmp_path / "clip.mp4"
    film = VideoFile(path, Fraction(10))
    for number in range(FRAMES):
        film.add(grey(number), number / 10 + (0.3 if number == FRAMES - 1 else 0))
    film.close()
    return path


@pytest.fixture
def config(clip: Path, task: DetectionTask, monkeypatch: pytest.MonkeyPatch) -> PredictConfig:
    """An untrained detector that finds much, and a video."""
    with torch.no_grad():
        task.regions.prior_bias.fill_(0)
    task.vocabulary = Vocabulary(("green star",))
    made = Predictor(task, "cpu")
    monkeypatch.setattr(module, "load_predictor", lambda config, device: made)
    return PredictConfig(
        weights="any", images=str(clip), text="red circle. star", output=str(clip.parent / "out"), threshold=0.0,
        batch_size=2, device="cpu",
    )  # fmt: skip


def left_by_a_killed_command(output: Path) -> None:
    partial = output / ".partial_video"
    partial.mkdir(parents=True)
    (partial / "clip.jsonl").write_text('{"frame": 0, "seconds": 0.0, "records": []}\n')
    (partial / "other.mp4").touch()


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "clip.jsonl").read_text("utf-8").splitlines()]


def test_frames_come_back_with_their_times_and_pixels(clip: Path) -> None:
    assert is_video(str(clip))
    assert not is_video(str(clip.with_name("other.mp4")))
    with opened_video(clip) as video:
        frames = list(video.frames())
    assert [frame.number for frame in frames] == list(range(FRAMES))
    assert [round(frame.seconds, 3) for frame in frames] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.9]
    for frame in frames:
        assert frame.pixels.shape == (3, 62, 92)  # encoders want even sides
        assert abs(float(frame.pixels[:, :61, :91].float().mean()) - (20 * frame.number + 40)) < 4


def test_a_video_in_gives_an_annotated_one_and_a_line_a_frame(config: PredictConfig) -> None:
    summary = predict(config)
    folder = Path(config.output)
    assert sorted(path.name for path in folder.iterdir()) == ["clip.json", "clip.jsonl", "clip.mp4"]
    lines = lines_of(folder)
    assert [line["frame"] for line in lines] == list(range(FRAMES))
    assert [line["seconds"] for line in lines] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.9]
    assert sum(len(line["records"]) for line in lines) == summary.findings > 0  # type: ignore[union-attr]
    assert {record["image_id"] for record in lines[3]["records"]} == {3}
    about = json.loads((folder / "clip.json").read_text("utf-8"))
    assert about["task"] == "detection"
    assert [category["name"] for category in about["categories"]] == ["red circle", "star"]
    assert about["video"] == {
        "file_name": "clip.mp4", "height": 62, "width": 92, "frames": FRAMES, "rate": pytest.approx(10, rel=0.4),
        "every": 1,
    }  # fmt: skip
    with opened_video(folder / "clip.mp4") as drawn:
        frames = list(drawn.frames())
    assert [round(frame.seconds, 3) for frame in frames] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.9]
    assert float(frames[0].pixels.float().std()) > 10  # boxes on what was plain grey


def test_of_every_third_frame_the_others_show_what_was_found(config: PredictConfig) -> None:
    config.every = 3
    summary = predict(config)
    assert (summary.frames, summary.looked_at) == (FRAMES, 3)  # type: ignore[union-attr]
    assert [line["frame"] for line in lines_of(Path(config.output))] == [0, 3, 6]
    with opened_video(Path(config.output) / "clip.mp4") as drawn:
        frames = list(drawn.frames())
    assert len(frames) == FRAMES
    assert all(float(frame.pixels.float().std()) > 10 for frame in frames)


def test_without_drawing_there_are_only_lines(config: PredictConfig) -> None:
    config.draw = False
    predict(config)
    assert sorted(path.name for path in Path(config.output).iterdir()) == ["clip.json", "clip.jsonl"]


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video_is_told_and_leaves_nothing(config: PredictConfig, content: bytes) -> None:
    Path(config.images).write_bytes(content)
    with pytest.raises(UserError, match=r"clip\.mp4 can't be read as a video .*; play it, or convert it to \.mp4"):
        predict(config)
    assert not Path(config.output).exists()


def test_a_video_that_ends_in_the_middle_leaves_nothing_half_written(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoFile, "add", dies)
    with pytest.raises(KeyboardInterrupt):
        predict(config)
    assert not Path(config.output).exists()


def test_without_a_decoder_the_message_says_how_to_get_it(
    config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r'PyAV, which reads videos, is not installed; pip install "glipv2\[video\]"'):
        predict(config)


def test_what_a_killed_command_left_is_in_no_result(config: PredictConfig) -> None:
    output = Path(config.output)
    left_by_a_killed_command(output)
    predict(config)
    assert [line["frame"] for line in lines_of(output)] == list(range(FRAMES))
    assert sorted(path.suffix for path in output.iterdir()) == [".json", ".jsonl", ".mp4"]
    assert not (output / "other.mp4").exists()
