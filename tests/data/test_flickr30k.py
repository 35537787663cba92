"""Claims about Flickr30k Entities: markup becomes spans, chains become boxes, faults are told."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from protocol_files import write_flickr, write_images

from glipv2.data.flickr30k import Flickr30kDataset, sentence
from glipv2.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_images(tmp_path / "images")
    write_flickr(tmp_path / "flickr")
    return tmp_path


def opened(folder: Path, split: str = "test", on_error: str = "raise") -> Flickr30kDataset:
    return Flickr30kDataset(folder / "flickr", folder / "images", split, on_error=on_error)


def test_phrases_are_the_words_of_chains_with_a_box(folder: Path) -> None:
    sample = opened(folder)[0]
    assert [caption.text for caption in sample.captions] == ["A dog and two men in a park .", "It shows a brown dog ."]
    first, second = sample.captions
    assert [first.text[begin:end] for phrase in first.phrases for begin, end in phrase.spans] == ["A dog", "two men"]
    assert [phrase.kinds for phrase in first.phrases] == [("animals",), ("people", "other")]
    assert [phrase.instances for phrase in first.phrases] == [(0,), (1, 2)]
    assert [phrase.instances for phrase in second.phrases] == [(0,)]
    assert (sample.image_id, sample.name) == (1, "1.png")


def test_sentences_end_at_newlines_alone_and_byte_order_marks_are_no_text(folder: Path) -> None:
    path = folder / "flickr/Sentences/1.txt"
    text = path.read_text().replace("in [/EN#9", "\u2028in [/EN#9").replace("\n", "\r\n")
    path.write_bytes(text.encode("utf-8-sig"))
    (folder / "flickr/test.txt").write_bytes("1\n2\n".encode("utf-8-sig"))
    first, second = opened(folder)[0].captions
    assert first.text == "A dog and two men \u2028in a park ."
    assert second.text == "It shows a brown dog ."


def test_boxes_count_from_zero(folder: Path) -> None:
    assert opened(folder)[0].instances.boxes.tolist()[0] == [2, 3, 29, 19]


def test_a_sentence_without_a_boxed_phrase_is_kept(folder: Path) -> None:
    assert [len(caption.phrases) for caption in opened(folder)[1].captions] == [1, 0]


def test_a_phrase_between_brackets_of_its_own_is_plain_text() -> None:
    caption = sentence("He said [sic] [/EN#3/people the boy]", {"3": [4]})
    assert caption.text == "He said [sic] the boy"
    assert caption.phrases[0].spans == ((14, 21),)


def cut_xml(folder: Path) -> None:
    path = folder / "flickr/Annotations/2.xml"
    path.write_text(path.read_text()[:50])


def typed_xml(folder: Path) -> None:
    path = folder / "flickr/Annotations/2.xml"
    path.write_text('<!DOCTYPE a [<!ENTITY b "c">]>' + path.read_text())


def open_markup(folder: Path) -> None:
    (folder / "flickr/Sentences/2.txt").write_text("[/EN#21/other A tree .\n")


def turned_box(folder: Path) -> None:
    path = folder / "flickr/Annotations/2.xml"
    path.write_text(path.read_text().replace("<xmax>25</xmax>", "<xmax>2</xmax>"))


def no_photograph(folder: Path) -> None:
    (folder / "images/2.png").unlink()


def no_sentences(folder: Path) -> None:
    (folder / "flickr/Sentences/2.txt").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut_xml, "can't be read"),
        (typed_xml, "document type"),
        (open_markup, "markup can't be read"),
        (turned_box, "ends before it begins"),
        (no_photograph, "2.png is missing"),
        (no_sentences, "can't be read"),
    ],
)
def test_a_broken_record_is_told_or_left_out(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=f"1 fault, first image 2.*{re.escape(message)}"):
        opened(folder)
    kept = opened(folder, on_error="skip")
    assert len(kept) == 1
    assert sum(kept.skipped.values()) == 1


def test_a_split_that_is_not_there_comes_with_the_nearest(folder: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'test'"):
        opened(folder, "tets")


def test_a_split_that_is_no_text_is_told(folder: Path) -> None:
    (folder / "flickr/test.txt").write_bytes(b"1\n\xff\n")
    with pytest.raises(UserError, match=r"test\.txt can't be read .*expected an image id a line, in UTF-8"):
        opened(folder)


def test_an_image_twice_in_a_split_is_refused(folder: Path) -> None:
    (folder / "flickr/test.txt").write_text("1\n2\n1\n")
    with pytest.raises(UserError, match="image 1 occurs twice"):
        opened(folder)


def test_the_shared_files_open(shared: Path) -> None:
    pack = shared / "data" / "coco_mini"
    for split in ("train", "val"):
        dataset = Flickr30kDataset(pack / "flickr", pack / f"images/{split}2017", split)
        for sample in (dataset[index] for index in range(len(dataset))):
            height, width = sample.image_size
            boxes = sample.instances.boxes
            assert (boxes >= 0).all()
            assert (boxes[:, 2] <= width).all()
            assert (boxes[:, 3] <= height).all()
            for caption in sample.captions:
                assert "EN#" not in caption.text
                assert all(phrase.instances and phrase.kinds for phrase in caption.phrases)
