"""Parts of pictures of any shape, resized to one shape: random ones for training, the middle for validation."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PillowImage

from ..recipe import Source

DRAWN = 6  # random numbers that a crop takes
WAITING_PIXELS = 2**22  # of crops that are resized together


def center_crop(picture: PillowImage.Image, size: int) -> np.ndarray:
    """The largest centered square of a picture, resized: (size, size, 3) uint8."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((size, size), PillowImage.Resampling.BICUBIC, box=box))


def random_box(
    size: tuple[int, int], shape: tuple[int, int], source: Source, drawn: Sequence[float]
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a random part of a picture, of the proportions of `shape` unless stretched.

    Args:
        size: width and height of the picture.
        shape: height and width that the part is resized to.
        source: how its pictures are cropped.
        drawn: numbers in 0..1: of the zoom, the place from the left and from the top, (not of it: mirroring,) whether
            the largest part is taken, and of the stretch.
    """
    (width, height), (rows, columns) = size, shape
    share = source.min_crop + (1 - source.min_crop) * drawn[0]
    if drawn[4] < source.largest_crop:
        share = 1.0
    stretch = math.exp(source.stretch * (2 * drawn[5] - 1))
    # A stretch never leaves the largest part of these proportions: one of its sides is shortened instead.
    across = max(1, round(min(width, height * columns / rows) * min(1, share * stretch)))
    down = max(1, round(min(height, width * rows / columns) * min(1, share / stretch)))
    left, top = int(drawn[1] * (width - across + 1)), int(drawn[2] * (height - down + 1))
    return left, top, left + across, top + down


class RandomCrops:
    """Random parts of pictures, resized to one shape, mirrored half of the time.

    Parts of one size are resized together, which is faster; no more than `WAITING_PIXELS` wait, or one part.

    Args:
        count: of pictures.
        shape: height and width of the results, in pixels.
    """

    def __init__(self, count: int, shape: tuple[int, int]):
        self.results = np.empty((count, 3, *shape), dtype=np.uint8)
        self.mirrored = np.zeros(count, dtype=bool)
        self.waiting: dict[tuple, dict[int, np.ndarray]] = defaultdict(dict)  # by size, by place among the results
        self.pixels = 0

    def add(self, place: int, picture: PillowImage.Image, source: Source, drawn: Sequence[float]) -> None:
        """Takes a part of an RGB picture.

        Args:
            place: among the results.
            picture: of any size.
            source: how its pictures are cropped.
            drawn: `DRAWN` random numbers in 0..1, see `random_box`; the fourth says whether to mirror.
        """
        box = random_box(picture.size, self.results.shape[2:], source, drawn)
        part = np.asarray(picture.crop(box))  # (height, width, 3)
        self.waiting[part.shape][place] = part
        self.mirrored[place] = drawn[3] < 0.5
        self.pixels += part.shape[0] * part.shape[1]
        if self.pixels >= WAITING_PIXELS:
            self.resize()

    def resize(self) -> None:
        for parts in self.waiting.values():
            pixels = torch.from_numpy(np.stack(list(parts.values()))).permute(0, 3, 1, 2)  # (N, 3, height, width)
            # As Pillow resizes, to two levels, and faster, the more so the larger the picture.
            resized = F.interpolate(pixels, self.results.shape[2:], mode="bicubic", antialias=True)
            self.results[list(parts)] = resized.numpy()
        self.waiting.clear()
        self.pixels = 0

    def finish(self) -> torch.Tensor:
        """(count, 3, height, width) uint8."""
        self.resize()
        self.results[self.mirrored] = self.results[self.mirrored][..., ::-1]
        return torch.from_numpy(self.results)


__all__ = ["DRAWN", "RandomCrops", "center_crop", "random_box"]
