"""How values are written for people and for pipes."""

from __future__ import annotations

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

# What would break a line of a table; the rest of a name is exact in a pipe.
_BREAKS = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)))


def for_terminal(text: str) -> str:
    """The text with everything escaped that a terminal would act upon or show as something else."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def for_pipe(text: str) -> str:
    """The text as one field of one line: only control characters and line separators are escaped."""
    if text.isprintable():
        return text
    return "".join(_escaped(character) if character in _BREAKS else character for character in text)


def for_json_on_terminal(text: str) -> str:
    """A JSON document with the same meaning in which nothing acts upon a terminal.

    What needs it stands inside strings, where JSON allows the escape.
    """
    return "".join(
        character if character == "\n" or character.isprintable() else _json_escaped(character)
        for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _json_escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[start : start + 2].hex()}" for start in range(0, len(units), 2))


def width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """The text with blanks up to a width, on its left side if it shall stand on the right."""
    blanks = " " * (columns - width(text))
    return blanks + text if right else text + blanks


def size_text(size: int) -> str:
    """A size for people: `17 B`, `1.5 MiB`."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in _UNITS:
        value /= 1024
        # 1023.95 would be rounded up to 1024.0.
        if value < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{value:.1f} {unit}"


def moment_text(moment: int) -> str:
    """A moment for people, to the second: `2026-11-22 20:15:00Z`."""
    from artifactstore.moment import format_moment

    return f"{format_moment(moment)[:19].replace('T', ' ')}Z"


def count_text(count: int, noun: str) -> str:
    """A count with its noun: `1 file`, `2 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
