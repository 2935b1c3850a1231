"""Files that are on the disk, complete, under their name, or not there.

Everything is written under a hidden name in the same folder, every write is checked, the file is flushed to the disk
and compared in size, and only then does it take its name. A full disk, a quota, a limit of the process, an error or an
interruption leave what was there before.
"""

import contextlib
import errno
import io
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BUFFER = 1 << 18  # bytes; encoders give their output in small pieces
PARTIAL = re.compile(r"\.[0-9a-f]{16}\.part")  # what a file is called while it is written

# What file systems answer that cannot flush a folder (or anything): network shares, FUSE, Windows.
CANNOT_FLUSH = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EBADF}
# What they answer that cannot rename over a file that exists, or cannot rename at all.
CANNOT_REPLACE = {errno.EEXIST, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class _CheckedFile(io.RawIOBase):
    """A new file whose every write is whole or an error, and which gives its descriptor to nobody.

    Libraries that write past Python, as Pillow's encoders and `numpy.tofile` do, overlook that a disk took a part.
    """

    def __init__(self, path: Path):
        self.file = io.FileIO(path, "x+")
        while not _hold(self.file.fileno(), path):
            self.file.close()
            self.file = io.FileIO(path, "x+")
        self.end = 0
        self.abandoned = False

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:
        return self.file.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def write(self, data: memoryview) -> int:
        with memoryview(data).cast("B") as view:
            written = 0
            while written < len(view) and not self.abandoned:
                step = self.file.write(view[written:])
                if not step:
                    raise OSError(errno.EIO, "a write of the file wrote nothing")
                written += step
            self.end = max(self.end, self.file.tell())
            return len(view)

    def finish(self) -> None:
        """Has the file on the disk, and compares its size."""
        _flush_descriptor(self.file.fileno())
        size = os.fstat(self.file.fileno()).st_size
        if size != self.end:
            raise OSError(errno.EIO, f"the file has {size:,} bytes after {self.end:,} were written")

    def close(self) -> None:
        super().close()
        try:
            self.file.close()
        except OSError:
            if not self.abandoned:  # or it would hide why that is so
                raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file, to write, seek and read, that takes the name `path` when the block ends without an error.

    Missing folders are made. The file has no descriptor (`fileno`), so that nobody writes past its checks.

    Raises:
        OSError: if it cannot be written; what was there before is then still there, and nothing else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not derived from the name: a name of the greatest length that the file system allows must still have a partner.
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        raw = _CheckedFile(partial)
        try:
            with io.BufferedRandom(raw, BUFFER) as file:
                try:
                    yield cast(BinaryIO, file)
                    file.flush()
                    raw.finish()
                except BaseException:
                    raw.abandoned = True  # or closing would write once more, and its error hide this one
                    raise
        finally:
            raw.close()
        _rename(partial, path)
    except BaseException:  # an interruption too leaves nothing behind
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    flush(path.parent)


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Writes a file in one step, replacing what was there; as `replacing`."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Writes a text file as UTF-8 in one step, replacing what was there; as `replacing`."""
    write_file(path, text.encode("utf-8"))


def append_line(path: Path, line: str) -> None:
    """Adds a line to a text file, made with its folders if it is missing: all of it, or nothing.

    Half a line that a kill or a failing disk left at the end of the file is ended first, and not glued to this one.

    Raises:
        OSError: if it cannot be written; the file is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    try:
        before = os.lseek(descriptor, 0, os.SEEK_END)
        rest = memoryview(f"{line}\n".encode())
        if before and os.lseek(descriptor, before - 1, os.SEEK_SET) >= 0 and os.read(descriptor, 1) != b"\n":
            rest = memoryview(b"\n" + rest)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            _flush_descriptor(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A new folder whose files move into `folder`, made if it is missing, when the block ends without an error.

    Each of them replaces one of its name, whole and on the disk; others stay.

    Raises:
        OSError: if they cannot be written; what was there before is then still there, and nothing else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{secrets.token_hex(8)}.part"
    partial.mkdir()
    try:
        yield partial
        flush_tree(partial)
        for path in sorted(partial.iterdir()):
            _rename(path, folder / path.name)
        flush(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder that takes the name `path`, its files on the disk, when the block ends without an error.

    It is filled under another name beside `path`; what a kill left of an earlier one is removed.

    Raises:
        OSError: if it cannot be written; what was there before is then still there, and nothing else.
    """
    partial, replaced = path.with_name(f".partial-{path.name}"), path.with_name(f".partial-{path.name}-replaced")
    for leftover in (partial, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        flush_tree(partial)
        if path.exists():
            path.rename(replaced)
        partial.rename(path)
    except BaseException:
        if not path.exists() and replaced.exists():
            replaced.rename(path)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
    flush(path.parent)


def remove_abandoned(folder: Path) -> None:
    """Removes what a process that was killed left of a file that it wrote into `folder`, where locks tell."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if fcntl is not None and PARTIAL.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError), open(entry.path, "r+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where somebody is writing it
                    os.unlink(entry.path)


def _hold(descriptor: int, path: Path) -> bool:
    """Has `remove_abandoned` know that a new file is being written; False if that was faster, and the file is gone."""
    with contextlib.suppress(OSError):  # a file system without locks
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return os.path.exists(path)
    return True


def flush_tree(folder: Path) -> None:
    """Has a folder, and all files and folders in it, on the disk."""
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            flush(Path(place, name))
        flush(Path(place))


def flush(path: Path) -> None:
    """Has the operating system write a file or a folder's list of files to the disk, where the file system can.

    Raises:
        OSError: if the disk is full or fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # Windows, or a folder that may be written and not listed
            return
        raise
    try:
        _flush_descriptor(descriptor)
    finally:
        os.close(descriptor)


def _flush_descriptor(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_FLUSH:
            raise


def _rename(partial: Path, path: Path) -> None:
    """Gives a complete file its name, in one step where the file system can, and else after removing the old one.

    Raises:
        OSError: if it cannot be renamed; an old file is removed only after a rename was seen to work.
    """
    try:
        partial.replace(path)
        return
    except OSError as error:
        if error.errno not in CANNOT_REPLACE:
            raise
        refusal = error
    other = partial.with_name(f"{partial.name}2")
    try:
        partial.rename(other)
        other.rename(partial)
    except OSError as error:
        with contextlib.suppress(OSError):
            other.unlink(missing_ok=True)
        raise OSError(refusal.errno, f"the file system does not rename files ({refusal.strerror})") from error
    try:
        path.unlink()
    except OSError:
        raise refusal from None
    partial.rename(path)


__all__ = [
    "append_line",
    "filling",
    "flush",
    "flush_tree",
    "remove_abandoned",
    "replacing",
    "replacing_folder",
    "write_file",
    "write_text",
]
