"""Differences as a picture: a line each, a dot a seed, the mean with its bootstrap interval, and zero."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from claim_results.differences import Difference

ROW, LEFT, WIDTH, TOP = 26, 330, 360, 12
INK, SOFT, DOT = "#1f2933", "#9aa5b1", "#3b78d8"


def drawn(rows: Sequence[tuple[str, Difference]]) -> str:
    """An SVG document; the axis is in points and the same for all rows."""
    values = [abs(value) for _, one in rows for value in (*one.values, one.low, one.high)]
    reach = 1.08 * (max(values, default=0) or 1.0)
    bottom = TOP + ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {bottom + 34}" '
        'font-family="sans-serif" font-size="12" role="img" aria-label="differences between arms">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for share in (-1, -0.5, 0, 0.5, 1):
        x = _x(share * reach / 1.08, reach)
        colour = INK if share == 0 else "#e4e7eb"
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" fill="{INK}">{share * reach / 1.08:+.1f}</text>'
        )
    parts.append(f'<text x="{LEFT + WIDTH / 2}" y="{bottom + 31}" text-anchor="middle" fill="{SOFT}">points</text>')
    for place, (title, one) in enumerate(rows):
        parts += _row(title, one, TOP + ROW * (place + 0.5), reach)
    return "\n".join([*parts, "</svg>\n"])


def _row(title: str, one: Difference, y: float, reach: float) -> list[str]:
    low, high, middle = (_x(value, reach) for value in (one.low, one.high, one.mean))
    dots = [f'<circle cx="{_x(value, reach):.1f}" cy="{y:.1f}" r="2.5" fill="{SOFT}"/>' for value in one.values]
    return [
        f'<text x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end" fill="{INK}">{escape(title)}</text>',
        *dots,
        f'<line x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}" stroke="{DOT}" stroke-width="2"/>',
        f'<circle cx="{middle:.1f}" cy="{y:.1f}" r="4" fill="{DOT}"/>',
    ]


def _x(value: float, reach: float) -> float:
    return LEFT + WIDTH * (value / reach + 1) / 2
