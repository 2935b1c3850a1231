"""Parquet files of a data set, read by row groups: local ones, files of the Hub and files behind plain HTTP alike.

What a source holds follows from the files' metadata; a row group is one request. Connections that break are tried
again, and every further try is counted.
"""

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
from huggingface_hub import get_session, hf_hub_url
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers

from ...errors import SettingError

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

    @property
    def remote(self) -> bool:
        return any("://" in file for file in self.files)

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
            indices = range(len(self.files))
            footers = threads.map(self.read_or_kept, indices) if self.remote else map(self.read_or_kept, indices)
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


def list_index(name: str, where: str, split: str, connection_tries: int) -> list[str]:
    """Parquet files of a split that a web server's index of a folder links to.

    Raises:
        SettingError: naming the source, if it refuses or cannot be reached.
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
    raise SettingError(f"data.sources.{name}: {where}: {reason}")


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
