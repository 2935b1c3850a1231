"""Fixtures of this room."""

import fsspec
import pytest


@pytest.fixture
def memory():
    """An empty object store in memory."""
    file_system = fsspec.filesystem("memory", use_listings_cache=False)
    file_system.store.clear()
    file_system.pseudo_dirs[:] = [""]
    yield file_system
    file_system.store.clear()
