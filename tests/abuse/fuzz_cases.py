"""Inputs at which a door once failed, by its name; each is tried in every run."""

from __future__ import annotations

from typing import Any

FOUND: dict[str, list[Any]] = {
    "glob": ["[\U000596cb-z]?/"],  # the refusal held an unprintable character
    "setting": [
        ("ARTIFACTSTORE_STORAGE_URL_OFF_SITE", "file:///srv/\udcff"),
        ("ARTIFACTSTORE_STORAGE_URL_OFF_SITE", "file:///srv/\ud800"),
    ],  # bytes that are no UTF-8
}
