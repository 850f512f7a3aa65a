"""The auditor's program as a second reader of everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from format.auditor import load_verify

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture(scope="session")
def verify() -> ModuleType:
    """`verify.py` of the auditor's kit."""
    return load_verify()
