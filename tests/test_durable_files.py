"""A file is there as a whole, on the disk, or as it was before."""

import errno
import os

import pytest

from modeling_chromagan import durable_files
from modeling_chromagan.durable_files import write_text


def test_a_text_replaces_the_one_before(tmp_path):
    path = tmp_path / "report.json"
    for text in ("one", "zwölf"):
        write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_its_name_only_when_it_is_on_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_text(path, "before")
    flushed = []

    def fail(descriptor):
        flushed.append(path.read_text())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable_files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "after")
    assert flushed == ["before"]
    assert path.read_text() == "before"
