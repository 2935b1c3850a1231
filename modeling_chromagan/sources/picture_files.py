"""What a data set's files are, and how a picture among them is read: one way for training and for evaluation."""

import re
from pathlib import Path

import fsspec
from PIL import Image

from ..errors import ImageLoadError
from ..image_loading import PICTURE_SUFFIXES, load_color

SPLITS = ("train", "training", "valid", "validation", "val", "dev", "test")  # as files or folders of tables name them


def decode_picture(cell: dict | bytes | None, short_side: int | None = None) -> Image.Image:
    """An undecoded `datasets` image cell, or a file's content, as it is displayed: upright, in sRGB, mode RGB.

    Args:
        cell: holds `bytes` or `path`, or neither.
        short_side: that is enough, see `load_color`.

    Raises:
        ImageLoadError: if it is no readable picture.
        OSError: if a remote file cannot be read.
    """
    cell = {"bytes": cell} if isinstance(cell, bytes) else cell or {}
    content, path = cell.get("bytes"), cell.get("path")
    if content is None and path is None:
        raise ImageLoadError("<no file>", "there is no picture")
    if content is None and "://" in path:  # a streamed folder of pictures on the Hub
        with fsspec.open(path) as file:
            content = file.read()
    return load_color(path if content is None else content, name=path, short_side=short_side)


def list_pictures(folder: Path) -> list[Path]:
    """Every picture file at any depth, by its suffix, in the order of their paths; hidden ones are left out."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def is_picture_folder(where: str) -> bool:
    """Whether this is a local folder without tables, whose content is then pictures."""
    return Path(where).is_dir() and not any(Path(where).rglob("*.parquet"))


def data_set_options(where: str) -> dict:
    """What `datasets` is asked for: a Hub id, or a local folder of parquet files.

    The card of a folder says which files make a split. Without one `datasets` goes by the names, but where some
    follow its pattern it passes over all the others. Here every file counts: it belongs to the split that its name
    begins with, or one of the folders it is in, else to `train`.
    """
    folder = Path(where)
    if not folder.is_dir() or has_card(folder):
        return {"path": where}
    files: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        *folders, name = file.relative_to(folder).parts
        words = [*folders, re.split(r"[-_.]", name)[0]]
        split = next((word for word in words if word in SPLITS), "train")
        files.setdefault(split, []).append(str(file))
    return {"path": "parquet", "data_files": files} if files else {"path": where}


def has_card(folder: Path) -> bool:
    """Whether a data set's README begins with metadata."""
    card = folder / "README.md"
    return card.is_file() and card.read_text(encoding="utf-8", errors="replace").startswith("---")


__all__ = ["data_set_options", "decode_picture", "is_picture_folder", "list_pictures"]
