"""Pictures read block by block, so that a large one is held only once."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from .errors import ImageLoadError

BLOCK_PIXELS = 1 << 20  # pixels converted at a time: what is held besides the decoded picture and the result

Box = tuple[int, int, int, int]  # left, top, right, bottom
Reader = Callable[[Box], np.ndarray]  # stored pixels of one box


def check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    """Refuses empty pictures and those of more than `max_pixels`.

    Raises:
        ImageLoadError: naming what was found.
    """
    if width < 1 or height < 1:
        raise ImageLoadError(name, f"the picture is empty ({width} x {height})")
    if width * height > max_pixels:
        raise ImageLoadError(name, too_large(f"{width} x {height} = {width * height:,} pixels", max_pixels))


def too_large(found: str, max_pixels: int) -> str:
    return f"{found} are more than max_pixels = {max_pixels:,}"


def boxes(width: int, height: int) -> Iterator[Box]:
    """Boxes of at most BLOCK_PIXELS that cover the picture, row by row."""
    columns = min(width, BLOCK_PIXELS)
    rows = max(1, BLOCK_PIXELS // columns)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield left, top, min(left + columns, width), min(top + rows, height)


def assemble(width: int, height: int, orientation: int, dtype: type, read: Reader) -> np.ndarray:
    """Displayed picture (H, W) of `dtype` from a stored one of `width` x `height`; `orientation` is EXIF's, 1 to 8."""
    displayed: np.ndarray = np.empty((width, height) if orientation >= 5 else (height, width), dtype)
    stored = {  # a view: writing stored pixels into it turns them without a second copy of the picture
        1: displayed,
        2: displayed[:, ::-1],
        3: displayed[::-1, ::-1],
        4: displayed[::-1],
        5: displayed.T,
        6: np.rot90(displayed),
        7: displayed[::-1, ::-1].T,
        8: np.rot90(displayed, -1),
    }[orientation]
    for left, top, right, bottom in boxes(width, height):
        stored[top:bottom, left:right] = read((left, top, right, bottom))
    return displayed


def at_depth(values: np.ndarray, depth: int) -> np.ndarray:
    """Integers of the whole range of their type, uint8 or uint16, at 8 or 16 bits; rounded where they become fewer."""
    if values.dtype.itemsize * 8 == depth:
        return values
    if depth == 16:
        return values * np.uint16(257)
    return np.take(((np.arange(65536) + 128) // 257).astype(np.uint8), values)


def check_range(width: int, height: int, read: Reader, limit: int, name: str) -> None:
    """Refuses values outside 0..limit and NaN.

    Raises:
        ImageLoadError: naming what was found.
    """
    lowest, highest = math.inf, -math.inf
    for box in boxes(width, height):
        values = read(box)
        # NaN passes through min and max, and is not swallowed by NumPy's minimum as it is by Python's
        lowest, highest = np.minimum(lowest, values.min()), np.maximum(highest, values.max())
    if np.isnan(lowest):
        raise ImageLoadError(name, "contains NaN (not a number)")
    if lowest < 0 or highest > limit:
        kind, digits = ("float", ".9g") if limit == 1 else ("integer", ".0f")
        found = f"{kind} values from {lowest:{digits}} to {highest:{digits}}"
        raise ImageLoadError(name, f"{found}; accepted are 0 to {limit}")


def all_gray(width: int, height: int, read: Reader) -> bool:
    """Whether R, G and B are the same in every pixel; `read` gives (H, W, 3 or more)."""
    for box in boxes(width, height):
        pixels = read(box)
        if not ((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all()):
            return False
    return True
