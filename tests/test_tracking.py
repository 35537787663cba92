"""Claims about what trackers are given."""

from __future__ import annotations

from PIL import Image

from glipv2.tracking import on_equal_canvases


def test_a_gallery_has_pictures_of_one_size_and_loses_no_pixel() -> None:
    wide, high = Image.new("RGB", (30, 10), "red"), Image.new("RGB", (12, 20), "blue")
    first, second = on_equal_canvases([wide, high])
    assert first.size == second.size == (30, 20)
    assert first.crop((0, 0, 30, 10)).tobytes() == wide.tobytes()
    assert second.crop((0, 0, 12, 20)).tobytes() == high.tobytes()
    assert first.getpixel((5, 15)) == second.getpixel((20, 5)) == (255, 255, 255)


def test_an_empty_gallery_stays_empty() -> None:
    assert on_equal_canvases([]) == []
