"""The auditor's program, loaded as an auditor has it: from its file, not from the package."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import artifactstore.manifest

if TYPE_CHECKING:
    from types import ModuleType


@functools.cache
def load_verify() -> ModuleType:
    """`verify.py` of the auditor's kit."""
    path = Path(artifactstore.manifest.__file__).parent / "audit" / "verify.py"
    spec = importlib.util.spec_from_file_location("audit_verify_of_the_format", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
