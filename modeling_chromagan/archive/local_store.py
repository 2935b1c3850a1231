"""Inputs and results on file systems of this machine."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..durable_files import remove_abandoned
from ..errors import ImageLoadError, SettingError
from ..picture_formats import SUFFIXES, output_name
from .manifest import FOLDER

if TYPE_CHECKING:
    from .pages import ColoredPage
    from .writing import Written

STANDARD_STREAM = Path("-")  # a file of this name has to be given with its folder's whole path
READ_WHOLE = 256 << 20  # bytes of a file that are read once, hashed and decoded from memory


class LocalStore:
    """The folder `out` for results, and inputs anywhere."""

    def __init__(self, out: Path):
        self.out = out
        self.received = b""

    def receive(self, data: bytes, output_format: str | None) -> str:
        """Keeps what came on standard input, which is read as `STANDARD_STREAM`; gives the name of its result."""
        from .scan import open_scan

        self.received = data
        found = ""
        with contextlib.suppress(ImageLoadError), open_scan(data, name="-", max_pixels=sys.maxsize) as scan:
            found = scan.format.lower()
        suffix = SUFFIXES.get({"jpeg2000": "jp2", "mpo": "jpeg"}.get(found, found), (".png",))[0]
        return output_name(f"stdin{suffix}", output_format)

    def target(self, name: str) -> Path:
        """Where the result `name` lies."""
        return self.out / name

    def manifest(self, name: str = "manifest") -> Path:
        """Where the manifest of a run or shard lies."""
        return self.out / FOLDER / f"{name}.jsonl"

    def is_file(self, name: str) -> bool:
        """Whether there is a result `name`."""
        return os.path.isfile(self.target(name))

    def hash(self, name: str) -> str:
        """SHA-256 of the result `name`; raises OSError."""
        with self.target(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def clear(self, name: str) -> None:
        """Removes what a process that was killed left of the result `name` while it was written."""
        remove_abandoned(self.target(name).parent)

    def read(self, source: Path | str) -> "Source":
        """What is decoded, and its SHA-256.

        Raises:
            ImageLoadError: if it cannot be read.
        """
        if source == STANDARD_STREAM:
            return Source(self.received, hashlib.sha256(self.received).hexdigest())
        name, source = str(source), Path(source)
        try:
            if not os.path.isfile(source):  # opening a named pipe would wait for its writer
                os.stat(source)
                raise ImageLoadError(name, "is not a regular file")
            with source.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_size <= READ_WHOLE:
                    data = file.read()
                    return Source(data, hashlib.sha256(data).hexdigest())
                return Source(source, hashlib.file_digest(file, "sha256").hexdigest(), version_of(status))
        except OSError as error:
            raise ImageLoadError(name, (error.strerror or str(error)).lower()) from error

    def write(self, pages: "Iterable[ColoredPage]", name: str, **how: Any) -> "Written":
        """Writes a result as `write_pages` does.

        Raises:
            ImageSaveError: naming it and the reason.
        """
        from .writing import write_pages

        return write_pages(pages, self.target(name), **how)


@dataclass(frozen=True)
class Source:
    """A file as it was when it was hashed: its bytes, or the path of a large one and its size and time of change."""

    content: bytes | Path
    sha256: str
    version: tuple[int, int] | None = None

    def check(self) -> None:
        """Raises ImageLoadError if a large file is no longer what was hashed."""
        if isinstance(self.content, Path) and version_of(self.content) != self.version:
            raise ImageLoadError(str(self.content), "was changed while it was read")


def version_of(file: Path | os.stat_result) -> tuple[int, int] | None:
    """Size and time of the last change of a file; None if it is gone."""
    try:
        status = os.stat(file) if isinstance(file, Path) else file
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def make_folder(folder: Path) -> None:
    """Makes the folder for the results; a place that cannot be written is refused before the model is loaded.

    Raises:
        SettingError: naming it and the reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"-o {folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
        reason = "the file system is read-only" if read_only else "permission denied"
        raise SettingError(f"-o {folder} cannot be written: {reason}")


__all__ = ["STANDARD_STREAM", "LocalStore", "Source", "make_folder"]
