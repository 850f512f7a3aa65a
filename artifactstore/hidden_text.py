"""Characters that are not seen, or reorder what is: by them two names look alike and are not the same."""

from __future__ import annotations

import re

# Everything of the category Cf, and what is invisible besides: fillers of Hangul, inherent vowels of Khmer,
# the grapheme joiner, tags, and what Unicode keeps for more of the kind.
_HIDDEN = (
    "\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180e\u200b"
    "\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
# Persian, the scripts of India and emoji need joiners; emoji and Han also need variants. Both belong to a
# character that is not ASCII, or to the 1 of a keycap; between Latin letters they only hide.
_JOINERS = "\u200c\u200d"
_VARIANTS = "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_SEEN = rf"[^\x00-\x7f{_JOINERS}]"
_PATTERN = (
    rf"[{_HIDDEN}]|(?<!{_SEEN})[{_JOINERS}]|[{_JOINERS}](?!{_SEEN})"
    rf"|(?<!{_SEEN})[{_VARIANTS}](?!\u20e3)|(?<=[{_VARIANTS}])[{_VARIANTS}]"
)


def hidden_character(text: str) -> str | None:
    """The first character of that kind, as `U+200B`; None without one."""
    # Compiled when it is needed, which takes milliseconds that most commands never do.
    found = None if text.isascii() else re.search(_PATTERN, text)
    return None if found is None else f"U+{ord(found.group()):04X}"
