"""Rows of parquet files in one mixed order, which every process computes from the metadata alone.

Nothing is copied to the disk, and no state is saved: the row at a position is a function of (seed, epoch, index).
"""

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa

from ...sources.picture_collections import CollectionError, DataSet, PictureFolder
from ..recipe import Data
from .found_source import FoundSource
from .parquet_files import LARGEST_POOL, ParquetFiles, RowGroups

POOL_SHARE = 0.75  # of the allowed bytes; the rest holds what a batch that crosses slots still needs, and reading


class PooledOrder:
    """An endless mixed order of rows that lie in groups: every epoch shows every row once.

    An epoch puts the groups in a seeded order on a circle of as many slots. A group spreads its rows, themselves in
    seeded order, evenly over the `pool` slots that begin with its own; a slot shuffles the rows it got, from exactly
    `pool` groups. So mixing is the same from an epoch's first row to its last, one group is read and one is dropped
    per slot, and any position is computed from the number of rows of every group, without the positions before it.
    The `pool - 1` groups whose rows lie on both sides of an epoch's end are read twice in it.

    Args:
        rows: of every group, (G,).
        pool: groups that are mixed at a time, 1 to G.
        seed: of the order.
    """

    def __init__(self, rows: np.ndarray, pool: int, seed: int):
        self.rows = np.asarray(rows, dtype=np.int64)
        self.pool = pool
        self.seed = seed
        self.total = int(self.rows.sum())
        self.epochs: OrderedDict[int, tuple] = OrderedDict()
        self.slots: OrderedDict[tuple, tuple] = OrderedDict()

    def at(self, position: int) -> tuple[int, int, int]:
        """Group of the row at a position, its place in the group's own order, and the slot counted over all epochs
        that is the last to hold a row of that group before it may be dropped."""
        epoch, index = divmod(position, self.total)
        _, _, ends = self.epoch(epoch)
        slot = int(np.searchsorted(ends, index, side="right"))
        groups, places, turns = self.slot(epoch, slot)
        at = index - (int(ends[slot - 1]) if slot else 0)
        count = len(self.rows)
        last = min(slot + self.pool - 1 - int(turns[at]), count - 1)
        return int(groups[at]), int(places[at]), epoch * count + last

    def epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sequence of the groups, the rounding of their parts, and how many rows an epoch has up to a slot's end."""
        if epoch not in self.epochs:
            random = np.random.default_rng([self.seed, epoch, 0])
            sequence = random.permutation(len(self.rows))
            rounding = random.integers(self.pool, size=len(self.rows))  # else all groups would round alike
            sizes = np.zeros(len(self.rows), dtype=np.int64)
            for turn in range(self.pool):
                low, high = self.part(sequence, rounding, turn)
                sizes += np.roll(high - low, turn)
            self.epochs[epoch] = sequence, rounding, np.cumsum(sizes)
            if len(self.epochs) > 2:
                self.epochs.popitem(last=False)
        return self.epochs[epoch]

    def part(self, groups: np.ndarray, rounding: np.ndarray, turn: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of its own rows, from and up to, a group gives to the slot that is its `turn`-th, 0 to pool - 1."""
        rows = self.rows[groups]
        return (rows * turn + rounding) // self.pool, (rows * (turn + 1) + rounding) // self.pool

    def slot(self, epoch: int, slot: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Group, place in the group and the group's turn, of every row of a slot."""
        if (epoch, slot) not in self.slots:
            sequence, rounding, _ = self.epoch(epoch)
            turns = np.arange(self.pool)
            at = (slot - turns) % len(sequence)
            low, high = self.part(sequence[at], rounding[at], turns)
            counts = high - low
            which = np.repeat(turns, counts)
            starts = np.cumsum(counts) - counts
            places = np.arange(counts.sum()) - starts[which] + low[which]
            order = np.random.default_rng([self.seed, epoch, 1, slot]).permutation(len(which))
            which = which[order]
            self.slots[epoch, slot] = sequence[at][which], places[order], which
            if len(self.slots) > 16:
                self.slots.popitem(last=False)
        return self.slots[epoch, slot]

    def within(self, epoch: int, group: int) -> np.ndarray:
        """A group's own order of its rows in an epoch."""
        return np.random.default_rng([self.seed, epoch, 2, group]).permutation(int(self.rows[group]))


class StreamedRows:
    """The rows of a source of parquet files at positions of an endless order, `PooledOrder`, pictures encoded.

    Every process and every data worker has the same order and reads the row groups of the rows it is asked for, each
    of them once while positions increase: its share of the rows, and beyond it the other rows of these groups. That
    is the whole source once per epoch at most, and the `pool - 1` groups at the epoch's end a second time. The memory
    of the pool is per data worker, or per process where there is none. Whoever begins at some position reads the
    groups of the pool there, nothing before.

    Args:
        files: of the source.
        groups: their row groups.
        seed: of the order.
        pool_bytes: that the row groups kept in memory may take together; a larger group is kept all the same, alone.
        most_groups: in the pool.
    """

    def __init__(
        self,
        files: ParquetFiles,
        groups: RowGroups,
        seed: int,
        pool_bytes: int,
        most_groups: int = LARGEST_POOL,
    ):
        self.files, self.groups, self.pool_bytes = files, groups, pool_bytes
        pool = min(most_groups, groups.pool(int(POOL_SHARE * pool_bytes)))
        self.order = PooledOrder(groups.rows, pool, seed)
        self.tables: dict[int, pa.Table] = {}
        self.last_slots: dict[int, int] = {}
        self.permutations: dict[int, tuple[int, np.ndarray]] = {}
        self.groups_read = 0

    def __len__(self) -> int:
        return self.order.total

    @property
    def remote(self) -> bool:
        """Whether rows are read over a network."""
        return self.files.remote

    @property
    def retries(self) -> int:
        """How often a connection was tried again."""
        return self.files.counts["connection retries"]

    def rows(self, positions: Sequence[int]) -> Iterator[dict]:
        """The rows at some positions."""
        return (next(self.candidates(position)) for position in positions)

    def replacements(self, position: int) -> Iterator[dict]:
        """Rows that may take the place of the one at a position: those that follow in the order of its group."""
        return islice(self.candidates(position), 1, None)

    def candidates(self, position: int) -> Iterator[dict]:
        """The row at a position, then all others of its group in their order.

        Raises:
            StreamError: if its row group cannot be read.
        """
        group, place, last_slot = self.order.at(position)
        epoch = position // len(self)
        if group not in self.tables:
            self.make_room(int(self.groups.sizes[group]))
            self.tables[group] = self.files.row_group(int(self.groups.file[group]), int(self.groups.number[group]))
            self.groups_read += 1
        self.last_slots[group] = last_slot
        if self.permutations.get(group, (None, None))[0] != epoch:
            self.permutations[group] = epoch, self.order.within(epoch, group)
        table, rows = self.tables[group], self.permutations[group][1]
        for step in range(len(rows)):
            yield table.slice(int(rows[(place + step) % len(rows)]), 1).to_pylist()[0]

    def make_room(self, size: int) -> None:
        """Drops the row groups that were needed longest ago until another one, and what reading it takes, has room."""
        while self.tables and self.held_bytes + 3 * size > self.pool_bytes:
            oldest = min(self.tables, key=self.last_slots.get)
            for kept in (self.tables, self.last_slots, self.permutations):
                del kept[oldest]

    @property
    def held_bytes(self) -> int:
        return sum(table.nbytes for table in self.tables.values())

    def describe(self) -> str:
        """What is mixed, in one line."""
        pool, rows = self.order.pool, self.groups.rows
        bytes_mixed = int(np.sort(self.groups.sizes)[::-1][:pool].sum())
        text = (
            f"{len(self):,} rows in {len(rows):,} row groups, mixed from {pool} groups at a time, "
            f"{round(pool * rows.mean()):,} rows, at most {bytes_mixed / 2**20:.1f} MiB"
        )
        if bytes_mixed > self.pool_bytes:
            text += f"; warning: one row group takes more than data.pool_mebibytes, {self.pool_bytes / 2**20:g}"
        return text


def open_stream(found: FoundSource, split: str, settings: Data) -> tuple[ParquetFiles, RowGroups]:
    """Files and row groups of one split of a streamed source, as far as `max_samples` reaches.

    Args:
        found: the source.
        split: of its data set.
        settings: how often a connection is tried.

    Raises:
        CollectionError: for a split that is none, or not made of parquet files.
        SettingError: for a column that does not exist.
        StreamError: for a file that cannot be read.
    """
    collection = found.collection
    files = [] if isinstance(collection, PictureFolder) else collection.files(split)
    if not files or not all(file.endswith(".parquet") for file in files):
        raise CollectionError(
            f"streaming is true, and {collection}, split {split!r}, is not made of parquet files; "
            "accepted: streaming: false"
        )
    opened = ParquetFiles(found.name, files, found.columns, settings.connection_tries)
    found.check_columns(opened.metadata(0).schema.to_arrow_schema().names)
    groups = opened.row_groups()
    if found.source.max_samples:
        groups = groups.first(found.source.max_samples)
    if not len(groups.rows):
        raise CollectionError(f"{collection}, split {split!r}: no rows")
    return opened, groups


def class_names(files: ParquetFiles, collection: DataSet, column: str) -> list[str] | None:
    """Names of the classes of a column, which `datasets` writes into parquet files or a data set's card."""
    metadata = files.metadata(0).metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        if features.get(column, {}).get("names"):
            return features[column]["names"]
    except (ValueError, AttributeError):  # another program's idea of that entry
        pass
    return collection.class_names(column)


__all__ = ["PooledOrder", "StreamedRows", "class_names", "open_stream"]
