"""How much work one check of a document may be: schemas and metadata come from outside and may be hostile."""

from __future__ import annotations

from artifactstore.errors import InvalidInputError

STEPS_MAX = 1_000_000  # less than a second, and a hundred times what an honest document needs
KEYWORD_STEPS = 20  # what looking at one rule costs beside comparing one character


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
