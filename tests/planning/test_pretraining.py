"""Claims about the arithmetic of the pre-training, and that its page shows what the script says."""

from __future__ import annotations

from pathlib import Path

import pytest
from pretraining_plan import plans

PAGE = Path(__file__).parents[2] / "docs/scaling.md"


def test_published_speed_and_published_hours_agree() -> None:
    assert plans(30, 1.62, 32)["O365 + GoldG"].gpu_hours == pytest.approx(7400, rel=0.02)  # GLIP's own number


def test_the_page_shows_what_the_script_prints() -> None:
    page = PAGE.read_text("utf-8")
    for name, plan in plans(30, 1.62, 32).items():
        assert plan.line(name) in page
