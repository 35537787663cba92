"""Claims about what a check finds in files that readers take."""

from __future__ import annotations

import json
import os
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from checked import checked, codes, only, report_of, written
from coco_file import HEIGHT, WIDTH, good
from PIL import Image
from split_files import captions, grounding
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

import glipv2
from glipv2.checking.findings import CODE_OF_KIND, CODES
from glipv2.checking.opening import Input
from glipv2.checking.texts import long_texts
from glipv2.data import pictures
from glipv2.data.pictures import PictureFacts, PictureJob, read_pictures
from glipv2.data.truths import described
from glipv2.structures import Caption, Instances
from glipv2.tokenizer import Tokenizer


def with_boxes(*boxes: list[float]) -> dict[str, Any]:
    """The good file with these boxes in its first image alone."""
    content = good()
    content["annotations"] = [
        {"id": number, "image_id": 7, "category_id": 90, "bbox": box} for number, box in enumerate(boxes, start=1)
    ]
    return content


def test_a_good_file_has_no_finding_and_its_counts_are_right(folder: Path) -> None:
    report = report_of(folder, good())
    assert codes(report) == {}
    assert report.status == 0
    (split,) = report.splits
    assert (split.images, split.without_boxes, split.boxes) == (3, 1, 3)
    assert dict(split.classes) == {"dog": 1, "red circle": 2}
    assert dict(split.images_of) == {"dog": 1, "red circle": 2}
    assert dict(split.sizes) == {"small": 3}
    assert {side: count for side, count in split.sides.items() if count} == {4: 1, 8: 1, 16: 1}
    assert report.pictures_read == 3


def test_faults_and_doubts_have_their_codes(folder: Path) -> None:
    content = with_boxes([5, 5, 20, 15], [5, 5, 20, 15], [1, 1, 0.5, 9], [30, 20, 20, 5])
    report = report_of(folder, content)
    assert codes(report) == {"W311": 1, "W312": 1, "W313": 1}
    assert only(report, "W313").place == "image 7 ('a.png')"
    assert only(report, "W312").box == (1.0, 1.0, 1.5, 10.0)
    assert report.status == 0


def test_boxes_as_shares_of_the_image_are_an_error(folder: Path) -> None:
    assert "E305" in codes(report_of(folder, with_boxes([0.1, 0.1, 0.5, 0.5], [0.2, 0.2, 0.8, 0.8])))
    assert "E305" not in codes(report_of(folder, with_boxes([0, 0, 1.5, 1.0])))


def test_corners_in_place_of_sizes_are_an_error(folder: Path) -> None:
    """[left, top, right, bottom] of boxes in the lower right half read as sizes leave the image."""
    corners = [[20 + step, 15, 30 + step, 29] for step in range(10)]
    report = report_of(folder, with_boxes(*corners))
    assert "are they [left, top, right, bottom]?" in only(report, "E306").what


def test_a_broken_picture_is_told_with_its_file(folder: Path) -> None:
    (folder / "images" / "a.png").write_bytes((folder / "images" / "a.png").read_bytes()[:60])
    report = report_of(folder, good())
    assert codes(report) == {"E202": 1}
    assert only(report, "E202").place == "picture a.png"


def test_a_picture_of_another_size_is_told_apart_from_a_broken_one(folder: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT + 1)).save(folder / "images" / "a.png")
    assert codes(report_of(folder, good())) == {"E203": 1}


def test_a_picture_twice_in_a_split_is_a_warning_and_in_two_splits_an_error(folder: Path) -> None:
    (folder / "images" / "c.png").write_bytes((folder / "images" / "a.png").read_bytes())
    assert codes(report_of(folder, good())) == {"W205": 1}
    train, val = good(), good()
    train["images"], val["images"] = train["images"][:1], val["images"][2:]
    train["annotations"], val["annotations"] = train["annotations"][1:2], []
    report = checked(
        Input("train", written(folder, train, "train.json"), folder / "images"),
        Input("val", written(folder, val, "val.json"), folder / "images"),
    )
    assert codes(report) == {"E206": 1}
    assert only(report, "E206").what == "has the same bytes as a.png of split train"


def test_an_id_with_another_name_in_another_split_is_an_error(folder: Path) -> None:
    other = good()
    other["categories"][0]["name"] = "cat"
    report = checked(
        Input("train", written(folder, good(), "train.json"), folder / "images"),
        Input("train", written(folder, other, "other.json"), folder / "images"),
    )
    assert only(report, "E507").what.startswith("id 90 is 'cat', but 'dog' in")


def test_names_that_read_the_same_are_cut_or_unknown_are_told(folder: Path) -> None:
    content = good()
    content["categories"] += [
        {"id": 1, "name": "dog (toy)"},
        {"id": 2, "name": "a name of far more words than one prompt holds"},
        {"id": 3, "name": "犬"},
    ]
    report = report_of(folder, content, max_tokens=8)
    assert only(report, "W502").what == "'dog' = 'dog (toy)' read the same"
    assert "is cut to a prompt" not in only(report, "W504").what
    assert only(report, "W503").what.startswith("'a name of far more words than one prompt")


def test_the_prompts_of_training_are_told_with_their_tokens(folder: Path) -> None:
    report = report_of(folder, good())
    evaluation, *training = report.prompts
    assert evaluation.use == "evaluation"
    assert evaluation.text == "dog. red circle"
    assert evaluation.phrases == (("dog", ("dog",)), ("red circle", ("red", "circle")))
    assert evaluation.tokens == 6  # with the full stop and two special ones
    assert {example.use for example in training} == {"training"}


def test_captions_longer_than_the_model_reads_are_an_error(folder: Path) -> None:
    content = captions()
    content["annotations"][0]["caption"] = "dog " * 300
    assert "300" not in only(report_of(folder, content), "E404").place
    assert "has 302 tokens, the model reads 256" in only(report_of(folder, content), "E404").what


def test_texts_are_counted_in_tokens_where_a_character_is_several() -> None:
    signs = {sign: place for place, sign in enumerate(["<pad>", "<unk>", *sorted(ByteLevel.alphabet())])}
    backend = Backend(BPE(vocab=signs, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    caption = Caption("草の上の犬と赤いボール")
    truth = described(1, "a.png", (HEIGHT, WIDTH), Instances.empty(), (caption,))
    (finding,) = long_texts(truth, Tokenizer(backend, 32), "a.json")
    assert finding.code == "E404"
    assert "has 33 tokens, the model reads 32" in finding.what
    assert not list(long_texts(truth, Tokenizer(backend, 33), "a.json"))


def test_a_span_that_cuts_a_word_is_a_warning_and_one_of_blanks_an_error(folder: Path) -> None:
    for spans, code in (([[0, 4]], "W405"), ([[1, 2]], "E401"), ([[2, 5]], None)):
        content = deepcopy(grounding())
        content["images"][0]["tokens_positive_eval"] = [spans]
        content["annotations"][0]["tokens_positive"] = spans
        assert list(codes(report_of(folder, content))) == ([code] if code else []), spans


def test_of_many_findings_some_are_shown_and_all_are_counted(folder: Path) -> None:
    report = report_of(folder, with_boxes(*[[1, 1, 0, 5]] * 150, [1, 1, 5, 5]))
    assert codes(report) == {"E303": 150}
    assert len([one for one in report.findings.shown if one.code == "E303"]) == 100
    assert report.to_json()["counts"]["E303"]["count"] == 150


def test_the_report_is_plain_json(folder: Path) -> None:
    value = json.loads(json.dumps(report_of(folder, with_boxes([1, 1, 0, 5], [1, 1, 5, 5])).to_json()))
    assert value["errors"] == 1
    (finding,) = (one for one in value["findings"] if one["code"] == "E303")
    assert finding["place"] == "annotations[0] (id 1)"
    assert finding["remedy"]
    assert value["splits"][0]["classes"]["dog"] == {"boxes": 1, "images": 1}


def test_every_fault_of_a_reader_has_a_code() -> None:
    text = "".join(path.read_text("utf-8") for path in (Path(glipv2.__file__).parent / "data").rglob("*.py"))
    kinds = set(re.findall(r'(?:RecordError|faults\.add|add_several|faults\.remark)\(\s*"([^"]+)"', text))
    assert kinds - CODE_OF_KIND.keys() == set()
    assert set(CODE_OF_KIND.values()) <= CODES.keys()


# Pictures in parallel


def jobs_of(folder: Path, count: int) -> list[PictureJob]:
    found = []
    for number in range(count):
        path = folder / f"{number:03}.png"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
        found.append(PictureJob(path, (8, 8), folder / "file.json"))
    return found


def test_several_processes_read_what_one_reads_in_the_same_order(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, pictures.FEW + 1)
    jobs[3].path.write_bytes(b"")
    alone = list(read_pictures(jobs, 1))
    assert list(read_pictures(jobs, 2)) == alone
    assert [facts.path for facts in alone if facts.problem] == [jobs[3].path]
    assert len({facts.digest for facts in alone}) == len(jobs)


def test_a_picture_that_kills_its_process_is_told_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_of(tmp_path, pictures.FEW + 1)
    original, here = pictures.read_picture, os.getpid()

    def deadly(job: PictureJob) -> PictureFacts:
        if job.path == jobs[20].path and os.getpid() != here:
            os._exit(9)
        return original(job)

    monkeypatch.setattr(pictures, "read_picture", deadly)
    found = list(read_pictures(jobs, 2))
    assert [facts.path for facts in found] == [job.path for job in jobs]
    (problem,) = (facts.problem for facts in found if facts.problem)
    assert "ended the process that read it" in problem


def test_a_pipe_in_place_of_a_picture_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (facts,) = read_pictures([PictureJob(tmp_path / "a.png", None, tmp_path)], 1)
    assert "is no regular file" in facts.problem
