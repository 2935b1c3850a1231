"""Collections of pictures, found by the name that a person gives: a folder, a Hub id, a parquet file, an address."""

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ..errors import UserError, one_line
from ..image_loading import ACCEPTED_FORMATS
from ..picture_formats import PILLOW_SUFFIXES
from .remote_files import NO_ACCESS, list_web_folder

if TYPE_CHECKING:
    import datasets

SPLITS = ("train", "training", "valid", "validation", "val", "dev", "test")  # as files or folders of tables name them


class CollectionError(UserError, ValueError):
    """A collection that is not there or cannot be opened; `str` is one line that names it."""


@dataclass(frozen=True)
class PictureFolder:
    """A local folder without tables: it is all of its pictures, whatever they are called and however deep they lie."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def files(self) -> list[Path]:
        """Every picture file, by its suffix, in the order of their paths; hidden ones are left out.

        Raises:
            CollectionError: if there is none.
        """
        found = [path.relative_to(self.folder) for path in self.folder.rglob("*")]
        found = [path for path in found if path.suffix.lower() in PILLOW_SUFFIXES]
        shown = [self.folder / path for path in found if not any(part.startswith(".") for part in path.parts)]
        if not shown:
            accepted = f"parquet files or pictures ({ACCEPTED_FORMATS})"
            raise CollectionError(f"{self.folder} holds no pictures; accepted: {accepted}")
        return sorted(shown)


@dataclass(frozen=True)
class DataSet:
    """A data set of the Hub, a local folder of the same layout, parquet files alone, or a web server's folder of them.

    Args:
        name: Hub id, folder, parquet file or address.
        tries: of a web server's index before it is given up.
    """

    name: str
    tries: int = 1

    def __str__(self) -> str:
        return self.name

    @property
    def is_file(self) -> bool:
        """Whether it is one parquet file, which is every split."""
        return self.name.endswith(".parquet")

    def splits(self) -> list[str] | None:
        """Names of the splits, `None` where only the names of files say."""
        if self.is_file or "://" in self.name:
            return None
        return [str(split) for split in self.builder.config.data_files or {}]

    def files(self, split: str) -> list[str]:
        """The files of a split, local paths or addresses.

        Raises:
            CollectionError: if there is no such split, or the files cannot be listed.
        """
        if self.is_file:
            return [self.name]
        if "://" in self.name:
            with self.errors_in_one_line():
                files = list_web_folder(self.name, self.tries)
            mine = re.compile(rf"{re.escape(split)}[-.]")
            return [file for file in files if mine.match(unquote(file.rpartition("/")[2]))]
        files = self.builder.config.data_files or {}
        if split not in files:
            accepted = ", ".join(map(str, files)) or "none"
            raise CollectionError(f"{self.name}, split {split!r} is none; accepted: {accepted}")
        return [str(file) for file in files[split]]

    def load(self, split: str) -> "datasets.Dataset":
        """The rows of a split, which are copied to the disk first.

        Raises:
            CollectionError: naming the data set, if it cannot be had.
        """
        self.files(split)  # refuses a split that is none
        with self.errors_in_one_line():
            self.builder.download_and_prepare()
            return self.builder.as_dataset(split="train" if self.is_file else split)

    def stream(self, split: str) -> "datasets.IterableDataset":
        """The rows of a split one after the other; of no other split is anything fetched.

        Raises:
            CollectionError: naming the data set, if it cannot be had.
        """
        self.files(split)  # refuses a split that is none
        with self.errors_in_one_line():
            return self.builder.as_streaming_dataset(split="train" if self.is_file else split)

    def class_names(self, column: str) -> list[str] | None:
        """Names of the classes of a column, `None` where there are none or nothing says."""
        if self.is_file or "://" in self.name:
            return None
        return getattr((self.builder.info.features or {}).get(column), "names", None)

    @functools.cached_property
    def builder(self) -> "datasets.DatasetBuilder":
        """What `datasets` knows of it without reading it.

        Raises:
            CollectionError: naming it; of a gated data set, what to do about the token.
        """
        if "://" in self.name:
            raise CollectionError(f"{self.name} is an address; accepted: a training source with streaming: true")
        try:
            import datasets
        except ImportError as error:
            raise CollectionError("data sets need the library datasets: pip install 'chromagan[train]'") from error
        with self.errors_in_one_line():
            return datasets.load_dataset_builder(**self.builder_options())

    def builder_options(self) -> dict:
        """What `datasets` is asked for.

        The card of a folder says which files make a split. Without one `datasets` goes by the names, but where some
        follow its pattern it passes over all the others. Here every file counts: it belongs to the split that its name
        begins with, or one of the folders it is in, else to `train`.
        """
        folder = Path(self.name)
        if self.is_file:
            return {"path": "parquet", "data_files": {"train": [self.name]}}
        if not folder.is_dir() or has_card(folder):
            return {"path": self.name}
        files: dict[str, list[str]] = {}
        for file in sorted(folder.rglob("*.parquet")):
            *folders, name = file.relative_to(folder).parts
            words = [*folders, re.split(r"[-_.]", name)[0]]
            split = next((word for word in words if word in SPLITS), "train")
            files.setdefault(split, []).append(str(file))
        return {"path": "parquet", "data_files": files}

    @contextlib.contextmanager
    def errors_in_one_line(self) -> Iterator[None]:
        """Turns what `datasets` or a server raises into CollectionError."""
        try:
            yield
        except CollectionError:
            raise
        except Exception as error:  # of datasets, of the Hub's client, of pyarrow: they share no base
            reason = one_line(error)
            if "gated" in reason:
                reason = f"gated on the Hub: {NO_ACCESS}"
            raise CollectionError(f"{self.name}: {reason}") from error


def find_collection(name: str, tries: int = 1) -> PictureFolder | DataSet:
    """The collection that a person names.

    Args:
        name: a folder, a Hub id, a parquet file or an address.
        tries: of a web server's index before it is given up.

    Raises:
        CollectionError: for a path that is not there, or a file that is no table.
    """
    path = Path(os.path.expanduser(name))
    if path.is_dir():
        return DataSet(str(path)) if any(path.rglob("*.parquet")) else PictureFolder(path)
    if path.exists():
        if path.suffix != ".parquet":
            raise CollectionError(f"{name} is a file; accepted: a folder, a parquet file or a Hub id")
        return DataSet(str(path))
    is_path = name.startswith((".", "/", "~")) or name.endswith(".parquet") or name.count("/") > 1
    if is_path and "://" not in name:
        raise CollectionError(f"{name}: there is no such folder or file; accepted: one that is there, or a Hub id")
    return DataSet(name, tries)


def has_card(folder: Path) -> bool:
    """Whether a data set's README begins with metadata."""
    card = folder / "README.md"
    return card.is_file() and card.read_text(encoding="utf-8", errors="replace").startswith("---")


__all__ = ["CollectionError", "DataSet", "PictureFolder", "find_collection"]
