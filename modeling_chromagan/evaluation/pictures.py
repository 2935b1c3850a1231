"""Pictures of an evaluation, read one after the other: memory does not grow with their number.

A source is read from its start as often as needed, and nothing is kept of what was read. What cannot be read is named
and passed over, never the end of a run.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import torch

from ..errors import ImageLoadError, first_line
from ..sources.picture_collections import CollectionError, DataSet, PictureFolder, find_collection
from ..sources.picture_files import decode_picture
from .protocols import Protocol

SMALLEST_SIDE = 16  # what the networks and the windows of SSIM need


@dataclass(frozen=True)
class PictureSource:
    """Where pictures come from.

    Args:
        class_names: the names of the labels in their order, `None` where there are none.
        open_rows: begins a pass over all rows, still compressed: `image` with `bytes` or `path`, and `label`.
        known_count: number of rows where it is known without a pass.
        name: for messages.
        title: for sheets, which are shown to others: of a local folder its own name alone.
    """

    name: str
    title: str
    class_names: list[str] | None
    open_rows: Callable[[], Iterable[dict]]
    known_count: int | None

    def rows(self) -> Iterator[dict]:
        """A pass over all rows.

        Raises:
            CollectionError: if the source cannot be read any further.
        """
        try:
            yield from self.open_rows()
        except Exception as error:  # of files, of pyarrow, of the Hub's client: they share no base
            raise CollectionError(f"{self.name}: {first_line(error)}") from error

    def count(self) -> int:
        """Number of rows; takes a pass without decoding where the source does not say."""
        return sum(1 for _ in self.rows()) if self.known_count is None else self.known_count


@dataclass(frozen=True)
class Picture:
    """One picture ready to be measured: `rgb` (3, H, W) uint8, `label` -1 where there is none."""

    index: int
    name: str
    rgb: torch.Tensor
    label: int


def open_source(data: str, split: str) -> PictureSource:
    """Opens a data set of the Hub, a local folder of the same layout, a parquet file, or a folder of pictures.

    Of a folder of pictures the subfolder `split` is taken where there is one, else every picture at any depth in the
    order of their names.

    Raises:
        CollectionError: if the data set, the split or the column `image` is missing or unreadable.
    """
    collection = find_collection(data)
    if isinstance(collection, PictureFolder):
        inner = collection.folder / split
        return _picture_rows(PictureFolder(inner) if inner.is_dir() else collection)
    return _data_set_rows(collection, split)


def _picture_rows(collection: PictureFolder) -> PictureSource:
    folder = collection.folder
    names = [path.relative_to(folder) for path in collection.files()]

    def open_rows() -> Iterator[dict]:
        return ({"image": {"path": str(folder / name), "bytes": None}, "name": str(name)} for name in names)

    return PictureSource(str(folder), folder.resolve().name, None, open_rows, len(names))


def _data_set_rows(collection: DataSet, split: str) -> PictureSource:
    rows = collection.stream(split)
    from datasets import ClassLabel, Image  # it is there, or the collection would have said so

    features = rows.features or {}
    if not isinstance(features.get("image"), Image):
        found = ", ".join(features) or "none"
        raise CollectionError(f"{collection}: no column image with pictures; columns: {found}")
    label = features.get("label")
    class_names = label.names if isinstance(label, ClassLabel) else None
    columns = ["image"] if class_names is None else ["image", "label"]
    files = collection.files(split)

    def open_rows() -> Iterable[dict]:
        if all(file.endswith(".parquet") for file in files):
            return _parquet_rows(files, columns)
        return rows.select_columns(columns).decode(False)

    recorded = (rows.info.splits or {}).get(split)  # in the data set's card, if it has one
    title = Path(collection.name).resolve().name if Path(collection.name).exists() else collection.name
    count = recorded and recorded.num_examples
    return PictureSource(f"{collection}, split {split}", f"{title}, {split}", class_names, open_rows, count)


def _parquet_rows(files: Sequence[str], columns: Sequence[str]) -> Iterator[dict]:
    """Rows of parquet files, a few at a time.

    The library's own streaming reads far ahead of whoever decodes pictures: up to a whole file, a gigabyte at most.
    """
    from pyarrow.parquet import ParquetFile

    for name in files:
        with fsspec.open(name) as file:
            parquet = ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
            for batch in parquet.iter_batches(batch_size=16, columns=list(columns), use_threads=False):
                for row in batch.to_pylist():
                    if isinstance(row["image"], bytes):  # stored without a name
                        row["image"] = {"bytes": row["image"], "path": None}
                    yield row


def evenly_spaced(count: int, samples: int | None) -> Iterable[int]:
    """Positions of `samples` of `count` items, from all over: data sets are often sorted by class."""
    samples = count if samples is None else min(samples, count)
    return (index * count // samples for index in range(samples))


def read_pictures(
    source: PictureSource,
    protocol: Protocol,
    indices: Iterable[int] | None = None,
    on_broken: Callable[[str, str], None] | None = None,
) -> Iterator[Picture]:
    """Reads the rows at `indices` (rising; `None`: all that the protocol takes) as the protocol compares them.

    Args:
        source: read from its start.
        protocol: gives the size, and how many from the start at most.
        indices: rising positions.
        on_broken: told name and reason of every picture that is passed over.

    Raises:
        CollectionError: if the source itself breaks off.
    """
    if indices is None:
        indices = itertools.count() if protocol.first is None else range(protocol.first)
    wanted = iter(indices)
    next_index = next(wanted, None)
    for index, row in enumerate(source.rows()):
        if next_index is None:
            return
        if index < next_index:
            continue
        next_index = next(wanted, None)
        cell = row["image"] or {}
        name = row.get("name") or (cell.get("path") if cell.get("bytes") is not None else None) or f"row {index}"
        try:
            picture = protocol.fit(decode_picture(cell))
            if min(picture.size) < SMALLEST_SIDE:
                raise ValueError(f"is {picture.width}x{picture.height}; accepted: {SMALLEST_SIDE} pixels a side")
        except Exception as error:  # damaged files surface as almost any type
            if on_broken is not None:
                on_broken(name, error.reason if isinstance(error, ImageLoadError) else first_line(error))
            continue
        label = row.get("label")
        rgb = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()  # (3, H, W)
        yield Picture(index, name, rgb, -1 if label is None else label)


__all__ = [
    "Picture",
    "PictureSource",
    "evenly_spaced",
    "open_source",
    "read_pictures",
]
