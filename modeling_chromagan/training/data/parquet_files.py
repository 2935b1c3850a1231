"""Parquet files of one source, read by row groups: on the disk, on the Hub or behind plain HTTP alike."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import one_line
from ...sources.remote_files import RemoteFile, with_retries
from .shared_counts import SharedCounts

LARGEST_POOL = 1000  # row groups; more mix no better
METADATA_KEPT = 32 * 2**20  # bytes of parquet metadata kept in memory
OPENED_AT_ONCE = 16  # remote files, while their metadata is read
FROM_WORKER = re.compile(r"Caught StreamError in .*\bStreamError: (?P<line>.*)", re.DOTALL)

Result = TypeVar("Result")


class StreamError(OSError):
    """A source that cannot be read on: one line naming the source, the file and what happened."""

    def __init__(self, message: str):
        # A data worker's error is raised again with the worker's traceback as its message.
        raised_again = FROM_WORKER.match(message)
        super().__init__(one_line(raised_again["line"] if raised_again else message))


@dataclass
class RowGroups:
    """What the metadata says of all row groups of a source, in the order of its files: arrays of (G,)."""

    file: np.ndarray  # index of the file
    number: np.ndarray  # of the group in its file
    rows: np.ndarray
    sizes: np.ndarray  # bytes in memory, of the columns that are read, pictures encoded

    def first(self, rows: int) -> "RowGroups":
        """The groups that hold the first rows, the last of them cut."""
        before = np.cumsum(self.rows) - self.rows
        kept = before < rows
        cut = np.minimum(self.rows, rows - before)[kept]
        return RowGroups(self.file[kept], self.number[kept], cut, self.sizes[kept])

    def pool(self, allowed: int) -> int:
        """How many row groups fit in so many bytes, whichever they are; 1 at least."""
        largest = np.cumsum(np.sort(self.sizes)[::-1])
        return int(np.clip(np.searchsorted(largest, allowed, side="right"), 1, min(len(largest), LARGEST_POOL)))


class ParquetFiles:
    """Parquet files of one source.

    Args:
        name: of the source, for messages.
        files: local paths, hf://datasets/... or http(s)://...
        columns: that are read.
        tries: of a remote read before it is given up.
    """

    def __init__(self, name: str, files: list[str], columns: list[str], tries: int):
        self.name, self.files, self.columns, self.tries = name, files, columns, tries
        self.counts = SharedCounts(("connection retries",))
        self.lengths: dict[int, int] = {}  # of remote files, in bytes
        self.kept: dict[int, pq.FileMetaData] = {}
        self.kept_bytes = 0

    @property
    def remote(self) -> bool:
        return any("://" in file for file in self.files)

    def metadata(self, index: int) -> pq.FileMetaData:
        """Metadata of a file; what was read is kept up to a bound, the oldest is dropped first.

        Raises:
            StreamError: if the file cannot be read or is no parquet file.
        """
        metadata = self.read_metadata(index)
        self.keep(index, metadata)
        return metadata

    def read_metadata(self, index: int) -> pq.FileMetaData:
        return self.kept[index] if index in self.kept else self.read(index, pq.read_metadata)

    def keep(self, index: int, metadata: pq.FileMetaData) -> None:
        if index not in self.kept:
            self.kept[index] = metadata
            self.kept_bytes += metadata.serialized_size
        while self.kept_bytes > METADATA_KEPT and len(self.kept) > 1:
            self.kept_bytes -= self.kept.pop(next(iter(self.kept))).serialized_size

    def row_groups(self) -> RowGroups:
        """Reads the metadata of all files, remote ones several at a time.

        Raises:
            StreamError: if one cannot be read or lacks a column.
        """
        rows = []
        with ThreadPoolExecutor(OPENED_AT_ONCE) as threads:
            every = (threads.map if self.remote else map)(self.read_metadata, range(len(self.files)))
            for index, metadata in enumerate(every):
                self.keep(index, metadata)
                rows += self.describe(index, metadata)
        return RowGroups(*np.array(rows, dtype=np.int64).reshape(-1, 4).T)

    def row_group(self, index: int, number: int) -> pa.Table:
        """The columns of one row group, pictures encoded.

        Raises:
            StreamError: if it cannot be read.
        """
        metadata = self.metadata(index)

        def read(source: str | RemoteFile) -> pa.Table:
            # With `pre_buffer` columns that lie side by side in a file are one request.
            with pq.ParquetFile(source, metadata=metadata, pre_buffer=source is not self.files[index]) as file:
                return file.read_row_group(number, columns=self.columns, use_threads=False)

        return self.read(index, read)

    def read(self, index: int, action: Callable[[str | RemoteFile], Result]) -> Result:
        """What `action` makes of a file; a remote one is tried again.

        Raises:
            StreamError: if the file cannot be read.
        """
        file = self.files[index]

        def read_remote() -> Result:
            source = RemoteFile(file, self.lengths.get(index))
            self.lengths[index] = source.size
            return action(source)

        try:
            if "://" not in file:
                return action(file)
            return with_retries(read_remote, self.tries, lambda: self.counts.add("connection retries"))
        except (OSError, pa.ArrowException) as error:
            raise StreamError(f"data.sources.{self.name}: {file}: {error}") from error

    def describe(self, index: int, metadata: pq.FileMetaData) -> list[tuple[int, int, int, int]]:
        """File, number, rows and bytes in memory of every row group of a file that is not empty."""
        missing = set(self.columns) - set(metadata.schema.to_arrow_schema().names)
        if missing:
            raise StreamError(f"data.sources.{self.name}: {self.files[index]}: no column {', '.join(sorted(missing))}")
        found = []
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            chunks = [group.column(i) for i in range(group.num_columns)]
            chunks = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in self.columns]
            if group.num_rows:
                # Offsets and validity of every leaf come on top of the values.
                size = sum(chunk.total_uncompressed_size + 9 * group.num_rows for chunk in chunks)
                found.append((index, number, group.num_rows, size))
        return found


__all__ = ["LARGEST_POOL", "ParquetFiles", "RowGroups", "StreamError"]
