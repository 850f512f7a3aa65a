"""Strategies for values that an encoding can hold."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st

_EDGES = [number for limit in (24, 2**8, 2**16, 2**32) for number in (limit - 1, limit)]
integers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([*_EDGES, *(-1 - number for number in _EDGES), 2**63 - 1, -(2**63)]),
    st.integers(-300, 300),
)


def _floats_of(form: str, bits: int) -> st.SearchStrategy[float]:
    """Floats that a short form can hold, which among all doubles are too rare to be drawn."""
    drawn = st.integers(0, (1 << bits) - 1).map(lambda raw: raw.to_bytes(bits // 8, "big"))
    return drawn.map(lambda data: float(struct.unpack(form, data)[0])).filter(lambda x: abs(x) < float("inf"))


floats = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), _floats_of(">e", 16), _floats_of(">f", 32)
)
texts = st.one_of(
    st.text(max_size=30), st.sampled_from(["a" * 23, "a" * 24, "ü" * 127, "ü" * 128, "b" * 256])
)
scalars = st.one_of(st.none(), st.booleans(), integers, floats, texts)


def documents(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists and maps of leaves, inside one another."""
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=6),
            st.dictionaries(texts, inner, max_size=6),
            st.lists(inner, min_size=24, max_size=26),
        ),
        max_leaves=40,
    )


values = documents(st.one_of(scalars, st.binary(max_size=30)))
metadata = st.dictionaries(texts, documents(scalars), max_size=5)
