"""What there is to colorize in files, folders and behind URLs: pictures, their sizes, places of their results."""

import io
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from ..archive.output_plan import MISSING, Failure, Plan, find_places
from ..errors import SettingError, first_line
from ..picture_formats import PICTURE_SUFFIXES
from ..strict_pillow import strict_pillow
from .store import RemoteStore, Store, find_file_system, find_type, is_url, local_path, os_errors

BATCH = 10_000  # rows that are looked at together
LARGEST_HEADER = 1 << 20  # bytes
# Formats whose headers Pillow reads alone; of others it reads the whole file.
FORMATS_WITH_HEADERS = ("JPEG", "PNG", "TIFF", "GIF", "BMP", "JPEG2000")


@dataclass
class Listing:
    """What was found, as columns: one row takes about as many bytes as its names."""

    found: Plan
    path: pa.ChunkedArray
    place: pa.ChunkedArray
    bytes: np.ndarray
    pixels: np.ndarray


def list_sources(sources: Sequence[str], store: Store) -> Listing:
    """All pictures of `sources`, in order, with sizes in bytes, and in pixels where a look at their header tells."""
    found = Plan()
    columns: tuple[list[pa.Array], ...] = ([], [], [], [])
    for batch in batches(find_sources(sources, store, found)):
        rows = []
        with strict_pillow((1 << 63) - 1):
            for path, place, size in batch:
                text = str(path)
                if not text.isascii() and not is_unicode(text):
                    found.failures.append(
                        Failure(text, "its name is no Unicode, which a plan cannot state; rename it")
                    )
                    continue
                size, pixels = (size, 0) if isinstance(path, str) else measure(path)
                rows.append((text, place.as_posix(), size, pixels))
        for column, values in zip(columns, zip(*rows, strict=True), strict=False):
            column.append(pa.array(values))
    path, place, size, pixels = columns
    return Listing(
        found,
        pa.chunked_array(path, pa.string()),
        pa.chunked_array(place, pa.string()),
        pa.chunked_array(size, pa.int64()).to_numpy(),
        pa.chunked_array(pixels, pa.int64()).to_numpy(),
    )


def find_sources(sources: Sequence[str], store: Store, found: Plan) -> Iterator[tuple[Path | str, PurePath, int]]:
    """Each picture: an absolute path or a URL, the place of its result, and its bytes where they are known."""
    here = [local_path(source).absolute() for source in sources if not is_url(source)]
    out = Path(os.devnull) if isinstance(store, RemoteStore) else store.out  # a folder that no source can be
    for path, place in find_places(here, out, found):
        yield path, place, 0
    for url in filter(is_url, sources):
        yield from find_objects(url, store, found)


def find_objects(url: str, store: Store, found: Plan) -> Iterator[tuple[str, PurePath, int]]:
    """As `find_sources` for one URL, of an object or of a folder, one folder at a time."""
    file_system, root = find_file_system(url)
    out = store.root if isinstance(store, RemoteStore) and store.file_system == file_system else None
    if root.rstrip("/") == out:
        raise SettingError(f"{url} is both SRC and OUT; choose another OUT")
    try:
        kind = find_type(file_system, root)
        if kind == "file":
            with os_errors():
                yield url, PurePosixPath(PurePosixPath(root).name), int(file_system.size(root) or 0)
        elif kind:
            root = root.rstrip("/")
            yield from walk(file_system, root, root, out, found)
        else:
            found.failures.append(Failure(url, MISSING))
    except OSError as error:
        found.failures.append(Failure(url, f"cannot be read: {first_line(error)}"))


def walk(
    file_system: Any, folder: str, root: str, out: str | None, found: Plan
) -> Iterator[tuple[str, PurePath, int]]:
    """The pictures in `folder`, at any depth, sorted, without what is hidden or below `out`; places are below `root`.

    fsspec's own `walk` passes over folders in it that cannot be read.
    """
    try:
        with os_errors():
            entries = sorted(file_system.ls(folder, detail=True), key=lambda entry: entry["name"])
    except OSError as error:
        url = file_system.unstrip_protocol(folder)
        found.failures.append(Failure(url, f"cannot be read: {first_line(error)}"))
        return
    for entry in entries:
        path = entry["name"].rstrip("/")
        name = path.rpartition("/")[2]
        if name.startswith(".") or path in (folder, out):  # some stores list a folder in itself
            continue
        if entry["type"] == "directory":
            yield from walk(file_system, path, root, out, found)
        elif PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES:
            place = PurePosixPath(path).relative_to(root or "/")
            yield file_system.unstrip_protocol(path), place, int(entry.get("size") or 0)
        else:
            found.not_pictures += 1


def measure(path: Path) -> tuple[int, int]:
    """Bytes of a file, and pixels of its first picture; 0 where a header does not tell."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for its writer
        return 0, 0
    try:
        with io.BufferedReader(Header(path)) as file, Image.open(file, formats=FORMATS_WITH_HEADERS) as image:
            return status.st_size, image.width * image.height
    except Exception:  # whatever a damaged file makes of the decoder; the run names it
        return status.st_size, 0


def is_unicode(text: str) -> bool:
    """Whether a name of the file system is text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def batches(items: Iterator[Any]) -> Iterator[list[Any]]:
    """Lists of up to `BATCH` items."""
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class Header(io.FileIO):
    """A file of which no more is read than a header may take."""

    left = LARGEST_HEADER

    def readinto(self, buffer: Any) -> int | None:
        self.left -= len(buffer)
        if self.left < 0:
            raise OSError("the header is too large")
        return super().readinto(buffer)


__all__ = ["BATCH", "Listing", "batches", "list_sources"]
