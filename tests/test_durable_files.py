"""A file is there as a whole, on the disk, or as it was before."""

import errno
import io
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modeling_chromagan import durable_files
from modeling_chromagan.durable_files import (
    append_line,
    filling,
    flush,
    remove_abandoned,
    replacing,
    replacing_folder,
    write_file,
    write_text,
)


def failing(number: int):
    """Stands for a function of the operating system that answers with an error."""

    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return fail


def write_and_fail(path: Path, failure: BaseException) -> None:
    with replacing(path) as file:
        file.write(b"in the buffer, which closing would write")
        raise failure


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_text_replaces_the_one_before(tmp_path):
    path = tmp_path / "report.json"
    for text in ("one", "zwölf"):
        write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made(tmp_path):
    write_file(tmp_path / "a" / "b" / "c", b"content")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"content"


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
    assert names_in(tmp_path) == ["report.json"]


def test_file_and_folder_are_flushed_around_the_rename(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace

    def note_flush(descriptor):
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def note_rename(self, target):
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(durable_files.os, "fsync", note_flush)
    monkeypatch.setattr(Path, "replace", note_rename)
    write_text(tmp_path / "a", "text")
    assert events == ["file", "rename", "folder"]


def test_libraries_cannot_write_past_the_checks(tmp_path):
    with replacing(tmp_path / "a") as file:
        with pytest.raises(io.UnsupportedOperation):
            file.fileno()
        with pytest.raises(io.UnsupportedOperation):
            np.arange(10).tofile(file)
        file.write(b"0123456789")
        file.seek(4)
        assert file.read(2) == b"45"
        file.seek(12)
        file.write(memoryview(np.full(3, 0x6161, np.uint16)))
    assert (tmp_path / "a").read_bytes() == b"0123456789\0\0aaaaaa"


def test_short_writes_are_continued(tmp_path, monkeypatch):
    class Slow(io.FileIO):
        def write(self, data):
            return super().write(bytes(data[:1000]))

    monkeypatch.setattr(durable_files.io, "FileIO", Slow)
    write_file(tmp_path / "a", bytes(range(256)) * 100)
    assert (tmp_path / "a").read_bytes() == bytes(range(256)) * 100


@pytest.mark.parametrize("shown", [-1, 1])
def test_a_size_that_is_not_what_was_written_is_an_error(tmp_path, monkeypatch, shown):
    class Forgetful(io.FileIO):
        def write(self, data):
            super().write(bytes(data[:-1]) if shown < 0 else bytes(data) + b"+")
            self.seek(len(data))
            return len(data)

    monkeypatch.setattr(durable_files.io, "FileIO", Forgetful)
    with pytest.raises(OSError, match=f"the file has {1000 + shown:,} bytes after 1,000 were written"):
        write_file(tmp_path / "a", bytes(1000))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), MemoryError(), ValueError("of an encoder")])
def test_an_interruption_leaves_nothing(tmp_path, failure):
    with pytest.raises(type(failure)):
        write_and_fail(tmp_path / "a", failure)
    assert names_in(tmp_path) == []


def test_an_interruption_on_a_full_disk_is_not_hidden_by_its_error(tmp_path, monkeypatch):
    class Full(io.FileIO):
        write = failing(errno.ENOSPC)

    monkeypatch.setattr(durable_files.io, "FileIO", Full)
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(tmp_path / "a", KeyboardInterrupt())
    assert names_in(tmp_path) == []


# Network shares, and other file systems that cannot do everything.


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EPERM, errno.ENOSYS])
def test_a_file_system_that_cannot_flush_is_written_all_the_same(tmp_path, monkeypatch, number):
    monkeypatch.setattr(durable_files.os, "fsync", failing(number))
    write_text(tmp_path / "a", "text")
    append_line(tmp_path / "b", "line")
    with replacing_folder(tmp_path / "c") as folder:
        (folder / "d").write_text("text")
    assert names_in(tmp_path) == ["a", "b", "c"]


def test_a_folder_that_cannot_be_opened_is_not_flushed(tmp_path, monkeypatch):
    open_file = os.open

    def open_files_only(path, *arguments):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return open_file(path, *arguments)

    monkeypatch.setattr(durable_files.os, "open", open_files_only)
    write_text(tmp_path / "a", "text")
    assert (tmp_path / "a").read_text() == "text"


def test_a_disk_that_fails_while_the_folder_is_flushed_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(durable_files.os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        flush(tmp_path)


@pytest.mark.parametrize("number", [errno.EEXIST, errno.EPERM, errno.ENOTSUP, errno.EINVAL])
@pytest.mark.parametrize("before", [None, "before"])
def test_where_renaming_replaces_nothing_the_old_file_goes_first(tmp_path, monkeypatch, number, before):
    rename = Path.rename

    def rename_to_new_names(self, target):
        if os.path.exists(target):
            raise OSError(number, os.strerror(number))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", rename_to_new_names)
    monkeypatch.setattr(Path, "rename", rename_to_new_names)
    if before:
        (tmp_path / "a").write_text(before)
    write_text(tmp_path / "a", "after")
    assert (tmp_path / "a").read_text() == "after"
    assert names_in(tmp_path) == ["a"]


@pytest.mark.parametrize("before", [None, "before"])
def test_where_nothing_can_be_renamed_the_old_file_stays(tmp_path, monkeypatch, before):
    monkeypatch.setattr(Path, "replace", failing(errno.ENOTSUP))
    monkeypatch.setattr(Path, "rename", failing(errno.ENOTSUP))
    if before:
        (tmp_path / "a").write_text(before)
    with pytest.raises(OSError, match="the file system does not rename files"):
        write_text(tmp_path / "a", "after")
    assert names_in(tmp_path) == (["a"] if before else [])
    assert not before or (tmp_path / "a").read_text() == before


def test_a_file_that_may_not_be_replaced_stays(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("before")
    monkeypatch.setattr(Path, "replace", failing(errno.EPERM))
    unlink = Path.unlink
    monkeypatch.setattr(
        Path, "unlink", lambda self, **options: failing(errno.EPERM)() if self.name == "a" else unlink(self, **options)
    )
    with pytest.raises(PermissionError):
        write_text(tmp_path / "a", "after")
    assert names_in(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "before"


def kill_while_writing(path: Path) -> None:
    """Has another process killed that is writing a file."""
    code = (
        "import os, signal; from pathlib import Path; from modeling_chromagan.durable_files import replacing\n"
        f"with replacing(Path({str(path)!r})) as file:\n"
        "    file.write(bytes(10_000_000)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL


@pytest.mark.skipif(durable_files.fcntl is None, reason="no locks on this system")
def test_what_a_kill_left_goes_and_what_is_being_written_stays(tmp_path):
    kill_while_writing(tmp_path / "a")
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    (tmp_path / ".other.part").touch()
    (tmp_path / "notes").write_text("here")
    with replacing(tmp_path / "b") as file:
        file.write(b"whole")
        remove_abandoned(tmp_path)
        assert len(names_in(tmp_path)) == 3
    assert names_in(tmp_path) == [".other.part", "b", "notes"]
    assert (tmp_path / "b").read_bytes() == b"whole"
    remove_abandoned(tmp_path / "gone")


def test_a_file_that_was_taken_for_abandoned_is_begun_again(tmp_path, monkeypatch):
    hold, calls = durable_files._hold, []

    def remove_first(descriptor, path):
        calls.append(path)
        if len(calls) == 1:
            path.unlink()
        return hold(descriptor, path)

    monkeypatch.setattr(durable_files, "_hold", remove_first)
    write_file(tmp_path / "a", b"content")
    assert (len(calls), names_in(tmp_path)) == (2, ["a"])
    assert (tmp_path / "a").read_bytes() == b"content"


# Records


def test_lines_are_added_and_half_a_line_stays_alone(tmp_path):
    path = tmp_path / "record.jsonl"
    append_line(path, "one")
    append_line(path, "zwölf")
    with path.open("ab") as file:
        file.write(b"cut of")
    append_line(path, "three")
    assert path.read_text(encoding="utf-8").splitlines() == ["one", "zwölf", "cut of", "three"]


def test_a_line_that_cannot_be_written_is_not_there(tmp_path, monkeypatch):
    path = tmp_path / "record.jsonl"
    append_line(path, "one")
    write, parts = os.write, []

    def write_a_part(descriptor, data):
        parts.append(data)
        if len(parts) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:2])

    monkeypatch.setattr(durable_files.os, "write", write_a_part)
    with pytest.raises(OSError, match="No space left"):
        append_line(path, "two")
    assert path.read_text() == "one\n"


# Folders


def test_a_folder_replaces_the_one_before(tmp_path):
    for content in ("one", "two"):
        with replacing_folder(tmp_path / "deep" / "folder") as folder:
            (folder / "inner").mkdir()
            (folder / "inner" / content).write_text(content)
        assert names_in(tmp_path / "deep" / "folder" / "inner") == [content]
    assert names_in(tmp_path / "deep") == ["folder"]


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_folder_that_is_not_complete_is_not_there(tmp_path, failure):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "before").touch()

    def fill_and_fail() -> None:
        with replacing_folder(tmp_path / "folder") as folder:
            (folder / "after").touch()
            raise failure

    with pytest.raises(type(failure)):
        fill_and_fail()
    assert names_in(tmp_path) == ["folder"]
    assert names_in(tmp_path / "folder") == ["before"]


def test_what_a_kill_left_of_a_folder_goes(tmp_path):
    (tmp_path / ".partial-folder").mkdir()
    (tmp_path / ".partial-folder" / "half").touch()
    with replacing_folder(tmp_path / "folder") as folder:
        (folder / "whole").touch()
    assert names_in(tmp_path) == ["folder"]
    assert names_in(tmp_path / "folder") == ["whole"]


def test_a_folder_that_cannot_take_its_name_leaves_the_one_before(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "before").touch()
    rename = Path.rename
    monkeypatch.setattr(
        Path,
        "rename",
        lambda self, target: failing(errno.EIO)() if self.name == ".partial-folder" else rename(self, target),
    )
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), replacing_folder(tmp_path / "folder"):
        pass
    assert names_in(tmp_path) == ["folder"]
    assert names_in(tmp_path / "folder") == ["before"]


def test_a_folder_is_filled_when_all_files_are_whole(tmp_path):
    folder = tmp_path / "folder"
    with filling(folder) as partial:
        (partial / "a").write_text("one")
        (partial / "b").write_text("one")

    def fill_and_fail() -> None:
        with filling(folder) as partial:
            (partial / "a").write_text("two")
            raise ValueError("of the second file")

    with pytest.raises(ValueError, match="of the second"):
        fill_and_fail()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "one", "b": "one"}
    with filling(folder) as partial:
        (partial / "b").write_text("two")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "one", "b": "two"}


def test_a_share_that_is_full_when_a_file_is_closed_hides_no_other_error(tmp_path, monkeypatch):
    class Full(io.FileIO):
        def close(self):
            was_open = not self.closed
            super().close()
            if was_open:
                raise OSError(errno.EDQUOT, "Disk quota exceeded")

    def write(error):
        with replacing(tmp_path / "a") as file:
            file.write(b"a")
            if error:
                raise error

    monkeypatch.setattr(durable_files.io, "FileIO", Full)
    with pytest.raises(KeyError):
        write(KeyError())
    with pytest.raises(OSError, match="quota"):
        write(None)
    assert list(tmp_path.iterdir()) == []
