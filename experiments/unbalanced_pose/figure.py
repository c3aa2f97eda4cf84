"""The table as a figure: every arm's error with its interval, one panel for each task."""

from collections.abc import Mapping, Sequence
from html import escape

from .arms import ORACLES, OURS
from .table import Row

_WIDTH, _LEFT, _RIGHT, _LINE, _HEAD = 720, 190, 30, 24, 46
_COLOURS = {"ours": "#b5442f", "oracle": "#7a7a7a", "other": "#2f5d8a"}


def svg(tasks: Mapping[str, Sequence[Row]], titles: Mapping[str, str]) -> str:
    """The figure as an SVG that needs no other files.

    Args:
        tasks: the rows of every task.
        titles: title of each task's panel, with the unit of its error.
    """
    parts, y = [], 10
    for name, rows in tasks.items():
        top = 1.05 * max(row.rare.high if row.networks > 1 else row.rare.mean for row in rows)
        scale = (_WIDTH - _LEFT - _RIGHT) / top
        parts.append(f'<text x="10" y="{y + 18}" font-weight="bold">{escape(titles[name])}</text>')
        bottom = y + _HEAD - 12 + _LINE * len(rows)
        for tick in _ticks(top):
            x = _LEFT + tick * scale
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y + 30}" y2="{bottom}" stroke="#e2e2e2"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle" fill="#666">{tick:g}</text>')
        for i, row in enumerate(rows):
            colour = _COLOURS["ours" if row.arm in OURS else "oracle" if row.arm in ORACLES else "other"]
            middle = y + _HEAD + _LINE * i
            low, high = (_LEFT + min(max(value, 0.0), top) * scale for value in (row.rare.low, row.rare.high))
            at = _LEFT + row.rare.mean * scale
            parts.append(f'<text x="{_LEFT - 10}" y="{middle + 4}" text-anchor="end">{escape(row.arm)}</text>')
            parts.append(
                f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="{colour}" stroke-width="3"/>'
            )
            parts.append(f'<circle cx="{at:.1f}" cy="{middle}" r="4.5" fill="{colour}"/>')
        y = bottom + 34
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" font-family="sans-serif" font-size="13">'
    )
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{y}" fill="white"/>', *parts, "</svg>\n"])


def _ticks(top: float) -> list[float]:
    """Four to eight round numbers from 0 to ``top``."""
    step = next(s for k in range(-4, 5) for s in (10.0**k, 2 * 10.0**k, 5 * 10.0**k) if top / s <= 8)
    return [round(i * step, 6) for i in range(int(top / step) + 1)]
