"""Rows of a table at positions of an endless order, a seeded permutation for every epoch."""

from collections.abc import Iterator, Sequence

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image

from ...sources.picture_collections import CollectionError, PictureFolder
from .found_source import FoundSource

REPLACEMENTS = 99  # tried for one position


class TableRows:
    """The rows of a table at positions of an endless order, pictures encoded.

    Args:
        table: that is read in any order.
        seed: of the order, and of the rows that replace others.
        numbers: of the rows that are used; `None`: all.
    """

    remote, retries = False, 0

    def __init__(self, table: Dataset, seed: int = 0, numbers: np.ndarray | None = None):
        self.table, self.seed = table, seed
        self.numbers = np.arange(len(table)) if numbers is None else numbers
        self.permutations: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def number(self, position: int) -> int:
        """Where the row at a position stands in the table."""
        epoch, place = divmod(position, len(self))
        if epoch not in self.permutations:
            self.permutations = {epoch: np.random.default_rng([self.seed, epoch]).permutation(len(self))}
        return int(self.numbers[self.permutations[epoch][place]])

    def rows(self, positions: Sequence[int]) -> list[dict]:
        """The rows at some positions."""
        if not positions:
            return []
        columns = self.table[[self.number(position) for position in positions]]
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def replacements(self, position: int) -> Iterator[dict]:
        """Rows that may take the place of the one at a position, drawn from (seed, position, attempt)."""
        for attempt in range(REPLACEMENTS):
            place = np.random.default_rng([self.seed, position, attempt]).integers(len(self))
            yield self.table[int(self.numbers[place])]


def open_table(found: FoundSource, split: str) -> Dataset:
    """One split of a source, its pictures still encoded.

    Args:
        found: the source.
        split: of a data set; of a folder of pictures `train` is all of it, another name one of its sub-folders.

    Raises:
        CollectionError: for a split that is none or cannot be read.
        SettingError: for a column that does not exist.
    """
    if isinstance(found.collection, PictureFolder):
        table = picture_table(found.collection, split, found.source.use_labels)
    else:
        table = found.collection.load(split)
    found.check_columns(table.column_names)
    return table.cast_column(found.source.image_column, Image(decode=False))


def picture_table(collection: PictureFolder, split: str, use_labels: bool) -> Dataset:
    """The pictures of a folder in the order of their paths.

    Args:
        collection: all pictures of a folder.
        split: `train` is all of them, another name those of a sub-folder.
        use_labels: every picture's class is then called like the folder it lies in.

    Raises:
        CollectionError: for a folder without pictures, or a picture without a class.
    """
    root = collection.folder if split == "train" else collection.folder / split
    if not root.is_dir():
        raise CollectionError(
            f"{collection} has no sub-folder {split!r}; accepted: train, which is all of its pictures, or the name "
            "of a sub-folder"
        )
    files = PictureFolder(root).files()
    columns: dict[str, list] = {"image": [{"path": str(file), "bytes": None} for file in files]}
    features = {"image": Image(decode=False)}
    if use_labels:
        loose = [file for file in files if file.parent == root]
        if loose:
            raise CollectionError(
                f"{loose[0]} lies in no sub-folder; accepted with use_labels: a sub-folder for every class"
            )
        columns["label"] = [file.parent.name for file in files]
        features["label"] = ClassLabel(names=sorted(set(columns["label"])))
    return Dataset.from_dict(columns, features=Features(features))


__all__ = ["TableRows", "open_table"]
