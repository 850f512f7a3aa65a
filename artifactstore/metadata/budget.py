"""How much work one check of a document may be: schemas and metadata come from outside and may be hostile."""

from __future__ import annotations

from artifactstore.errors import InvalidInputError

STEPS_MAX = 500_000  # about a microsecond each, and fifty times what an honest document needs
# What costs more than to compare one character:
KEYWORD_STEPS = 10  # to look at one rule
DESCENT_STEPS = 5  # to hold a value against one more schema
COMPARED_STEPS = 5  # to write down a value, so that it can be compared


class Budget:
    """Counts steps, and refuses the document when there are none left."""

    def __init__(self, subject: str, steps: int = STEPS_MAX) -> None:
        self._subject = subject
        self._left = steps

    def spend(self, steps: int) -> None:
        """Pay for work, before or right after it is done.

        Raises:
            InvalidInputError: the document costs more than any honest one.
        """
        self._left -= steps
        if self._left < 0:
            raise too_complex(self._subject)


def too_complex(subject: str) -> InvalidInputError:
    """The refusal of a document that takes too much work."""
    return InvalidInputError(
        f"{subject} takes too much work to check",
        hint="simplify the schema: fewer alternatives, simpler patterns, shorter texts",
        code="schema-too-complex",
    )
