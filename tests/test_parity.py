"""Claims that this project gives the released GLIP's numbers: stages, boxes, losses, gradients, photo to boxes.

`scripts/parity.py` does the comparing, on outputs that the released code left on deterministic weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import parity
import parity_case
import parity_text
import pytest
import torch
from parity_samples import CAPTION, NAMES, TOKEN_IDS, recorded_case, recorded_photo, small_task, tokenizer

import glipv2.checkpoints
from glipv2.errors import UserError
from glipv2.models.heads.selection import ScoredBoxes
from glipv2.tasks.detection import DetectionTask

SHARED = Path(__file__).parents[2] / "shared"
Rows = dict[str, parity.Row]


def compared(*words: str) -> Rows:
    """What the script finds with these words, by name of the array."""
    if not (SHARED / "parity").is_dir():
        pytest.skip("the recorded outputs (../shared/parity) are not on this machine")
    folders = {"PARITY": str(SHARED / "parity"), "DATA": str(SHARED / "data")}
    line = [folders[word.split("/")[0]] + word[word.find("/") :] if "/" in word else word for word in words]
    return {row.name: row for row in parity.compared(parity.arguments_of(line))}


@pytest.fixture(scope="module")
def fused() -> Rows:
    """GLIP-T, one model filled for all that was recorded of it."""
    return compared(
        "--keys", "PARITY/glip_t_keys.json", "--case", "PARITY/glip_t_small.npz",
        "--loss", "PARITY/glip_t_small_loss.npz", "--photo", "PARITY/glip_t_photo.npz", "--images", "DATA/coco_mini",
    )  # fmt: skip


@pytest.fixture(scope="module")
def unfused() -> Rows:
    """GLIP-T (A), whose image and text never meet before the logits."""
    return compared("--keys", "PARITY/glip_a_keys.json", "--case", "PARITY/glip_a_small.npz")


def stages(case: str) -> list[str]:
    """The arrays of a case that are outputs."""
    with np.load(SHARED / "parity" / case) as file:
        return [n for n in file.files if n not in parity_case.CASE_INPUTS and not n.startswith("image.")]


@pytest.mark.slow
def test_every_stage_and_every_box_of_the_fused_model_is_the_released_codes(fused: Rows) -> None:
    for name in stages("glip_t_small.npz"):
        assert fused[name].difference <= 1e-7, fused[name]  # what float32 can't store apart
    assert fused["boxes.0"].plain < 2e-5


@pytest.mark.slow
def test_every_stage_and_every_box_of_the_model_without_fusion_is_the_released_codes(unfused: Rows) -> None:
    for name in stages("glip_a_small.npz"):
        assert unfused[name].difference <= 1e-7, unfused[name]


@pytest.mark.slow
def test_assignment_losses_and_gradients_are_the_released_codes(fused: Rows) -> None:
    with np.load(SHARED / "parity" / "glip_t_small_loss.npz") as file:
        names = [
            name for name in file.files if name not in ("spec",) and "positive_" not in name and "label" not in name
        ]
    assert [fused[f"assignment.{image}"].difference for image in range(2)] == [0, 0]
    assert len(names) == 19
    for name in names:
        assert fused[name].within, fused[name]


@pytest.mark.slow
def test_a_photo_file_gives_the_released_codes_boxes_in_its_own_pixels(fused: Rows) -> None:
    for name in ("input_ids", "resized_shape", "padded_shape", "input_sample"):
        assert fused[f"photo.{name}"].difference == 0, fused[f"photo.{name}"]
    assert fused["labels"].difference == 0
    assert fused["scores"].difference < 2e-6  # recorded in float32
    assert fused["boxes"].difference < 2e-4


# The comparison itself, on a small model


@pytest.fixture
def small(cut_glip: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DetectionTask:
    """A cut-down GLIP-T that the script fills in place of the real one, and its keys file."""
    model = glipv2.checkpoints.released_model("glip_t")
    task = small_task(model)
    (tmp_path / "keys.json").write_text(json.dumps(cut_glip.keys()))
    monkeypatch.setattr(parity, "released_model", lambda _: model)
    monkeypatch.setattr(parity, "filled_task", lambda keys, module, dtype: task)
    return task


Change = Callable[[parity_text.Case], object]
Script = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def script(small: DetectionTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Script:
    """Runs the script on a changed case of the small model: status, lines, errors."""

    def run(change: Change = len, *words: str) -> tuple[int, list[str], str]:
        case = recorded_case(small)
        change(case)
        np.savez(tmp_path / "case.npz", **case)  # type: ignore[arg-type]
        status = parity.main(["--keys", str(tmp_path / "keys.json"), "--case", str(tmp_path / "case.npz"), *words])
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err

    return run


def largest(lines: list[str]) -> float:
    assert lines[-1].startswith("max_abs_diff=")
    return float(lines[-1].removeprefix("max_abs_diff="))


def test_agreement_ends_with_the_largest_difference_and_status_0(script: Script, small: DetectionTask) -> None:
    status, lines, _ = script()
    assert (status, largest(lines) < 1e-7) == (0, True)
    names = {line.split()[0] for line in lines[1:-1]}
    boxes = {f"{name}.{image}" for name in parity_case.BOX_ARRAYS for image in range(2)}
    assert names == {*parity_case.arrays_due(small.model_config), *boxes}


@pytest.mark.parametrize("name", ["backbone.0", "fpn.4", "text_hidden", "tower.1.text", "tower.3.visual.0", "boxes.1"])
def test_one_wrong_number_anywhere_ends_with_it_and_status_1(script: Script, name: str) -> None:
    def change(case: parity_text.Case) -> None:
        case[name].flat[0] += np.float32(0.25)

    status, lines, _ = script(change)
    assert (status, round(largest(lines), 4)) == (1, 0.25)
    assert [line.split()[0] for line in lines if "more than" in line] == [name]


def test_what_is_not_a_number_never_agrees(script: Script) -> None:
    status, lines, _ = script(lambda case: case["fpn.0"].__setitem__(0, np.nan))
    assert (status, largest(lines)) == (1, np.inf)


def test_a_wider_tolerance_is_taken(script: Script) -> None:
    def change(case: parity_text.Case) -> None:
        case["fpn.1"][0] += 0.01

    assert script(change)[0] == 1
    assert script(change, "--tolerance", "0.02")[0] == 0


def test_a_stage_that_was_not_stored_and_a_stranger_are_told_of(script: Script) -> None:
    def change(case: parity_text.Case) -> None:
        for name in [name for name in case if name.startswith("backbone.")]:
            del case[name]
        case["attention"] = np.zeros(2)

    status, lines, _ = script(change)
    assert status == 0
    assert lines[:2] == ["backbone: not in the case", "attention: unknown, not compared"]


@pytest.mark.parametrize("name", ["input_ids", "image.1", "fpn.2", "tower.5.text", "centerness.0", "labels.1"])
def test_a_case_without_one_of_its_arrays_is_refused(script: Script, name: str) -> None:
    status, _, error = script(lambda case: case.pop(name))
    assert status == 2
    assert "lacks " + name in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda case: case.update({"tower.17.text": np.zeros(3)}),
            "6 tower modules, but the case has 18; give its keys",
        ),
        (lambda case: case.update({"fpn.0": np.zeros(3)}), "fpn.0 has 3 values in the case, but"),
        (lambda case: case.update({"image.0": np.zeros((3, 8, 8))}), "no image.0 of 3 x 50 x 75 values"),
        (lambda case: case.update({"names": np.array(["zebra"])}), "does not hold the name 'zebra'"),
        (
            lambda case: case.update(caption=np.array("person"), names=np.array(["person"])),
            "are not BERT's tokens of the caption 'person'",
        ),
    ],
    ids=["another architecture", "other sizes", "another image", "another name", "another caption"],
)
def test_a_case_that_fits_badly_is_refused_in_one_line(script: Script, change: Change, said: str) -> None:
    status, _, error = script(change)
    assert status == 2
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected --case or --photo"),
        (["--loss", "x.npz"], "--loss needs the --case"),
        (["--photo", "x.npz"], "--photo and --images"),
        (["--case", "x.npz"], "x.npz does not exist"),
        (["--case", "text.npz"], "text.npz is not a .npz file of plain arrays"),
        (["--case", "photo.npz"], "photo.npz lacks image_sizes; it holds input_ids"),
        (["--photo", "photo.npz", "--images", "empty"], "expected one noise.png in empty, but found 0"),
        (["--keys", "no.json", "--photo", "photo.npz", "--images", "."], "no.json does not exist"),
        (["--keys", "text.npz", "--photo", "photo.npz", "--images", "."], "text.npz is not a JSON file of names"),
        (
            ["--keys", "other.json", "--photo", "photo.npz", "--images", "."],
            "expected the tensors of a released GLIP-T",
        ),
        (["--photo", "photo.npz", "--images", "."], "weights.py is no Python file"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line_with_status_2(
    small: DetectionTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parity, "filled_task", parity_case.filled_task)
    monkeypatch.setattr(parity_case, "RECORDED", tmp_path)
    np.savez("photo.npz", **recorded_photo(small, tmp_path))  # type: ignore[arg-type]
    Path("text.npz").write_text("no array")
    Path("other.json").write_text('{"conv.weight": [3, 3]}')
    Path("empty").mkdir()
    assert parity.main(["--keys", "keys.json", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_photo_is_compared_from_the_command_line(small: DetectionTask, tmp_path: Path, capsys: Any) -> None:
    np.savez(tmp_path / "photo.npz", **recorded_photo(small, tmp_path))  # type: ignore[arg-type]
    words = ["--photo", str(tmp_path / "photo.npz"), "--images", str(tmp_path)]
    assert parity.main(["--keys", str(tmp_path / "keys.json"), *words]) == 0
    assert largest(capsys.readouterr().out.splitlines()) < 1e-6


def test_keys_and_weights_are_looked_for_beside_the_case(
    small: DetectionTask, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity_case, "RECORDED", tmp_path / "recorded")
    (tmp_path / "keys.json").rename(tmp_path / "glip_t_keys.json")
    (tmp_path / "other_keys.json").write_text("{}")
    np.savez(tmp_path / "case.npz", **recorded_photo(small, tmp_path))  # type: ignore[arg-type]
    assert parity.main(["--photo", str(tmp_path / "case.npz"), "--images", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(f"keys: {tmp_path / 'glip_t_keys.json'}\n")
    assert parity_case.keys_beside(tmp_path / "other_case.npz").name == "other_keys.json"
    (tmp_path / "recorded").mkdir()
    (tmp_path / "glip_t_keys.json").rename(tmp_path / "recorded/glip_t_keys.json")
    (tmp_path / "recorded/weights.py").touch()
    (tmp_path / "elsewhere").mkdir()
    keys = parity_case.keys_beside(tmp_path / "elsewhere/case.npz")
    assert keys == tmp_path / "recorded/glip_t_keys.json"
    assert parity_case.weights_beside(tmp_path / "keys.json") == tmp_path / "recorded/weights.py"


def test_a_photo_may_lie_in_several_folders_but_not_under_one_name_with_other_content(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x [1].jpg").write_bytes(b"same")
    photo: parity_text.Case = {"image": np.array("val/x [1].jpg")}
    assert parity.picture_of(photo, tmp_path) == tmp_path / "a/x [1].jpg"
    (tmp_path / "b/x [1].jpg").write_bytes(b"other")
    with pytest.raises(UserError, match="but found 2"):
        parity.picture_of(photo, tmp_path)


def test_a_model_is_filled_by_the_released_names(
    cut_glip: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(parity_case, "released_model", glipv2.checkpoints.released_model)
    (tmp_path / "keys.json").write_text(json.dumps(cut_glip.keys()))
    (tmp_path / "weights.py").write_text(
        "import json, numpy, pathlib\n"
        "def state_dict(path):\n"
        "    keys = json.loads(pathlib.Path(path).read_text())\n"
        "    return {name: numpy.full(shape, len(name), numpy.float32) for name, shape in keys.items()}\n"
    )
    task = parity_case.filled_task(tmp_path / "keys.json", tmp_path / "weights.py", torch.float64)
    assert (task.core.image.pyramid.lateral[0].weight == len("backbone.fpn.fpn_inner2.weight")).all()
    assert task.regions.level_scales.tolist() == [len("rpn.head.scales.0.scale")] * 5
    assert task.regions.words.weight.dtype == torch.float64
    short = {name: shape for name, shape in cut_glip.keys().items() if "centerness" not in name}
    (tmp_path / "keys.json").write_text(json.dumps(short))
    with pytest.raises(UserError, match=r"not all tensors of glip_t: .*regions\.centerness"):
        parity_case.filled_task(tmp_path / "keys.json", tmp_path / "weights.py", torch.float64)


# Boxes as sets, rounding, tokens


def box_rows(boxes: list[list[float]], scores: list[float], labels: list[int], most: int = 100) -> Rows:
    """Against three stored boxes, the last two of equal score."""
    stored = [np.array([[0, 0, 9, 9], [1, 1, 5, 5], [2, 2, 7, 7]], np.float32), np.array([0.9, 0.5, 0.5], np.float32)]
    found = ScoredBoxes(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), torch.tensor(labels))
    rows = parity.box_rows("", found, [*stored, np.array([1, 2, 2])], 1e-5, 100.0, most)
    return {row.name: row for row in rows}


FIRST, SECOND, THIRD, FOURTH = [0.0, 0, 9, 9], [1.0, 1, 5, 5], [2.0, 2, 7, 7], [3.0, 3, 8, 8]


def test_boxes_of_equal_score_may_come_in_any_order() -> None:
    rows = box_rows([FIRST, THIRD, SECOND], [0.9, 0.5, 0.5], [1, 2, 2])
    assert [row.difference for row in rows.values()] == [0, 0, 0]


@pytest.mark.parametrize(
    ("boxes", "scores", "labels", "lonely"),
    [
        ([FIRST, SECOND, THIRD], [0.9, 0.5, 0.5], [1, 2, 1], 2),
        ([FIRST, SECOND], [0.9, 0.5], [1, 2], 1),
        ([FIRST, SECOND, THIRD, FOURTH], [0.9, 0.5, 0.5, 0.4], [1, 2, 2, 2], 1),
        ([SECOND, FIRST, THIRD], [0.9, 0.5, 0.5], [2, 1, 2], 4),
        ([], [], [], 3),
    ],
    ids=["another label", "one missing", "one too many", "scores exchanged", "none"],
)
def test_boxes_without_partner_are_counted(
    boxes: list[list[float]], scores: list[float], labels: list[int], lonely: int
) -> None:
    row = box_rows(boxes, scores, labels)["labels"]
    assert (row.difference, row.within) == (lonely, False)


def test_only_in_full_lists_may_the_last_of_equal_score_be_others() -> None:
    boxes, scores, labels = [FIRST, SECOND, FOURTH], [0.9, 0.5, 0.5], [1, 2, 3]
    assert box_rows(boxes, scores, labels, most=3)["labels"].difference == 0
    assert box_rows(boxes, scores, labels, most=4)["labels"].difference == 2


def test_the_order_of_scores_counts() -> None:
    assert box_rows([SECOND, FIRST, THIRD], [0.5, 0.9, 0.5], [2, 1, 2])["scores"].difference == pytest.approx(0.4)


def test_what_storing_in_float32_moved_is_no_difference() -> None:
    third = torch.tensor([1 / 3, 1000 / 3], dtype=torch.float64)
    row = parity.row("x", third, third.float().numpy(), 0.0)
    assert (row.difference, row.within) == (0, True)
    assert 0 < row.plain < 2e-5
    assert parity.row("x", third + 1e-4, third.float().numpy(), 0.0).difference > 8e-5


def test_tokens_find_their_words_by_words_and_full_stops() -> None:
    text = tokenizer().build().encode([CAPTION])[0]
    assert text.token_ids == TOKEN_IDS
    assert [CAPTION[begin:end] for begin, end in text.offsets[1:-1]] == [
        "person", ".", "dining", "table", ".", "wine", "glass",
    ]  # fmt: skip


def test_names_of_word_pieces_get_all_their_tokens_and_parts_of_them_are_guessed_aloud(capsys: Any) -> None:
    case: parity_text.Case = {
        "caption": np.array("hot skateboarder. cat."),
        "input_ids": np.array([101, 2980, 17260, 2121, 1012, 4937, 1012, 102]),
        "names": np.array(["hot skateboarder", "cat"]),
    }
    config = parity_text.tokenizer_of(case, None)
    spans = parity_text.name_spans(case)
    assert spans == [[(0, 16)], [(18, 21)]]
    tokens = parity_text.phrase_tokens(spans, case, config)
    assert tokens.int().tolist() == [[0, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0, 0]]
    assert capsys.readouterr().err == ""
    assert parity_text.phrase_tokens([[(0, 3)]], case, config).int().tolist() == [[0, 1, 0, 0, 0, 0, 0, 0]]
    assert "which tokens are 'hot' is guessed" in capsys.readouterr().err


def test_a_long_sentence_of_word_pieces_is_read_within_a_bounded_number_of_trials() -> None:
    words = [chr(97 + place % 7) * (1 + place % 5) for place in range(40)]
    ids = (101, *(2000 + len(word) for word in words), *range(3000, 3020), 102)
    assert parity_text.MOST_TRIALS < 1e6
    with pytest.raises(UserError, match="are not BERT's tokens"):
        parity_text.CaptionBackend(" ".join(words), ids)


def test_word_pieces_follow_from_words_that_stand_elsewhere_too() -> None:
    backend = parity_text.CaptionBackend("hot skateboarder. hot cat", (101, 2980, 17260, 2121, 1012, 2980, 4937, 102))
    assert backend.guessed == []
    assert backend.words["skateboarder"] == (17260, 2121)
    read = backend.encode("x. skateboarder cat", add_special_tokens=False)
    assert read.ids == [100, 1012, 17260, 2121, 4937]
    assert read.offsets == [(0, 1), (1, 2), (3, 9), (9, 15), (16, 19)]


def test_a_tokenizer_that_gives_other_ids_is_refused() -> None:
    case: parity_text.Case = {"caption": np.array(CAPTION), "input_ids": np.array(TOKEN_IDS), "names": np.array(NAMES)}
    with pytest.raises(UserError, match=r"the tokenizer builtin makes .* but the case has"):
        parity_text.tokenizer_of(case, "builtin")
