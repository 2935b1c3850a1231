"""Which picture is in which shard: the table OUT/.chromagan/plan.parquet, by which processes share the work.

A plan that is made again, after files came or went, leaves what stays in its shard, and with it in the manifest that
knows its result; new files become new shards.
"""

import io
import json
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..archive.manifest import FOLDER, UNREAD_OF_PLAN
from ..archive.output_plan import (
    Failure,
    Plan,
    Task,
    check_out,
    check_results,
    comparison_key,
    digest,
    name_results,
)
from ..archive.unread import lines_of, unread
from ..durable_files import remove_abandoned, replacing
from ..errors import SettingError, UserError, first_line
from .listing import BATCH, batches, list_sources
from .store import RemoteStore, Store, is_url, open_store, os_errors

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


@dataclass(frozen=True)
class PlanSummary:
    """A plan in numbers: pictures, shards, those that are not in the plan before, those that it had besides."""

    pictures: int
    shards: int
    new: int
    gone: int


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
        first, *_ = (*listing.found.failures, f"{', '.join(sources)}: no pictures")
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
    write_plan(store, table, {"shards": count, "per_shard": per_shard}, listing.found.failures)
    gone = (before.num_rows if before is not None else 0) - kept
    return PlanSummary(len(names), count, len(names) - kept, gone), listing.found


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


def write_plan(store: Store, table: pa.Table, about: dict[str, Any], failures: Sequence[Failure] = ()) -> None:
    """Writes a plan, sorted by shard, in one step, and before it what could not be read.

    Raises:
        SettingError: naming the place that cannot be written, and the reason.
    """
    table = table.replace_schema_metadata({ABOUT: json.dumps(about).encode()})
    try:
        if failures or store.is_file(UNREAD_OF_PLAN):
            store.put(UNREAD_OF_PLAN, lines_of(map(unread, failures)).encode())
        if isinstance(store, RemoteStore):
            file = io.BytesIO()
            pq.write_table(table, file, row_group_size=BATCH)
            store.put(NAME, file.getvalue())
        else:
            remove_abandoned((store.out / NAME).parent)
            with replacing(store.out / NAME) as file:
                pq.write_table(table, file, row_group_size=BATCH)
    except OSError as error:
        raise SettingError(f"{store.path(NAME)} cannot be written: {error.strerror or first_line(error)}") from error


def read_plan(store: Store, **options: Any) -> pa.Table | None:
    """The plan in `store`; None if there is none. `options` are those of `pyarrow.parquet.read_table`."""
    return open_plan(store, lambda source: pq.read_table(source, **options))


def count_shards(store: Store) -> int:
    """How many shards the plan in `store` has.

    Raises:
        SettingError: if there is no plan.
    """
    schema = open_plan(store, pq.read_schema)
    if schema is None:
        raise no_plan(store)
    return describe_plan(schema)["shards"]


def count_pictures(store: Store) -> int | None:
    """How many pictures the plan in `store` has; None if there is none."""
    return open_plan(store, lambda source: pq.read_metadata(source).num_rows)


def count_left(store: Store, begun: array) -> int:
    """How many pictures the plan in `store` has besides those of `begun`, which are digests of names of results.

    Counting the records would not do: those of pictures that have left the plan stay.
    """
    known = np.unique(np.frombuffer(begun, np.uint64))

    def count(source: Any) -> int:
        left = 0
        for batch in pq.ParquetFile(source).iter_batches(BATCH, columns=["output"]):
            names = np.array([digest(name) for name in batch["output"].to_pylist()], np.uint64)
            nearest = known[np.searchsorted(known, names).clip(max=len(known) - 1)]
            left += int((nearest != names).sum())
        return left

    return open_plan(store, count if len(known) else lambda source: pq.read_metadata(source).num_rows) or 0


def count_pictures_of(store: Store, indices: range) -> int:
    """How many pictures some shards of the plan in `store` have."""
    table = read_plan(store, columns=["shard"])
    return 0 if table is None else int(np.isin(table["shard"].to_numpy(), indices).sum())


def read_shard(store: Store, index: int) -> list[Task]:
    """The pictures of one shard of the plan in `store`.

    Raises:
        SettingError: if there is no plan, as where a worker does not see the folder of the others.
    """
    table = read_plan(store, filters=[("shard", "=", index)], columns=["path", "output"])
    if table is None:
        raise no_plan(store)
    return list(Tasks(table["path"], table["output"]))


def no_plan(store: Store) -> SettingError:
    """What is said where there is no plan."""
    return SettingError(f"{store.path(NAME)}: there is no plan; make one with `chromagan plan SRC -o OUT`")


def open_plan(store: Store, read: Callable[[Any], Any]) -> Any:
    """What `read` makes of the plan in `store`, a path or a file; None if there is none."""
    try:
        if not isinstance(store, RemoteStore):
            return read(store.out / NAME)
        # Given the file system, pyarrow would take what a server does not show for a plan that is not there.
        with os_errors(), store.file_system.open(store.key(NAME), "rb") as file:
            return read(file)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        raise PlanError(f"{store.path(NAME)} cannot be read as a plan: {first_line(error)}") from error


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


__all__ = [
    "PlanError",
    "PlanSummary",
    "count_left",
    "count_pictures",
    "count_pictures_of",
    "count_shards",
    "make_plan_of_shards",
    "read_shard",
]
