"""Inputs and results on any file system that fsspec knows: s3://, gs://, hf://, memory:// and this machine's own."""

import contextlib
import hashlib
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ..archive.local_store import LocalStore, Source
from ..archive.manifest import FOLDER, SHARDS, Manifest, Record, merge_manifests, parse_records, read_all
from ..durable_files import write_file
from ..errors import ImageLoadError, SettingError, first_line

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from ..archive.pages import ColoredPage
    from ..archive.writing import Written


class Store(LocalStore):
    """A folder of this machine for results; inputs here or behind URLs."""

    def read(self, source: Path | str) -> Source:
        """What is decoded, and its SHA-256; an object behind a URL is read as a whole.

        Raises:
            ImageLoadError: if it cannot be read.
        """
        if not is_url(source):
            return super().read(source)
        with load_errors(str(source)):
            file_system, path = find_file_system(str(source))
            data = file_system.cat_file(path)
        return Source(data, hashlib.sha256(data).hexdigest())

    def path(self, name: str) -> Path | str:
        """The path or URL of the result `name`."""
        return self.out / name

    def put(self, name: str, data: bytes) -> None:
        """Writes the file `name` in one step; raises OSError."""
        write_file(self.target(name), data)

    def open_manifest(self, name: str) -> Manifest:
        """The manifest of a run or shard."""
        return Manifest(self.manifest(name))

    def read_all(self) -> Iterator[Record]:
        """The last record of each result, as `manifest.read_all`."""
        return read_all(self.out)


class RemoteStore(Store):
    """A folder behind a URL for results, which are objects that are there as a whole or not at all."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.file_system, self.root = find_file_system(self.url)
        super().__init__(Path(self.root))

    def path(self, name: str) -> str:
        return f"{self.url}/{name}"

    def key(self, name: str) -> str:
        """What the file system calls the result `name`."""
        return f"{self.root.rstrip('/')}/{name}"

    def is_file(self, name: str) -> bool:
        with os_errors(self.path(name)):
            return find_type(self.file_system, self.key(name)) == "file"

    def clear(self, name: str) -> None:
        """Nothing: an object is there as a whole or not at all."""

    def hash(self, name: str) -> str:
        with os_errors(self.path(name)):
            return hashlib.sha256(self.get(name)).hexdigest()

    def write(self, pages: "Iterable[ColoredPage]", name: str, **how: Any) -> "Written":
        """Writes a result as `write_pages` does to a file of this machine, and puts it there in one step.

        Raises:
            ImageSaveError: naming it and the reason.
        """
        from ..archive.writing import write_pages
        from ..image_saving import ImageSaveError

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"result{PurePosixPath(name).suffix}")  # some stores tell readers the type by it
            try:
                written = write_pages(pages, file, **how)
            except ImageSaveError as error:
                raise ImageSaveError(str(error).replace(str(file), self.path(name))) from error
            try:
                with os_errors():
                    self.file_system.put_file(str(file), self.key(name))
            except OSError as error:
                raise ImageSaveError(f"{self.path(name)}: cannot be written: {first_line(error)}") from error
        return written

    def get(self, name: str) -> bytes:
        """The bytes of the object `name`; raises OSError."""
        with os_errors():
            return self.file_system.cat_file(self.key(name))

    def put(self, name: str, data: bytes, **how: str) -> None:
        """Writes the object `name` in one step; raises OSError, with `mode="create"` also where it is there."""
        with os_errors():
            self.file_system.pipe_file(self.key(name), data, **how)

    def open_manifest(self, name: str) -> "RemoteManifest":
        return RemoteManifest(self, f"{FOLDER}/{name}.jsonl")

    def read_all(self) -> Iterator[Record]:
        with os_errors():
            shards = self.file_system.glob(self.key(f"{FOLDER}/{SHARDS}/*.jsonl"))
        names = ["manifest.jsonl", *(f"{SHARDS}/{PurePosixPath(path).name}" for path in sorted(shards))]
        return merge_manifests(lambda: (RemoteManifest(self, f"{FOLDER}/{name}").records for name in names))


class RemoteManifest(Manifest):
    """The records of a shard in one object, which is written again as a whole with each of them.

    Where another process works on the same shard, both do the same, and its records stay.
    """

    def __init__(self, store: RemoteStore, name: str):
        self.store, self.name, self.path = store, name, Path(store.key(name))
        self.own: dict[str, Record] = {}
        self._lock = threading.Lock()
        self.records = self.stored()

    def stored(self) -> dict[str, Record]:
        """What is there now."""
        try:
            return read_manifest(self.store, self.name)
        except FileNotFoundError:
            return {}

    def add(self, record: Record) -> None:
        """Puts a record into memory and into the object; raises OSError if it cannot be written."""
        with self._lock:
            self.own[record.name] = record
            self.records = self.stored() | self.own
            lines = "".join(f"{record.to_line()}\n" for record in self.records.values())
            self.store.put(self.name, lines.encode())


def read_manifest(store: RemoteStore, name: str) -> dict[str, Record]:
    """The last record of each result of a manifest; raises OSError."""
    return {record.key: record for record in parse_records(store.get(name).splitlines())}


def open_store(out: str | Path) -> Store:
    """The folder for results, a path or a URL.

    Raises:
        SettingError: if there is no support for the URL.
    """
    return RemoteStore(str(out)) if is_url(out) else Store(local_path(out))


def is_url(place: object) -> bool:
    """Whether something names a place that is not on this machine's file systems."""
    return "://" in str(place) and not str(place).startswith("file://")


def local_path(place: str | Path) -> Path:
    """The path of a place on this machine, which may be a file:// URL."""
    text = str(place)
    return Path(unquote(urlsplit(text).path)) if text.startswith("file://") else Path(place)


def find_file_system(url: str) -> tuple["AbstractFileSystem", str]:
    """What reads and writes a URL, and the path in it.

    Raises:
        SettingError: if fsspec, or its driver for such URLs, is not installed.
    """
    try:
        from fsspec import get_filesystem_class
    except ImportError as error:
        raise SettingError(f'{url} needs fsspec: pip install "chromagan[scale]"') from error
    try:
        # Not `url_to_fs`, for which "::" in a name separates URLs.
        driver = get_filesystem_class(url.partition("://")[0])
        # Listings would be kept in memory, and results that other machines made since would not be seen.
        file_system = driver(**driver._get_kwargs_from_urls(url), use_listings_cache=False)
        return file_system, driver._strip_protocol(url)
    except (ImportError, ValueError) as error:
        raise SettingError(f"{url}: {first_line(error)}") from error


def find_type(file_system: "AbstractFileSystem", path: str) -> str:
    """ "file", "directory", or "" where there is nothing; raises OSError where that cannot be told.

    fsspec's own `isfile` and `exists` say no to that as well: what a server does not show would be taken for gone.
    """
    with os_errors():
        try:
            return file_system.info(path)["type"]
        except FileNotFoundError:
            return ""


@contextlib.contextmanager
def os_errors(called: str = "") -> Iterator[None]:
    """Whatever is raised inside becomes an OSError, "CALLED: reason": the drivers' own share no base."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        reason = first_line(error)
        reason = error.strerror or reason if isinstance(error, OSError) else f"{type(error).__name__}: {reason}"
        raise OSError(f"{called}: {reason}" if called else reason) from error


@contextlib.contextmanager
def load_errors(name: str) -> Iterator[None]:
    """Whatever is raised inside becomes an ImageLoadError of `name`."""
    try:
        with os_errors():
            yield
    except FileNotFoundError as error:
        raise ImageLoadError(name, "no such file or directory") from error
    except OSError as error:
        raise ImageLoadError(name, first_line(error)) from error


__all__ = [
    "RemoteStore",
    "Store",
    "find_file_system",
    "find_type",
    "is_url",
    "local_path",
    "open_store",
    "os_errors",
]
