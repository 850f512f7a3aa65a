"""The views against the log: which rows are not what a replay makes of it."""

from __future__ import annotations

import uuid
from itertools import islice
from typing import TYPE_CHECKING

from artifactstore import schema
from artifactstore.connection import fetch, fetch_one

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artifactstore.connection import Connection, Row

_NAMED = 10  # rows of one view that are named; where more differ, that is said


class View:
    """A view as it is stored, and as a replay makes it.

    A damaged file may hold texts that are no Unicode and numbers where texts should be, so rows are compared
    by the type and the bytes of each value, and keys travel as bytes.
    """

    def __init__(self, name: str, stored: Connection, replayed: Connection) -> None:
        self.name = name
        self._stored, self._replayed = stored, replayed
        types = {str(row[1]): str(row[2]) for row in fetch(replayed, f"PRAGMA table_info({name})")}
        self._columns = tuple(types)
        self._key = schema.VIEW_KEYS[name].split(", ")
        self._is_text = [types[column] == "TEXT" for column in self._key]
        keys = (f"CAST({key} AS BLOB)" if types[key] == "TEXT" else key for key in self._key)
        images = (f"typeof({column}) || hex({column})" for column in types)
        self._select = f"SELECT {', '.join((*keys, *images))} FROM {name}"
        places = (f"{key} = {'CAST(? AS TEXT)' if types[key] == 'TEXT' else '?'}" for key in self._key)
        self._one = f" WHERE {' AND '.join(places)}"

    def differences(self) -> Iterator[str]:
        """The first rows that differ, each with its key and what is wrong."""
        found = self._differences()
        yield from islice(found, _NAMED)
        if next(found, None) is not None:
            yield f"{self.name}: more rows differ"

    def _differences(self) -> Iterator[str]:
        for key, images in self._rows(self._stored):
            expected = self._row(self._replayed, key)
            if expected is None:
                yield f"{self._named(key)}: the log knows no such row"
            elif expected != images:
                pairs = zip(self._columns, images, expected, strict=True)
                columns = [column for column, image, other in pairs if image != other]
                yield f"{self._named(key)}: {', '.join(columns)} not as in the log"
        for key, _ in self._rows(self._replayed):
            if self._row(self._stored, key) is None:
                yield f"{self._named(key)}: missing"

    def _rows(self, connection: Connection) -> Iterator[tuple[Row, Row]]:
        width = len(self._key)
        for row in connection.execute(f"{self._select} ORDER BY {schema.VIEW_KEYS[self.name]}"):
            yield row[:width], row[width:]

    def _row(self, connection: Connection, key: Sequence[object]) -> Row | None:
        row = fetch_one(connection, self._select + self._one, key)
        return None if row is None else row[len(self._key) :]

    def _named(self, key: Sequence[object]) -> str:
        parts = zip(self._key, key, self._is_text, strict=True)
        return f"{self.name} {', '.join(f'{column} {_shown(value, text)}' for column, value, text in parts)}"


def _shown(value: object, text: bool) -> str:
    if not isinstance(value, bytes):
        return str(value)
    if text:
        return ascii(value.decode(errors="backslashreplace"))
    return str(uuid.UUID(bytes=value)) if len(value) == 16 else value.hex()
