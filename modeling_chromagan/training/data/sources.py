"""The sources of a recipe, opened: their pictures, the held-out ones, the names of classes."""

import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from datasets import Dataset
from PIL import Image as PillowImage

from ...errors import SettingError
from ...sources.picture_collections import CollectionError, PictureFolder
from ..recipe import Data, Source
from .filters import FILTERS, failed_filter
from .found_source import FoundSource, find_source
from .parquet_files import StreamError
from .photographs import Photographs, read_row
from .shuffled_stream import StreamedRows, class_names, open_stream
from .table_rows import TableRows, open_table
from .validation import collect_validation, hold_out_rows, hold_out_stream

LOOKED_THROUGH = 2000  # pictures of a folder, at most, that are all judged before training begins

# The rows to learn from, the names of their classes if the source teaches any, and rows that are held out.
Opened = tuple[TableRows | StreamedRows, list[str] | None, Iterable[dict] | None]


def open_sources(
    settings: Data, seed: int, say: Callable[[str], None] | None = print, longest_side: int | None = None
) -> tuple[dict[str, Photographs], list[PillowImage.Image], list[str] | None]:
    """Every source of a recipe, the validation pictures, and the class names of the labelled source.

    Args:
        settings: of the recipe.
        seed: of the order of the pictures.
        say: is told where each source is read from, how a streamed one is mixed, and which pictures of a folder are
            not fit to learn from; `None`: nobody asks.
        longest_side: that pictures are ever resized to, so that larger ones need not be decoded whole; `None`: any.

    Raises:
        SettingError: if a source cannot be had.
    """
    opened, names, validation = {}, None, []
    validated = settings.validation.source or next(iter(settings.sources))
    for number, (name, source) in enumerate(settings.sources.items()):
        short_side = longest_side and max(math.ceil(longest_side / source.min_crop), settings.min_side)
        with errors_name_the_source(name):
            found = find_source(name, source, settings.connection_tries)
            open_rows = open_streamed if source.streaming else open_tabular
            rows, own_names, held_out = open_rows(found, settings, seed, number, name == validated)
            if say is not None:
                describe_source(found, rows, settings, short_side, say)
            if held_out is not None:
                validation = collect_validation(held_out, source, settings, short_side)
        if source.use_labels and not own_names:
            raise SettingError(f"data.sources.{name}: column {source.label_column!r} holds no class labels")
        names = own_names or names
        opened[name] = Photographs(rows, source, settings, short_side)
    return opened, validation, names


@contextlib.contextmanager
def errors_name_the_source(name: str) -> Iterator[None]:
    """Turns what opening a source raises into SettingError."""
    try:
        yield
    except CollectionError as error:
        raise SettingError(f"data.sources.{name}: {error}") from error
    except StreamError as error:  # names the source itself
        raise SettingError(str(error)) from error


def open_streamed(found: FoundSource, settings: Data, seed: int, number: int, hold_out: bool) -> Opened:
    """Opens the source of this number in a recipe by row groups; validation rows where they come from it."""
    held_out = hold_out_stream(found, settings) if hold_out else None
    files, groups = open_stream(found, found.source.split, settings)
    rows = StreamedRows(files, groups, seed * 1000 + number, settings.pool_mebibytes * 2**20)
    use_labels, column = found.source.use_labels, found.source.label_column
    return rows, class_names(files, found.collection, column) if use_labels else None, held_out


def open_tabular(found: FoundSource, settings: Data, seed: int, number: int, hold_out: bool) -> Opened:
    """Opens the source of this number in a recipe as a table; validation rows where they come from it."""
    table = open_table(found, found.source.split)
    numbers, held_out = hold_out_rows(found, settings, table, seed) if hold_out else (np.arange(len(table)), None)
    rows = TableRows(table, seed * 1000 + number, numbers[: found.source.max_samples])
    use_labels, column = found.source.use_labels, found.source.label_column
    return rows, getattr(table.features[column], "names", None) if use_labels else None, held_out


def describe_source(
    found: FoundSource,
    rows: TableRows | StreamedRows,
    settings: Data,
    short_side: int | None,
    say: Callable[[str], None],
) -> None:
    """Says where a source is read from, and what will be seen of it."""
    if isinstance(rows, StreamedRows):
        say(f"data: {found.name} streamed from {found.collection}: {rows.describe()}")
        return
    say(f"data: {found.name} from {found.collection}")
    if isinstance(found.collection, PictureFolder):
        say(f"data: {found.name}: {describe_folder(rows.table, found.source, settings, short_side)}")


def describe_folder(table: Dataset, source: Source, settings: Data, short_side: int | None) -> str:
    """How many pictures of a folder are fit to learn from, and which are not, where it is small enough to look."""
    total = len(table)
    if total > LOOKED_THROUGH:
        return f"{total:,} pictures; those that are unfit are passed over as they come"
    unfit = defaultdict(list)
    for row in table:
        picture, _ = read_row(row, source, short_side)
        reason = "broken" if picture is None else failed_filter(picture, settings)
        if reason is not None:
            unfit[reason].append(Path(row["image"]["path"]).name)
    if not unfit:
        return f"all {total:,} pictures"
    groups = []
    for reason in FILTERS:
        if unfit[reason]:
            more = ["..."] if len(unfit[reason]) > 3 else []
            groups.append(f"{len(unfit[reason])} {reason} ({', '.join(unfit[reason][:3] + more)})")
    return f"{total - sum(map(len, unfit.values())):,} of {total:,} pictures; left out: {', '.join(groups)}"


def describe_rejected(rejected: dict[str, int]) -> str:
    """What a training passed over, from its counts by filter."""
    groups = [f"{count:,} {reason}" for reason, count in rejected.items() if count]
    if not groups:
        return "nothing was passed over"
    return f"passed over {sum(rejected.values()):,} times: {', '.join(groups)}; other pictures took these places"


__all__ = ["describe_rejected", "open_sources"]
