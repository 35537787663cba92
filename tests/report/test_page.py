import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from glipv2.errors import UserError
from glipv2.report.charts import loss_terms
from glipv2.report.comparison import differing_keys, run_names
from glipv2.report.page import write_report
from glipv2.report.run import RunFolder

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "img", "br"}
METRICS = {
    "detection/box_ap": 0.7137,
    "detection/box_ap_50": 0.9021,
    "detection/box_ap_75": 0.8012,
    "detection/box_ap_small": 0.4242,
    "detection/box_ap_medium": 0.6571,
    "detection/box_ap_large": -1.0,
    "detection/box_ar_100": 0.8888,
    "detection/box_ap/red circle": 0.9555,
    f"detection/box_ap/{HOSTILE}": 0.1234,
    "detection/unseen/box_ap": 0.5055,
    "detection/unseen/box_ap/blue ring": 0.3333,
    "run/steps": 1500,
    "run/seconds": 1375.2,
    "run/images_per_second": 37.42,
    "run/parameters": 11834211,
}


class Page(HTMLParser):
    """The page as a browser reads it: elements, words, and whether every tag is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.words)


def write_curves(path: Path) -> None:
    columns = [
        "step",
        "epoch",
        "train/loss",
        "train/alignment",
        "train/matched_regions",
        "lr-AdamW/pg1",
        "detection/box_ap",
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for step in range(10, 500, 10):
            writer.writerow(
                {"step": step, "train/loss": 5 / step, "train/alignment": 3 / step, "train/matched_regions": 90}
            )
            writer.writerow({"step": step, "lr-AdamW/pg1": 1e-4})
        writer.writerow({"step": 490, "detection/box_ap": 0.7})


def make_run(folder: Path, learning_rate: float = 1e-4, ap: float = 0.7137) -> Path:
    """A run's folder with every part in it, hostile names included."""
    (folder / "gallery/val").mkdir(parents=True)
    (folder / "gallery/unseen").mkdir()
    (folder / "predictions").mkdir()
    (folder / "metrics.json").write_text(json.dumps({**METRICS, "detection/box_ap": ap}))
    write_curves(folder / "metrics.csv")
    (folder / "config.yaml").write_text(f"name: '{HOSTILE}'\noptim:\n  lr: {learning_rate}\n  name: adamw\n")
    environment = {
        "device": "NVIDIA & Sons",
        "glipv2": "0.1.0",
        "commit": None,
        "command": ["glipv2", "train", HOSTILE],
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    for name in ("gallery/val/00_scene.png", 'gallery/unseen/01_a" onerror="x<b>.png', "predictions/dog_1.png"):
        Image.new("RGB", (64, 32), (200, 30, 30)).save(folder / name)
    records = [{"image_id": 1, "file_name": "dog.jpg", "category_name": f"dog{HOSTILE}", "score": 0.8765}]
    images = [{"id": 1, "file_name": "dog.jpg"}]
    (folder / "predictions/predictions.json").write_text(json.dumps({"images": images, "annotations": records}))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "demo")


def test_the_page_asks_for_nothing_from_outside(run: Path, tmp_path: Path) -> None:
    page = Page(write_report([run], tmp_path / "r.html"))
    assert re.search(r"https?://", page.source) is None
    assert re.search(r"url\(|@import", page.source) is None
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    sources = [
        value for _, attributes in page.elements for key, value in attributes.items() if key in ("src", "srcset")
    ]
    assert len(sources) == 3
    assert all(source is not None and source.startswith("data:image/") for source in sources)
    links = [attributes["href"] for tag, attributes in page.elements if "href" in attributes]
    anchors = {f"#{attributes['id']}" for _, attributes in page.elements if "id" in attributes}
    assert links and set(links) <= anchors


def test_hostile_names_are_only_text(run: Path, tmp_path: Path) -> None:
    page = Page(write_report([run], tmp_path / "r.html", title=HOSTILE))
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert page.text.count(HOSTILE) >= 5  # title twice, class, config, command, found object
    assert 'a" onerror="x<b>' in page.text


def test_the_page_holds_the_numbers(run: Path, tmp_path: Path) -> None:
    text = Page(write_report([run], tmp_path / "r.html")).text
    for number in (
        "71.4",
        "90.2",
        "80.1",
        "42.4",
        "65.7",
        "95.5",
        "50.5",
        "33.3",
        "1\u202f500",
        "22.9 min",
        "37.4",
        "11.8 M",
    ):
        assert number in text.split("\n"), number
    assert "0.7137" in text  # as recorded
    assert "Here the gap is 20.8 points." in text
    assert "red circle" in text and "blue ring" in text
    assert f"dog{HOSTILE} 0.88" in text
    assert "NVIDIA & Sons" in text
    assert "lr: 0.0001" in text


def test_classes_are_sorted_best_first_and_can_be_sorted_by_a_click(run: Path, tmp_path: Path) -> None:
    page = Page(write_report([run], tmp_path / "r.html"))
    text = page.text
    assert text.index("red circle") < text.index(HOSTILE, text.index("red circle"))
    values = [attributes["data-value"] for _, attributes in page.elements if "data-value" in attributes]
    assert values == ["0.9555", "0.1234", "0.3333"]


def test_number_of_matched_regions_is_not_among_the_loss_terms(run: Path) -> None:
    assert loss_terms(RunFolder.read(run).curves) == ["train/loss", "train/alignment"]


def test_curves_are_drawn_for_loss_precision_and_learning_rate(run: Path, tmp_path: Path) -> None:
    page = Page(write_report([run], tmp_path / "r.html"))
    labels = [attributes["aria-label"] or "" for tag, attributes in page.elements if attributes.get("role") == "img"]
    assert [label.split(":")[0].split(" (")[0] for label in labels] == [
        "Training loss and its terms",
        "Average precision",
        "Learning rate",
        "Matched regions",
    ]


@pytest.mark.parametrize("part", ["config.yaml", "environment.json", "metrics.json", "metrics.csv"])
def test_a_folder_with_one_part_gives_a_page_that_names_the_others(run: Path, tmp_path: Path, part: str) -> None:
    sparse = tmp_path / "sparse"
    sparse.mkdir()
    (run / part).rename(sparse / part)
    text = Page(write_report([sparse], tmp_path / "r.html")).text
    note = next(line for line in text.split("\n") if line.startswith("Not in this folder"))
    for other in {"config.yaml", "environment.json", "metrics.json", "metrics.csv", "gallery", "predictions"} - {part}:
        assert other in note
    assert part not in note


def test_broken_files_are_told_on_the_page(run: Path, tmp_path: Path) -> None:
    (run / "metrics.json").write_text("{")
    (run / "gallery/val/00_scene.png").write_bytes(b"no picture")
    text = Page(write_report([run], tmp_path / "r.html")).text
    assert "metrics.json could not be read" in text
    assert "could not be read as a picture" in text


def test_the_same_run_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    first = write_report([run], tmp_path / "a.html").read_bytes()
    assert write_report([run], tmp_path / "b.html").read_bytes() == first


def test_writing_leaves_no_other_file_and_replaces_the_old_page(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "r.html"
    assert write_report([run], output) == output
    output.write_text("old")
    write_report([run], output)
    assert output.read_text("utf-8").startswith("<!doctype html>")
    assert [path.name for path in output.parent.iterdir()] == ["r.html"]


def test_a_failed_write_leaves_the_old_page_and_no_other_file(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "pages" / "r.html"
    write_report([run], output)
    before = output.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("glipv2.report.page.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report([run], output)
    assert output.read_bytes() == before
    assert [path.name for path in output.parent.iterdir()] == ["r.html"]


def test_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one run folder"):
        write_report([], tmp_path / "r.html")


def test_several_runs_are_compared_with_the_best_marked_and_differing_keys_alone(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "one", 1e-4, 0.61), make_run(tmp_path / "two", 3e-4, 0.72)]
    page = Page(write_report(runs, tmp_path / "r.html"))
    assert page.text.index("61.0") < page.text.index("72.0") < page.text.index("optim.lr")
    assert re.search(r'<td class="number best"[^>]*>72\.0</td>', page.source)
    assert not re.search(r'<td class="number best"[^>]*>61\.0</td>', page.source)
    assert differing_keys(run_names([RunFolder.read(run) for run in runs])) == {"optim.lr": ["0.0001", "0.0003"]}
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def test_runs_of_the_same_name_are_told_apart_and_a_run_given_twice_is_one(tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "a/run"), make_run(tmp_path / "b/run")
    assert list(run_names([RunFolder.read(first), RunFolder.read(second)])) == ["a/run", "b/run"]
    page = Page(write_report([first, tmp_path / "b/../a/run"], tmp_path / "r.html"))
    assert "Comparison" not in page.text


def test_a_large_gallery_keeps_the_page_small_and_says_what_is_left_out(run: Path, tmp_path: Path) -> None:
    for number in range(2, 40):
        Image.effect_noise((640, 346), 80).save(run / f"gallery/val/{number:02d}_noise.png")
    path = write_report([run], tmp_path / "r.html")
    assert path.stat().st_size < 8_000_000
    assert "24 of 39 pictures" in Page(path).text
