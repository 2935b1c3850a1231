"""Sources are looked for in their order: the path, a local copy, the Hub."""

from pathlib import Path

import pytest

from modeling_chromagan.errors import SettingError
from modeling_chromagan.sources.picture_collections import DataSet, PictureFolder
from modeling_chromagan.training.data.found_source import find_source
from modeling_chromagan.training.recipe import Source


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """What CHROMAGAN_DATA names, with one folder in it."""
    monkeypatch.setenv("CHROMAGAN_DATA", str(tmp_path))
    (tmp_path / "pictures").mkdir()
    return tmp_path


def test_a_local_copy_comes_before_the_hub(root):
    on_hub = "someone/on-the-hub"
    assert find_source("x", Source(path=on_hub, local="pictures")).collection == PictureFolder(root / "pictures")
    assert find_source("x", Source(path=on_hub, local="others"), 3).collection == DataSet(on_hub, 3)


def test_a_path_comes_before_a_local_copy(root, monkeypatch):
    (root / "own").mkdir()
    assert find_source("x", Source(path=str(root / "own"), local="pictures")).collection == PictureFolder(root / "own")
    monkeypatch.setenv("HOME", str(root))  # no shell expands what stands behind an equals sign
    assert find_source("x", Source(path="~/own", local="pictures")).collection == PictureFolder(root / "own")


def test_nothing_to_go_by_is_named(root):
    with pytest.raises(SettingError, match=rf"^data\.sources\.x: no folder 'none' in CHROMAGAN_DATA \({root}\)"):
        find_source("x", Source(local="none"))
