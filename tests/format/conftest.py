"""The auditor's program as a second reader of everything."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import artifactstore.manifest

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture(scope="session")
def verify() -> ModuleType:
    """`verify.py` of the auditor's kit, loaded as an auditor has it: from its file, not from the package."""
    path = Path(artifactstore.manifest.__file__).parent / "audit" / "verify.py"
    spec = importlib.util.spec_from_file_location("audit_verify_of_the_format", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
