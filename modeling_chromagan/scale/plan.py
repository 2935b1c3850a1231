"""Which picture is in which shard: the table OUT/.chromagan/plan.parquet, by which processes share the work.

A plan that is made again, after files came or went, leaves what stays in its shard, and with it in the manifest that
knows its result; new files become new shards.
"""

import io
import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ..archive.manifest import FOLDER
from ..archive.output_plan import (
    Plan,
    Task,
    check_out,
    check_results,
    comparison_key,
    digest,
    find_places,
    name_results,
)
from ..durable_files import replacing
from ..errors import SettingError, UserError, first_line
from ..picture_formats import PICTURE_SUFFIXES
from ..strict_pillow import strict_pillow
from .store import RemoteStore, Store, find_file_system, is_url, local_path, open_store, os_errors

NAME = f"{FOLDER}/plan.parquet"
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("bytes", pa.int64()),
        ("pixels", pa.int64()),
        ("output", pa.string()),
        ("shard", pa.int32()),
    ]
)
ABOUT = b"chromagan"  # key of the metadata: JSON with what the whole plan says
BATCH = 10_000  # rows that are looked at together, and of a row group
LARGEST_HEADER = 1 << 20  # bytes
# Formats whose headers Pillow reads alone; of others it reads the whole file.
FORMATS_WITH_HEADERS = ("JPEG", "PNG", "TIFF", "GIF", "BMP", "JPEG2000")


@dataclass(frozen=True)
class PlanSummary:
    """A plan in numbers: pictures, shards, those that are not in the plan before, those that it had besides."""

    pictures: int
    shards: int
    new: int
    gone: int


class Header(io.FileIO):
    """A file of which no more is read than a header may take."""

    left = LARGEST_HEADER

    def readinto(self, buffer: Any) -> int | None:
        self.left -= len(buffer)
        if self.left < 0:
            raise OSError("the header is too large")
        return super().readinto(buffer)


@dataclass
class Listing:
    """What was found, as columns: one row takes about as many bytes as its names."""

    found: Plan
    path: pa.ChunkedArray
    place: pa.ChunkedArray
    bytes: np.ndarray
    pixels: np.ndarray


class Places(Collection[PurePath]):
    """A column of places as paths, one at a time."""

    def __init__(self, column: pa.ChunkedArray):
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    def __contains__(self, place: object) -> bool:
        return any(place == other for other in self)

    def __iter__(self) -> Iterator[PurePath]:
        return (PurePosixPath(place.as_py()) for place in self.column)


class Tasks(Collection[Task]):
    """Columns of paths and names as tasks, one at a time."""

    def __init__(self, paths: pa.ChunkedArray, names: pa.ChunkedArray):
        self.paths, self.names = paths, names

    def __len__(self) -> int:
        return len(self.paths)

    def __contains__(self, task: object) -> bool:
        return any(task == other for other in self)

    def __iter__(self) -> Iterator[Task]:
        for path, name in zip(self.paths, self.names, strict=True):
            yield Task(as_source(path.as_py()), name.as_py())


def make_plan_of_shards(
    sources: Sequence[str], out: str, output_format: str | None, per_shard: int
) -> tuple[PlanSummary, Plan]:
    """Lists `sources` and writes the plan; also gives what was found besides pictures.

    Args:
        sources: files and folders, paths or URLs.
        out: folder for the results, a path or a URL.
        output_format: as `make_plan` takes it.
        per_shard: pictures a shard.

    Raises:
        SettingError: if two pictures would share an output, an output would be an input, or there is no picture.
    """
    store = open_store(out)
    if not isinstance(store, RemoteStore):
        check_out(store.out)
    listing = list_sources(sources, store)
    if not len(listing.path):
        first = (listing.found.failures or [f"{', '.join(sources)}: no pictures"])[0]
        raise SettingError(f"nothing to plan: {first}")
    spelled = str if isinstance(store, RemoteStore) else comparison_key(store.out)

    def key(path: object) -> int:
        return digest(spelled(path))

    found_names = (name.as_posix() for name in name_results(Places(listing.place), output_format, key))
    names = pa.chunked_array([pa.array(batch) for batch in batches(found_names)])
    check_results(Tasks(listing.path, names), store.path, False, key)
    before = read_plan(store)
    work = np.where(listing.pixels > 0, listing.pixels, listing.bytes)
    shards, count, kept = assign(listing.path, names, work, per_shard, before)
    table = pa.Table.from_arrays(
        [listing.path, pa.array(listing.bytes), pa.array(listing.pixels), names, pa.array(shards)], schema=SCHEMA
    )
    table = table.take(pa.array(np.argsort(shards, kind="stable")))
    write_plan(store, table, {"shards": count, "per_shard": per_shard})
    gone = (before.num_rows if before is not None else 0) - kept
    return PlanSummary(len(names), count, len(names) - kept, gone), listing.found


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
                    found.failures.append(f"{text!r}: its name is no Unicode, which a plan cannot state; rename it")
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
        with os_errors():
            if file_system.isfile(root):
                yield url, PurePosixPath(PurePosixPath(root).name), int(file_system.size(root) or 0)
                return
            if not file_system.exists(root):
                found.failures.append(f"{url}: there is no such file or folder")
                return
            yield from walk(file_system, root.rstrip("/"), out, found)
    except OSError as error:
        found.failures.append(f"{url}: cannot be read: {first_line(error)}")


def walk(file_system: Any, root: str, out: str | None, found: Plan) -> Iterator[tuple[str, PurePath, int]]:
    """The pictures below `root`, without what is hidden or below `out`."""
    for folder, folders, files in file_system.walk(root, detail=True):
        for name in [*folders]:
            if name.startswith(".") or f"{folder.rstrip('/')}/{name}" == out:
                del folders[name]  # so that it is not walked into
        for name, about in sorted(files.items()):
            path = f"{folder.rstrip('/')}/{name}"
            if name.startswith(".") or not name:
                continue
            if PurePosixPath(name).suffix.lower() not in PICTURE_SUFFIXES:
                found.not_pictures += 1
                continue
            place = PurePosixPath(path).relative_to(root or "/")
            yield file_system.unstrip_protocol(path), place, int(about.get("size") or 0)


def measure(path: Path) -> tuple[int, int]:
    """Bytes of a file, and pixels of its first picture; 0 where a header does not tell."""
    try:
        with io.BufferedReader(Header(path)) as file:
            size = os.fstat(file.fileno()).st_size
            try:
                with Image.open(file, formats=FORMATS_WITH_HEADERS) as image:
                    return size, image.width * image.height
            except Exception:  # whatever a damaged file makes of the decoder; the run names it
                return size, 0
    except OSError:
        return 0, 0


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


def assign(
    paths: pa.ChunkedArray, names: pa.ChunkedArray, work: np.ndarray, per_shard: int, before: pa.Table | None
) -> tuple[np.ndarray, int, int]:
    """The shard of each picture, the number of shards, and of pictures that were planned before.

    New pictures are dealt to as many new shards as they need, the most work first and turning back at each end, so
    that all have the same number of them, give or take one, and about the same work.
    """
    shards = np.full(len(names), -1, np.int32)
    first = 0  # of the new shards
    if before is not None:
        first = describe_plan(before.schema)["shards"]
        known = dict(
            zip(map(row_digest, Tasks(before["path"], before["output"])), before["shard"].to_numpy(), strict=True)
        )
        for row, task in enumerate(Tasks(paths, names)):
            shards[row] = known.get(row_digest(task), -1)
    kept = int((shards >= 0).sum())
    new = np.flatnonzero(shards < 0)
    count = -(-len(new) // per_shard)
    if count:
        new = new[np.argsort(-work[new], kind="stable")]
        turn, place = np.divmod(np.arange(len(new)), count)
        shards[new] = first + np.where(turn % 2, count - 1 - place, place)
    return shards, first + count, kept


def row_digest(task: Task) -> int:
    """Tells rows of a plan apart."""
    return digest(f"{task.source}\0{task.name}")


def write_plan(store: Store, table: pa.Table, about: dict[str, Any]) -> None:
    """Writes a plan, sorted by shard, in one step.

    Raises:
        SettingError: naming the place that cannot be written, and the reason.
    """
    table = table.replace_schema_metadata({ABOUT: json.dumps(about).encode()})
    try:
        if isinstance(store, RemoteStore):
            file = io.BytesIO()
            pq.write_table(table, file, row_group_size=BATCH)
            store.put(NAME, file.getvalue())
        else:
            with replacing(store.out / NAME) as file:
                pq.write_table(table, file, row_group_size=BATCH)
    except OSError as error:
        raise SettingError(f"{store.path(NAME)} cannot be written: {error.strerror or first_line(error)}") from error


def read_plan(store: Store, **options: Any) -> pa.Table | None:
    """The plan in `store`; None if there is none. `options` are those of `pyarrow.parquet.read_table`."""
    return open_plan(store, lambda source, places: pq.read_table(source, **places, **options))


def count_shards(store: Store) -> int:
    """How many shards the plan in `store` has.

    Raises:
        SettingError: if there is no plan.
    """
    schema = open_plan(store, lambda source, places: pq.read_schema(source, **places))
    if schema is None:
        raise SettingError(f"{store.path(NAME)}: there is no plan; make one with `chromagan plan SRC -o OUT`")
    return describe_plan(schema)["shards"]


def count_pictures(store: Store) -> int | None:
    """How many pictures the plan in `store` has; None if there is none."""
    return open_plan(store, lambda source, places: pq.read_metadata(source, **places).num_rows)


def read_shard(store: Store, index: int) -> list[Task]:
    """The pictures of one shard of the plan in `store`."""
    table = read_plan(store, filters=[("shard", "=", index)], columns=["path", "output"])
    return [] if table is None else list(Tasks(table["path"], table["output"]))


def open_plan(store: Store, read: Callable[[Any, dict[str, Any]], Any]) -> Any:
    """What `read` makes of the plan in `store`; None if there is none."""
    try:
        if isinstance(store, RemoteStore):
            with os_errors():
                return read(store.key(NAME), {"filesystem": store.file_system})
        return read(store.out / NAME, {})
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        raise PlanError(f"{store.path(NAME)} is no plan of ours: {first_line(error)}") from error


class PlanError(UserError):
    """A plan that cannot be read."""


def describe_plan(schema: pa.Schema) -> dict[str, Any]:
    """What the whole plan says."""
    try:
        return json.loads(schema.metadata[ABOUT])
    except (TypeError, KeyError, ValueError) as error:
        raise PlanError("the plan was not made by `chromagan plan`") from error


def as_source(path: str) -> Path | str:
    """A path, or a URL as it is."""
    return path if is_url(path) else Path(path)


__all__ = ["PlanError", "PlanSummary", "count_pictures", "count_shards", "make_plan_of_shards", "read_shard"]
