"""The pages of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")])


def page_name(page: Path) -> str:
    """A page by its path in the project."""
    return str(page.relative_to(PROJECT))


def prose(page: Path) -> str:
    """The text of a page without its code blocks, whose lines may look like links or headings."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a link into a page can name: its headings, as the usual renderers of Markdown spell them."""
    headings = re.findall(r"^#{1,6} +(.+?) *#*$", prose(page), flags=re.MULTILINE)
    texts = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}
