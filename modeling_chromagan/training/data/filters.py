"""Filters: which pictures are left out because there is no color to learn from."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image as PillowImage

from ...color import rgb8_to_lab
from ...evaluation.metrics import colorfulness
from ..recipe import Data

FILTERS = ("broken", "tiny", "grayscale", "almost gray", "toned")


def failed_filter(picture: PillowImage.Image, settings: Data) -> str | None:
    """The one of `FILTERS` that leaves a picture out; `None` for a picture to learn color from."""
    return failed_filters([picture], settings)[0]


def failed_filters(pictures: Sequence[PillowImage.Image], settings: Data) -> list[str | None]:
    """`failed_filter` of several pictures: those of one size are judged together, which is faster.

    Colors are judged on copies of at most 64 pixels a side, and not at all for thresholds of 0.
    """
    failed: list[str | None] = [None] * len(pictures)
    of_shape = defaultdict(list)
    copies = {}
    for number, picture in enumerate(pictures):
        if min(picture.size) < settings.min_side:
            failed[number] = "tiny"
            continue
        if not settings.min_colorfulness and not settings.min_hue_deviation:
            continue
        small = picture.reduce(math.ceil(max(picture.size) / 64)) if max(picture.size) > 64 else picture
        copies[number] = np.asarray(small)
        of_shape[small.size].append(number)
    for numbers in of_shape.values():
        pixels = torch.from_numpy(np.stack([copies[number] for number in numbers])).permute(0, 3, 1, 2)  # (B, 3, H, W)
        for at in below(settings.min_hue_deviation, hue_deviation, pixels):
            failed[numbers[at]] = "toned"
        for at in below(settings.min_colorfulness, colorfulness, pixels):
            gray = bool((pixels[at] == pixels[at, :1]).all())
            failed[numbers[at]] = "grayscale" if gray else "almost gray"
    return failed


def below(threshold: float, measure: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor) -> list[int]:
    """Which of (B, 3, H, W) pictures measure less than a threshold; none for a threshold of 0.

    A sixteenth of the pixels settles it for most: only pictures that it does not put far above are measured whole.
    """
    if not threshold:
        return []
    near = (measure(pixels[..., ::4, ::4]) < 1.5 * threshold).nonzero().flatten()
    return near[measure(pixels[near]) < threshold].tolist() if len(near) else []


def hue_deviation(pixels: torch.Tensor) -> torch.Tensor:
    """Circular standard deviation of the Lab hue of pictures, (B, 3, H, W) uint8, in degrees; infinite without color.

    It is sqrt(-2 ln R), where R is the length of the mean of the pixels' unit vectors in the ab plane. Pixels of a
    chroma below 2 have no hue and do not count.

    Returns:
        (B,), float64.
    """
    ab = rgb8_to_lab(pixels)[:, 1:].flatten(2).double()  # (B, 2, H*W)
    chroma = ab.square().sum(dim=1, keepdim=True).sqrt()
    hued = chroma >= 2  # (B, 1, H*W)
    sums = (ab * (hued / chroma.clamp(min=1))).sum(dim=2)  # (B, 2)
    resultant = sums.norm(dim=1) / hued.sum(dim=(1, 2))  # not a number where no pixel has a hue
    return torch.rad2deg((-2 * resultant.clamp(1e-9, 1).log()).sqrt()).nan_to_num(nan=math.inf)


__all__ = ["FILTERS", "failed_filter", "failed_filters", "hue_deviation"]
