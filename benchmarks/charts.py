"""Bars as SVG: for each work of a set the seconds of each peer, ours in another colour."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAMES, BARS, VALUES = 190, 420, 90  # widths of the three columns
ROW, HEAD, GAP = 20, 26, 14  # heights
STYLE = (
    "text{font:13px sans-serif;fill:#24292f}.head{font-weight:bold}.value{fill:#57606a}"
    "rect{fill:#8c959f}.ours{fill:#1f6feb}.lesser{fill:#d0d7de}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.value{fill:#9198a1}rect{fill:#6e7681}"
    ".ours{fill:#4493f8}.lesser{fill:#3d444d}}"
)


def chart(title: str, works: Mapping[str, Sequence[tuple[str, float, str]]]) -> str:
    """A chart of horizontal bars, fastest first; each work has its own scale.

    Args:
        works: by name, each peer's name, seconds and class: `ours`, `same` or `lesser` promise.
    """
    width = NAMES + BARS + VALUES
    parts: list[str] = []
    top = 0
    for work, bars in works.items():
        parts.append(f'<text class="head" x="0" y="{top + 17}">{escape(work)}</text>')
        top += HEAD
        longest = max(seconds for _, seconds, _ in bars)
        for name, seconds, kind in sorted(bars, key=lambda bar: bar[1]):
            length = max(1, round(BARS * seconds / longest))
            parts += [
                f'<text x="{NAMES - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>',
                f'<rect class="{kind}" x="{NAMES}" y="{top + 3}" width="{length}" height="14"/>',
                f'<text class="value" x="{NAMES + length + 6}" y="{top + 14}">{seconds:.2f} s</text>',
            ]
            top += ROW
        top += GAP
    lines = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}" height="{top}"'
        f' role="img" aria-label="{escape(title)}">\n<style>{STYLE}</style>\n{lines}\n</svg>\n'
    )
