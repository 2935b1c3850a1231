"""A source of a recipe, found where its pictures are."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import SettingError
from ...sources.picture_collections import DataSet, PictureFolder, find_collection
from ..recipe import Source


@dataclass(frozen=True)
class FoundSource:
    """A source and what it is read from; `name` is for messages."""

    name: str
    source: Source
    collection: PictureFolder | DataSet

    @property
    def columns(self) -> list[str]:
        """Names of the columns that are read."""
        return [self.source.image_column, *([self.source.label_column] if self.source.use_labels else [])]

    def check_columns(self, found: Sequence[str]) -> None:
        """Raises SettingError if a column that is read is not among those found."""
        for setting, column in zip(("image_column", "label_column"), self.columns, strict=False):
            if column not in found:
                accepted = ", ".join(found)
                raise SettingError(f"data.sources.{self.name}.{setting} is {column!r}; accepted: one of {accepted}")


def find_source(name: str, source: Source, tries: int = 1) -> FoundSource:
    """A folder that `path` names comes first, then a local copy in the folder CHROMAGAN_DATA names, then the Hub.

    Args:
        name: of the source, for messages.
        source: that is looked for.
        tries: of a web server's index before it is given up.

    Raises:
        CollectionError: for a source that is neither local nor on the Hub.
        SettingError: if nothing says where it is.
    """
    path = os.path.expanduser(source.path)  # no shell does it behind an equals sign
    root = os.environ.get("CHROMAGAN_DATA", "")
    if not (path and Path(path).exists()) and root and source.local and (Path(root) / source.local).is_dir():
        path = str(Path(root) / source.local)
    if path:
        return FoundSource(name, source, find_collection(path, tries))
    raise SettingError(
        f"data.sources.{name}: no folder {source.local!r} in CHROMAGAN_DATA ({root or 'unset'}); "
        "accepted: set CHROMAGAN_DATA to the folder that holds it, or give the source a path"
    )


__all__ = ["FoundSource", "find_source"]
