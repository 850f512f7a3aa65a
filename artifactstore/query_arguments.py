"""What a question to the views may be asked with: ids and their first digits, limits, cursors."""

from __future__ import annotations

from artifactstore import codec, fields
from artifactstore.digest import is_lower_hex
from artifactstore.errors import InvalidInputError
from artifactstore.paths import printable

LIMIT_MAX = 1000  # items of one page
MIN_PREFIX = 4  # hex digits of a shortened id or digest
ID_TEXT = 36  # characters of a whole id


def id_range(text: str, *, what: str) -> tuple[bytes, bytes]:
    """The lowest and the highest id that an id or the first digits of one can mean.

    Args:
        what: whose id it is: `package`, `hold`.
    Raises:
        InvalidInputError: it is neither.
    """
    digits = fields.check_text(text, field=f"the id of a {what}").replace("-", "").lower()
    if len(text) > ID_TEXT or not MIN_PREFIX <= len(digits) <= 32 or not is_lower_hex(digits):
        raise InvalidInputError(
            f"not a {what} id: {text[:80]!r}",
            hint=f"give the UUID or at least its first {MIN_PREFIX} digits",
        )
    return prefix_range(digits, 16)


def prefix_range(digits: str, size: int) -> tuple[bytes, bytes]:
    """The lowest and the highest value of so many bytes that begins with these hex digits."""
    width = 2 * size
    return bytes.fromhex(digits.ljust(width, "0")), bytes.fromhex(digits.ljust(width, "f"))


def check_limit(limit: int) -> None:
    """Refuse a page size that is not one."""
    if not 1 <= fields.check_integer(limit, field="a limit") <= LIMIT_MAX:
        raise InvalidInputError(f"a limit is 1 to {LIMIT_MAX}, not {codec.integer_text(limit)}")


def check_integer(value: int | None, *, name: str) -> None:
    """Refuse what is no whole number, or one that SQLite cannot compare."""
    if value is None:
        return
    if not codec.INTEGER_MIN <= fields.check_integer(value, field=name) <= codec.INTEGER_MAX:
        raise InvalidInputError(f"{name} {codec.integer_text(value)} does not fit into 64 bits")


def bad_cursor(cursor: str) -> InvalidInputError:
    """The refusal of a cursor that no page gave."""
    return InvalidInputError(
        f"not a cursor: {printable(cursor)}",
        hint="hand back `next_cursor` of the page before",
        code="bad-cursor",
    )
