"""Inputs as they are read, whatever lies under their names."""

import hashlib
import os
from types import SimpleNamespace

import pytest

from modeling_chromagan.archive import local_store
from modeling_chromagan.archive.local_store import LocalStore, make_folder
from modeling_chromagan.errors import ImageLoadError, SettingError


def test_a_file_is_read_and_hashed(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    path.write_bytes(b"picture")
    digest = hashlib.sha256(b"picture").hexdigest()
    source = LocalStore(tmp_path).read(path)
    assert (source.content, source.sha256) == (b"picture", digest)
    source.check()
    monkeypatch.setattr(local_store, "READ_WHOLE", 3)
    source = LocalStore(tmp_path).read(path)
    assert (source.content, source.sha256) == (path, digest)
    source.check()


@pytest.mark.parametrize("change", ["write", "remove"])
def test_a_large_file_that_changes_while_it_is_read_is_noticed(tmp_path, monkeypatch, change):
    path = tmp_path / "a.tif"
    path.write_bytes(b"picture")
    monkeypatch.setattr(local_store, "READ_WHOLE", 3)
    source = LocalStore(tmp_path).read(path)
    path.write_bytes(b"another") if change == "write" else path.unlink()
    os.utime(path, ns=(1, 1)) if change == "write" else None
    with pytest.raises(ImageLoadError, match="was changed while it was read"):
        source.check()


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dangling.png").symlink_to("nowhere")
    for name, reason in {
        "gone.png": "no such file or directory",
        "dangling.png": "no such file or directory",
        "pipe.png": "is not a regular file",
        ".": "is not a regular file",
    }.items():
        with pytest.raises(ImageLoadError, match=f"{reason}$"):
            LocalStore(tmp_path).read(tmp_path / name)


def test_a_folder_that_cannot_be_made_is_a_setting(tmp_path):
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="cannot be made"):
        make_folder(tmp_path / "file" / "b")


@pytest.mark.parametrize(("flag", "reason"), [(os.ST_RDONLY, "file system is read-only"), (0, "permission denied")])
def test_a_folder_that_cannot_be_written_is_refused_with_the_reason(tmp_path, monkeypatch, flag, reason):
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=flag))
    with pytest.raises(SettingError, match=f"cannot be written: .*{reason}"):
        make_folder(tmp_path)
