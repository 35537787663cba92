import base64
import io
import random
from pathlib import Path

import pytest
from PIL import Image

from glipv2.report.pictures import byte_limit, inline_picture


def noise(width: int, height: int) -> Image.Image:
    """Pixels that no format can compress well."""
    return Image.frombytes("RGB", (width, height), random.Random(0).randbytes(3 * width * height))


def content(uri: str) -> bytes:
    return base64.b64decode(uri.split(",")[1])


def test_a_flat_picture_stays_exact(tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (10, 20, 30)).save(tmp_path / "a.png")
    picture = inline_picture(tmp_path / "a.png", 100_000)
    assert picture is not None and picture.uri.startswith("data:image/png;base64,")
    decoded = Image.open(io.BytesIO(content(picture.uri)))
    assert decoded.size == (picture.width, picture.height) == (300, 200)
    assert decoded.getpixel((5, 5)) == (10, 20, 30)


def test_a_large_picture_is_shrunk_into_its_limit(tmp_path: Path) -> None:
    noise(1500, 750).save(tmp_path / "a.png")
    picture = inline_picture(tmp_path / "a.png", 150_000)
    assert picture is not None and picture.uri.startswith("data:image/jpeg;base64,")
    assert len(content(picture.uri)) <= 150_000
    assert picture.width == 2 * picture.height < 1500


def test_a_transparent_picture_is_read(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (1, 2, 3, 0)).save(tmp_path / "a.png")
    assert inline_picture(tmp_path / "a.png", 1000) is not None


def test_what_is_no_picture_gives_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    noise(64, 64).save(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:500])
    assert inline_picture(tmp_path / "a.png", 1000) is None
    assert inline_picture(tmp_path / "b.png", 1000) is None


@pytest.mark.parametrize("count", [0, 1, 50, 160])
def test_all_pictures_together_leave_the_page_below_8_megabytes(count: int) -> None:
    assert count * byte_limit(count) * 4 / 3 < 7_500_000
