"""The sources of a recipe, found and opened: their pictures, the held-out ones, and the names of classes."""

import contextlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset
from PIL import Image as PillowImage

from ...errors import SettingError
from ...sources.picture_collections import CollectionError, DataSet, PictureFolder, find_collection
from ..recipe import Data, Source
from .filters import FILTERS, failed_filter
from .parquet_files import StreamError
from .photographs import Photographs, read_row
from .shuffled_stream import StreamedRows, class_names, open_stream
from .table_rows import TableRows, open_table
from .validation import collect_validation, hold_out_rows, hold_out_stream

LOOKED_THROUGH = 2000  # pictures of a folder, at most, that are all judged before training begins

Say = Callable[[str], None]  # takes a line for whoever runs the training


def find_source(name: str, source: Source, tries: int) -> PictureFolder | DataSet:
    """What a source is read from.

    A folder that `path` names comes first, then a local copy below the folder that CHROMAGAN_DATA names, then the Hub.

    Raises:
        CollectionError: for a source that is neither local nor on the Hub.
        SettingError: if nothing says where it is.
    """
    path = os.path.expanduser(source.path)  # no shell does it behind an equals sign
    root = os.environ.get("CHROMAGAN_DATA", "")
    if not (path and Path(path).exists()) and root and source.local and (Path(root) / source.local).is_dir():
        path = str(Path(root) / source.local)
    if path:
        return find_collection(path, tries)
    raise SettingError(
        f"data.sources.{name}: no folder {source.local!r} in CHROMAGAN_DATA ({root or 'unset'}); "
        "accepted: set CHROMAGAN_DATA to the folder that holds it, or give the source a path"
    )


@contextlib.contextmanager
def errors_name_the_source(name: str) -> Iterator[None]:
    """Turns what opening a source raises into SettingError."""
    try:
        yield
    except CollectionError as error:
        raise SettingError(f"data.sources.{name}: {error}") from error
    except StreamError as error:  # names the source itself
        raise SettingError(str(error)) from error


@dataclass
class OpenedSource:
    """One source of a recipe, opened.

    photographs: that are learned from.
    class_names: of its labels, `None` where it teaches none.
    validation: held-out pictures, `None` where they are those of another source.
    """

    photographs: Photographs
    class_names: list[str] | None
    validation: list[PillowImage.Image] | None


@dataclass(frozen=True)
class FoundSource:
    """One source of a recipe that is there.

    name: in the recipe.
    source: its settings.
    settings: of the data of the recipe.
    collection: that it is read from.
    short_side: of a decoded picture that is enough, see `load_color`; `None`: whatever it has.
    """

    name: str
    source: Source
    settings: Data
    collection: PictureFolder | DataSet
    short_side: int | None

    def open_stream(self, order_seed: int, hold_out: bool, say: Say | None) -> OpenedSource:
        """Opens a source that is streamed; arguments as of `open_table`, errors as of `open_sources`."""
        source, place = self.source, (self.name, self.collection, self.source)
        held_out = hold_out_stream(*place, self.settings) if hold_out else None
        files, groups = open_stream(*place, source.split, self.settings)
        rows = StreamedRows(files, groups, order_seed, self.settings.pool_mebibytes * 2**20)
        if say is not None:
            say(f"data: {self.name} streamed from {self.collection}: {rows.describe()}")
        names = class_names(files, self.collection, source.label_column) if source.use_labels else None
        return self.opened(rows, names, held_out)

    def open_table(
        self, order_seed: int, hold_out: bool, say: Callable[[str], None] | None, seed: int
    ) -> OpenedSource:
        """Opens a source that is read as a table.

        Args:
            order_seed: of the order of its pictures.
            hold_out: whether validation pictures come from it.
            say: is told where it is read from, and which pictures of a folder are unfit.
            seed: of the choice of held-out pictures.
        """
        source, place = self.source, (self.name, self.collection, self.source)
        table = open_table(*place, source.split)
        if say is not None:
            say(f"data: {self.name} from {self.collection}")
            if isinstance(self.collection, PictureFolder):
                say(f"data: {self.name}: {describe_folder(table, source, self.settings, self.short_side)}")
        numbers, held_out = np.arange(len(table)), None
        if hold_out:
            numbers, held_out = hold_out_rows(*place, self.settings, table, seed)
        names = getattr(table.features[source.label_column], "names", None) if source.use_labels else None
        return self.opened(TableRows(table, order_seed, numbers[: source.max_samples]), names, held_out)

    def opened(
        self, rows: TableRows | StreamedRows, names: list[str] | None, held_out: Iterable[dict] | None
    ) -> OpenedSource:
        source, settings = self.source, self.settings
        if source.use_labels and not names:
            raise SettingError(f"data.sources.{self.name}: column {source.label_column!r} holds no class labels")
        validation = None
        if held_out is not None:
            validation = collect_validation(held_out, source, settings, self.short_side)
        return OpenedSource(Photographs(rows, source, settings, self.short_side), names, validation)


def open_sources(
    settings: Data, seed: int, say: Say | None = print, longest_side: int | None = None
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
    opened: dict[str, OpenedSource] = {}
    validated = settings.validation.source or next(iter(settings.sources))
    for number, (name, source) in enumerate(settings.sources.items()):
        short_side = longest_side and max(math.ceil(longest_side / source.min_crop), settings.min_side)
        with errors_name_the_source(name):
            collection = find_source(name, source, settings.connection_tries)
            found = FoundSource(name, source, settings, collection, short_side)
            arguments = (seed * 1000 + number, name == validated, say)
            opened[name] = found.open_stream(*arguments) if source.streaming else found.open_table(*arguments, seed)
    names = [one.class_names for one in opened.values() if one.class_names]
    photographs = {name: one.photographs for name, one in opened.items()}
    return photographs, opened[validated].validation, names[0] if names else None


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
