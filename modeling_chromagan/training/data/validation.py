"""The fixed pictures that progress is measured on, held out from training."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from datasets import Dataset
from PIL import Image as PillowImage

from ...errors import SettingError
from ...evaluation.protocols import MIN_COLORFULNESS
from ...sources.picture_collections import DataSet, PictureFolder
from ..recipe import Data, Source
from .filters import failed_filter
from .found_source import FoundSource
from .photographs import read_row
from .shuffled_stream import StreamedRows, open_stream
from .table_rows import open_table

STREAMED_POOL = 16  # row groups of a streamed split, all read before training begins


def hold_out_stream(found: FoundSource, settings: Data) -> Iterable[dict]:
    """Rows of the split of a streamed source that the recipe names for validation, in a mixed order.

    Raises:
        SettingError: if the recipe names none, or one that does not exist.
        CollectionError: for a split that is not made of parquet files.
        StreamError: for a file that cannot be read.
    """
    split = settings.validation.split
    if split is None:
        raise SettingError(f"data.validation.split is null; accepted: a split's name while {found.name} is streamed")
    check_split(found.collection, split)
    unlimited = found.source.model_copy(update={"max_samples": None})
    files, groups = open_stream(replace(found, source=unlimited), split, settings)
    rows = StreamedRows(files, groups, 0, settings.pool_mebibytes * 2**20, STREAMED_POOL)
    return rows.rows(range(len(rows)))


def hold_out_rows(found: FoundSource, settings: Data, table: Dataset, seed: int) -> tuple[np.ndarray, Iterable[dict]]:
    """Numbers of the rows of a table that are left to learn from, and the held-out rows in a mixed order.

    Held out is the split that the recipe names, for a folder of pictures one of its sub-folders, or a random share.

    Raises:
        SettingError: for a split that does not exist.
        CollectionError: for a split that cannot be read.
    """
    numbers = np.arange(len(table))
    split = settings.validation.split
    if split is None:
        order = np.random.default_rng([seed, 1]).permutation(numbers)
        count = max(1, round(len(table) * settings.validation.fraction))
        return np.sort(order[count:]), mixed(table.select(np.sort(order[:count])))
    check_split(found.collection, split)
    held_out = open_table(found, split)
    if isinstance(found.collection, PictureFolder):  # whose own split is all of it
        paths = {cell["path"] for cell in held_out["image"]}
        numbers = np.array([number for number, cell in enumerate(table["image"]) if cell["path"] not in paths])
    return numbers, mixed(held_out)


def check_split(collection: PictureFolder | DataSet, split: str) -> None:
    """Raises SettingError for a split that a data set does not have."""
    available = collection.splits() if isinstance(collection, DataSet) else None
    if available is not None and split not in available:
        raise SettingError(f"data.validation.split is {split!r}; accepted: {', '.join(available)}")


def mixed(table: Dataset) -> Iterable[dict]:
    """The rows of a table in a fixed mixed order: data sets are sorted by class."""
    return (table[int(number)] for number in np.random.default_rng(0).permutation(len(table)))


def collect_validation(
    rows: Iterable[dict], source: Source, settings: Data, short_side: int | None
) -> list[PillowImage.Image]:
    """The pictures of the first rows that pass the filters.

    Raises:
        SettingError: if none does.
    """
    colorful = settings.model_copy(update={"min_colorfulness": max(settings.min_colorfulness, MIN_COLORFULNESS)})
    pictures = []
    for row in rows:
        picture, _ = read_row(row, source, short_side)
        if picture is not None and failed_filter(picture, colorful) is None:
            pictures.append(picture)
        if len(pictures) == settings.validation.samples:
            break
    if not pictures:
        raise SettingError("data.validation: no readable color picture that is large enough")
    return pictures


__all__ = ["collect_validation", "hold_out_rows", "hold_out_stream"]
