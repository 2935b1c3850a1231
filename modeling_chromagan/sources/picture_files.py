"""One stored picture, as it is displayed: a file, the bytes of one, or a cell of a data set."""

from typing import Any

import fsspec
from PIL import Image

from ..errors import ImageLoadError
from ..image_loading import load_color


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
    content: bytes | None = cell.get("bytes")
    path: Any = cell.get("path")
    if content is None and path is None:
        raise ImageLoadError("<no file>", "there is no picture")
    if content is None and "://" in path:  # a streamed folder of pictures on the Hub
        with fsspec.open(path) as file:
            content = file.read()
    return load_color(path if content is None else content, name=path, short_side=short_side)


__all__ = ["decode_picture"]
