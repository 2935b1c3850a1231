"""Rows of parquet files, read by row groups in one mixed order that every process computes from the metadata alone.

Local files, files of a data set on the Hub, and files behind plain HTTP are read alike. Nothing is copied to the disk,
and no state is saved: the row at a position is a function of (seed, epoch, index).
"""

import json
import re
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urljoin

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import load_dataset_builder
from datasets.exceptions import DatasetsError
from huggingface_hub import get_session, hf_hub_url
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers

from .recipe import Data, RecipeError, Source

POOL_SHARE = 0.75  # of the allowed bytes; the rest holds what a batch that crosses slots still needs, and reading
LARGEST_POOL = 1000  # row groups; more mix no better
FOOTER_BYTES = 64 * 2**10  # read at once from a file's end; longer footers take a second request
FOOTERS_KEPT = 32 * 2**20  # bytes of parquet footers kept in memory
OPENED_AT_ONCE = 16  # remote files, while their metadata is read
TIMEOUT_SECONDS = 30.0  # without a byte
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 30.0  # between tries; doubled every time
HUB_FILE = re.compile(r"hf://datasets/(?P<repo>[^/@]+(?:/[^/@]+)?)@(?P<revision>[^/]+)/(?P<file>.+)")
FROM_WORKER = re.compile(r"Caught StreamError in .*\bStreamError: (?P<line>.*)", re.DOTALL)


class StreamError(OSError):
    """A source that cannot be read on: one line naming the source, the file and what happened."""

    def __init__(self, message: str):
        # A data worker's error is raised again with the worker's traceback as its message.
        raised_again = FROM_WORKER.match(message)
        super().__init__(" ".join((raised_again["line"] if raised_again else message).split()))


class SharedCounts:
    """Counts by name that the data workers of a process add to and the process itself reads; `dict()` takes them."""

    def __init__(self, names: tuple[str, ...]):
        self.names = names
        self.values = torch.zeros(65, len(names), dtype=torch.int64).share_memory_()  # a row for every writer

    def add(self, name: str) -> None:
        worker = torch.utils.data.get_worker_info()
        self.values[0 if worker is None else 1 + worker.id % 64, self.names.index(name)] += 1

    def update(self, counts: dict[str, int]) -> None:
        """Adds counts, of a checkpoint for instance; names that are none of ours are left out."""
        for name, count in counts.items():
            if name in self.names:
                self.values[0, self.names.index(name)] += count

    def keys(self) -> tuple[str, ...]:
        return self.names

    def __getitem__(self, name: str) -> int:
        return int(self.values[:, self.names.index(name)].sum())


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


class RemoteFile:
    """The file-like object that pyarrow reads a span of a remote file from; the span is fetched in one request."""

    closed = False

    def __init__(self, content: bytes, start: int, total: int):
        self.content, self.start, self.total = content, start, total
        self.position = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + (0, self.position, self.total)[whence]
        return self.position

    def tell(self) -> int:
        return self.position

    def size(self) -> int:
        return self.total

    def read(self, count: int = -1) -> bytes:
        begin = self.position - self.start
        if begin < 0 or begin + max(count, 0) > len(self.content):
            raise OSError(f"bytes {self.position} to {self.position + count} lie outside of what was fetched")
        content = self.content[begin : begin + count if count >= 0 else None]
        self.position += len(content)
        return content

    def close(self) -> None:
        self.closed = True


class ParquetFiles:
    """Parquet files of one source, local or remote, and how they are read: with retries that are counted.

    Args:
        name: of the source, for messages.
        files: local paths, hf://datasets/... or http(s)://...
        columns: that are read.
        tries: of a remote read before it is given up.
    """

    def __init__(self, name: str, files: list[str], columns: list[str], tries: int):
        self.name, self.files, self.columns, self.tries = name, files, columns, tries
        self.counts = SharedCounts(("connection retries",))
        self.footers: OrderedDict[int, pq.FileMetaData] = OrderedDict()
        self.footer_bytes = 0

    def footer(self, index: int) -> pq.FileMetaData:
        """Metadata of a file; what was used last is kept, up to a bound.

        Raises:
            StreamError: if the file cannot be read or is no parquet file.
        """
        self.keep(index, self.read_or_kept(index))
        return self.footers[index]

    def read_or_kept(self, index: int) -> pq.FileMetaData:
        return self.footers[index] if index in self.footers else self.read_footer(self.files[index])

    def keep(self, index: int, footer: pq.FileMetaData) -> None:
        if index not in self.footers:
            self.footers[index] = footer
            self.footer_bytes += footer.serialized_size
        self.footers.move_to_end(index)
        while self.footer_bytes > FOOTERS_KEPT and len(self.footers) > 1:
            self.footer_bytes -= self.footers.popitem(last=False)[1].serialized_size

    def read_footer(self, file: str) -> pq.FileMetaData:
        try:
            if "://" not in file:
                return pq.read_metadata(file)
            content, total = self.fetch(file, f"-{FOOTER_BYTES}")
            length = int.from_bytes(content[-8:-4], "little") + 8
            if content[-4:] == b"PAR1" and len(content) < length <= total:
                content, total = self.fetch(file, f"-{length}", length)
            return pq.read_metadata(pa.BufferReader(content))  # a file's end reads like a file
        except (OSError, pa.ArrowException) as error:
            raise self.refusal(file, error) from error

    def row_group(self, index: int, number: int) -> pa.Table:
        """The columns of one row group, pictures encoded.

        Raises:
            StreamError: if it cannot be read.
        """
        file, footer = self.files[index], self.footer(index)
        try:
            if "://" not in file:
                source = file
            else:
                begin, end = self.span(footer, number)
                content, total = self.fetch(file, f"{begin}-{end - 1}", end - begin)
                source = pa.PythonFile(RemoteFile(content, begin, total), mode="r")
            with pq.ParquetFile(source, metadata=footer) as opened:
                return opened.read_row_group(number, columns=self.columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise self.refusal(file, error) from error

    def column_chunks(self, footer: pq.FileMetaData, number: int) -> list[pq.ColumnChunkMetaData]:
        group = footer.row_group(number)
        chunks = [group.column(i) for i in range(group.num_columns)]
        return [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in self.columns]

    def span(self, footer: pq.FileMetaData, number: int) -> tuple[int, int]:
        """The bytes of a file, from and up to, that hold the columns of a row group."""
        begins, ends = [], []
        for chunk in self.column_chunks(footer, number):
            begins.append(chunk.dictionary_page_offset or chunk.data_page_offset)
            ends.append(begins[-1] + chunk.total_compressed_size)
        return min(begins), max(ends)

    def row_groups(self) -> RowGroups:
        """Reads the metadata of all files; remote ones several at a time.

        Raises:
            StreamError: if one cannot be read or holds other columns.
        """
        rows = []
        with ThreadPoolExecutor(OPENED_AT_ONCE) as threads:
            remote = any("://" in file for file in self.files)
            indices = range(len(self.files))
            footers = threads.map(self.read_or_kept, indices) if remote else map(self.read_or_kept, indices)
            for index, footer in enumerate(footers):
                self.keep(index, footer)
                rows += self.sizes(index, footer)
        return RowGroups(*np.array(rows, dtype=np.int64).reshape(-1, 4).T)

    def sizes(self, index: int, footer: pq.FileMetaData) -> list[tuple[int, int, int, int]]:
        """File, number, rows and bytes in memory of every row group of a file that is not empty."""
        found = []
        for number in range(footer.num_row_groups):
            rows = footer.row_group(number).num_rows
            chunks = self.column_chunks(footer, number)
            if {chunk.path_in_schema.split(".")[0] for chunk in chunks} != set(self.columns):
                raise self.refusal(self.files[index], f"no columns {', '.join(self.columns)}")
            if rows:
                # Offsets and validity of every leaf come on top of the values.
                found.append((index, number, rows, sum(c.total_uncompressed_size + 9 * rows for c in chunks)))
        return found

    def fetch(self, file: str, span: str, length: int | None = None) -> tuple[bytes, int]:
        """Bytes of a remote file and the file's length.

        Args:
            file: hf://datasets/... or http(s)://...
            span: of bytes, as HTTP's Range header has it.
            length: what has to come; `None`: whatever comes.

        Raises:
            StreamError: when it is refused, or all tries failed.
        """
        url, headers = remote_address(file)
        headers["Range"] = f"bytes={span}"
        reason, started = "", time.monotonic()
        for number in tries(self.tries):
            if number:
                self.counts.add("connection retries")
            try:
                response = get_session().get(url, headers=headers, timeout=TIMEOUT_SECONDS)
            except OfflineModeIsEnabled as error:
                raise self.refusal(file, error) from error
            except Exception as error:  # the client's own errors share no public base
                reason = f"{type(error).__name__}: {error}"
                continue
            if response.status_code == 206:
                total = int(response.headers["Content-Range"].rpartition("/")[2])
                if length in (None, len(response.content)):
                    return response.content, total
                reason = f"{len(response.content)} of {length} bytes came"
                continue
            if response.status_code in (401, 403):
                raise StreamError(f"data.sources.{self.name}: {file}: {access_refusal(response.status_code)}")
            reason = f"HTTP status {response.status_code}"
            if response.status_code == 200:
                reason = "the server answers no range requests"
            if response.status_code < 500 and response.status_code not in (408, 429):
                raise self.refusal(file, reason)
        seconds = time.monotonic() - started
        raise self.refusal(file, f"{reason}; given up after {self.tries} tries in {seconds:.0f} s")

    def refusal(self, file: str, reason: Exception | str) -> StreamError:
        if isinstance(reason, StreamError):
            return reason
        return StreamError(f"data.sources.{self.name}: {file}: {reason}")


def tries(count: int) -> Iterator[int]:
    """The numbers 0, 1, ..., each after a wait that is twice as long as the one before."""
    for number in range(count):
        if number:
            time.sleep(min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (number - 1)))
        yield number


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

    def candidates(self, position: int) -> Iterator[dict]:
        """The row at a position, then those that follow in its group's order, which take its place if it is no good.

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


def open_stream(name: str, where: str, source: Source, split: str, settings: Data) -> tuple[ParquetFiles, RowGroups]:
    """Files and row groups of one split of a streamed source, as far as `max_samples` reaches.

    Args:
        name: of the source, for messages.
        where: Hub id, folder, parquet file, or the URL of a parquet file or of a folder's index.
        source: its columns.
        split: of the data set.
        settings: how often a connection is tried.

    Raises:
        RecipeError: naming the source, for a data set, split or column that does not exist or cannot be reached.
    """
    files = list_files(name, where, split, settings.connection_tries)
    columns = [source.image_column, *([source.label_column] if source.use_labels else [])]
    opened = ParquetFiles(name, files, columns, settings.connection_tries)
    try:
        found = opened.footer(0).schema.to_arrow_schema().names
        for setting, column in zip(("image_column", "label_column"), columns, strict=False):
            if column not in found:
                raise RecipeError(f"data.sources.{name}.{setting} is {column!r}; accepted: one of {', '.join(found)}")
        groups = opened.row_groups()
    except StreamError as error:
        raise RecipeError(str(error)) from error
    if source.max_samples:
        groups = groups.first(source.max_samples)
    if not len(groups.rows):
        raise RecipeError(f"data.sources.{name}: {where}, split {split!r}: no rows")
    return opened, groups


def list_files(name: str, where: str, split: str, connection_tries: int) -> list[str]:
    """The parquet files of a split.

    Raises:
        RecipeError: naming the source, if there are none or they cannot be listed.
    """
    if where.endswith(".parquet"):
        return [where]
    if where.startswith(("http://", "https://")):
        files = list_index(name, where, split, connection_tries)
    else:
        builder = open_builder(name, where)
        data_files = builder.config.data_files or {}
        if split not in data_files:
            accepted = ", ".join(map(str, data_files)) or "none"
            raise RecipeError(f"data.sources.{name}: {where}, split {split!r} is none; accepted: {accepted}")
        files = [str(file) for file in data_files[split]]
    if not files or not all(file.endswith(".parquet") for file in files):
        raise RecipeError(
            f"data.sources.{name}.streaming is true, and {where}, split {split!r}, is not made of parquet files; "
            "accepted: streaming: false"
        )
    return files


def list_splits(name: str, where: str) -> list[str] | None:
    """Names of the splits of a data set; `None` where only its files say."""
    if where.endswith(".parquet") or "://" in where:
        return None
    return [str(split) for split in open_builder(name, where).config.data_files or {}]


def list_index(name: str, where: str, split: str, connection_tries: int) -> list[str]:
    """Parquet files of a split that a web server's index of a folder links to.

    Raises:
        RecipeError: naming the source, if it refuses or cannot be reached.
    """
    where = where.rstrip("/") + "/"
    for _ in tries(connection_tries):
        try:
            response = get_session().get(where, timeout=TIMEOUT_SECONDS)
        except Exception as error:  # the client's own errors share no public base
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            continue
        if response.status_code == 200:
            links = sorted(set(re.findall(r'href="([^"?#]+\.parquet)"', response.text)))
            mine = re.compile(rf"{re.escape(split)}[-.]")
            return [urljoin(where, link) for link in links if mine.match(Path(unquote(link)).name)]
        reason = f"HTTP status {response.status_code}"
        if response.status_code < 500 and response.status_code not in (408, 429):
            break
    raise RecipeError(f"data.sources.{name}: {where}: {reason}")


def open_builder(name: str, where: str):
    """What `datasets` knows of a data set without reading it.

    Raises:
        RecipeError: naming the source; for a gated data set, what to do about the token.
    """
    try:
        return load_dataset_builder(where)
    except (DatasetsError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        if "gated" in reason:
            reason = f"gated on the Hub: {access_refusal(403 if 'ask for access' in reason else 401)}"
        raise RecipeError(f"data.sources.{name}: {where}: {reason}") from error


def class_names(files: ParquetFiles, where: str, column: str) -> list[str] | None:
    """Names of the classes of a column, which `datasets` writes into parquet files or a data set's card."""
    metadata = files.footer(0).metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        if features.get(column, {}).get("names"):
            return features[column]["names"]
    except (ValueError, AttributeError):  # another program's idea of that entry
        pass
    if where.endswith(".parquet") or "://" in where:
        return None
    feature = (open_builder(files.name, where).info.features or {}).get(column)
    return getattr(feature, "names", None)


def remote_address(file: str) -> tuple[str, dict[str, str]]:
    """URL and headers for a file; only the Hub is shown the user's token."""
    on_hub = HUB_FILE.match(file)
    if on_hub is None:
        return file, {}
    revision = unquote(on_hub["revision"])
    return hf_hub_url(on_hub["repo"], on_hub["file"], repo_type="dataset", revision=revision), build_hf_headers()


def access_refusal(status: int) -> str:
    """What to do when the Hub asks who we are (401) or says no (403)."""
    if status == 401:
        return "no access without a token; accepted: HF_TOKEN, or `hf auth login`, of an account with access"
    return "the token's account has no access; accepted: HF_TOKEN of an account that accepted the data set's terms"
