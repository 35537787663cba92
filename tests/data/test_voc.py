"""Claims about Pascal VOC folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from formats import VOC_CROWD, VOC_OBJECT, write_voc

from glipv2.data.faults import RecordError
from glipv2.data.voc import VocDataset, read_xml, voc_splits
from glipv2.errors import UserError


def test_corners_count_pixels_from_one_and_belong_to_the_box(tmp_path: Path) -> None:
    sample = VocDataset(write_voc(tmp_path), "train")[0]
    assert (sample.image_id, sample.name) == (7, "7.png")
    assert sample.instances.boxes.tolist() == [[2, 4, 12, 14], [0, 0, 40, 20]]


def test_difficult_objects_are_crowds(tmp_path: Path) -> None:
    assert VocDataset(write_voc(tmp_path), "train").truth(0).is_crowd.tolist() == [False, True]


def test_names_are_those_of_every_split(tmp_path: Path) -> None:
    dataset = VocDataset(write_voc(tmp_path), "val")
    assert (dataset.vocabulary.names, dataset.vocabulary.category_ids) == (("cup", "dog"), (1, 2))
    (tmp_path / "labelmap.txt").write_text("# label:color:parts:actions\nbackground:0,0,0::\ndog:1,2,3::\ncup:::\n")
    assert VocDataset(tmp_path, "val").vocabulary.names == ("dog", "cup")


def test_lists_of_a_class_are_no_splits(tmp_path: Path) -> None:
    assert set(voc_splits(write_voc(tmp_path))) == {"train", "val"}


def test_the_size_is_the_pictures_where_the_file_has_none(tmp_path: Path) -> None:
    write_voc(tmp_path, size="<size><width>0</width><height>0</height></size>")
    assert VocDataset(tmp_path, "train").truth(0).image_size == (20, 40)
    write_voc(tmp_path, size="")
    assert VocDataset(tmp_path, "train")[0].image_size == (20, 40)


def test_pictures_may_lie_below_the_folder_that_the_file_names(tmp_path: Path) -> None:
    write_voc(tmp_path / "voc")
    (tmp_path / "pictures").mkdir()
    shutil.move(tmp_path / "voc" / "JPEGImages", tmp_path / "pictures" / "VOC")
    assert VocDataset(tmp_path / "voc", "train", tmp_path / "pictures")[0].name == "VOC/7.png"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<xmax>12</xmax>", "<xmax>2</xmax>", "Annotations/7.xml: object 1: bbox [2.0, 4.0, 0.0, 10.0] has width 0.0"),
        ("<xmax>12</xmax>", "<xmax>far</xmax>", "xmax is 'far', expected a number"),
        ("<xmax>12</xmax>", "<xmax>nan</xmax>", "xmax is 'nan', expected a number"),
        ("<xmax>12</xmax>", "", "xmax is None, expected a number"),
        ("bndbox", "polygon", "has no bndbox"),
        ("<xmin>3</xmin><ymin>5</ymin><xmax>12</xmax>", "<xmin>50</xmin><ymin>5</ymin><xmax>60</xmax>", "lies outside"),
    ],
)
def test_a_faulty_object_is_told_by_file_and_skipped_once(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_voc(tmp_path, VOC_OBJECT.replace(old, new) + VOC_CROWD)
    with pytest.raises(UserError) as caught:
        VocDataset(tmp_path, "train")
    assert message in str(caught.value)
    assert list(VocDataset(tmp_path, "train", on_error="skip").skipped.values()) == [1]


def test_an_unknown_name_is_told_with_the_nearest(tmp_path: Path) -> None:
    write_voc(tmp_path)
    (tmp_path / "labelmap.txt").write_text("dogs\ncup\n")
    with pytest.raises(UserError, match="name is 'dog'; did you mean 'dogs'"):
        VocDataset(tmp_path, "train")


@pytest.mark.parametrize("text", ["", "<annotation>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', None])
def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path, text: str | None) -> None:
    write_voc(tmp_path)
    path = tmp_path / "Annotations" / "9.xml"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UserError, match=r"1 fault, first Annotations/9\.xml"):
        VocDataset(tmp_path, "val")


def test_an_unknown_split_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no list of the split 'trian'.*did you mean 'train'"):
        VocDataset(write_voc(tmp_path), "trian")
    with pytest.raises(UserError, match="expected lists as"):
        VocDataset(tmp_path / "JPEGImages", "train", tmp_path)


def test_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="masks of Pascal VOC are not read"):
        VocDataset(write_voc(tmp_path), "train", with_masks=True)


@pytest.mark.parametrize("encoding", ["iso-8859-1", "utf-16", "utf-8-sig"])
def test_files_are_read_in_the_encoding_that_they_declare(tmp_path: Path, encoding: str) -> None:
    write_voc(tmp_path)
    declared = encoding.removesuffix("-sig")
    for path in (tmp_path / "Annotations").glob("*.xml"):
        text = path.read_text().replace("<name>dog</name>", "<name>café</name>")
        path.write_bytes(f'<?xml version="1.0" encoding="{declared}"?>{text}'.encode(encoding))
    assert "café" in VocDataset(tmp_path, "train").vocabulary.names
    path.write_bytes('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>'.encode(encoding))
    with pytest.raises(RecordError, match="declares a document type"):
        read_xml(path)
    path.write_text('<?xml version="1.0" encoding="utf-88"?><annotation/>')
    with pytest.raises(RecordError, match="unknown encoding: utf-88"):
        read_xml(path)
