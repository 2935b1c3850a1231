"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder CHROMAGAN_DATA names; skips where it is unset, fails where it is set and empty of what we need."""
    value = os.environ.get("CHROMAGAN_DATA")
    if not value:
        pytest.skip("CHROMAGAN_DATA is unset: no local photographs or data sets")
    root = Path(value)
    if not (root / "tiny-imagenet").is_dir():
        pytest.fail(f"CHROMAGAN_DATA={value} has no folder tiny-imagenet")
    return root
