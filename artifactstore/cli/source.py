"""Standard input as a source of bytes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from artifactstore.errors import InvalidInputError

if TYPE_CHECKING:
    from typing import BinaryIO

STANDARD_INPUT = "-"


def standard_input() -> BinaryIO:
    """The bytes that are piped into the process.

    Raises:
        InvalidInputError: the process was started with stdin closed.
    """
    if sys.stdin is None:
        raise InvalidInputError("there is nothing to read: stdin is closed", code="usage")
    return sys.stdin.buffer
