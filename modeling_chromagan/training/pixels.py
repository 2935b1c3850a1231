"""From pictures to what networks take: squares of one size, scanned looks, encoded luminance and ab."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PillowImage

from ..color import encode_ab, encode_luminance, rgb8_to_lab
from .recipe import Degradation

WAITING_PIXELS = 2**22  # of squares that are resized together


def center_crop(picture: PillowImage.Image, size: int) -> np.ndarray:
    """The largest centered square of a picture, resized: (size, size, 3) uint8."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((size, size), PillowImage.Resampling.BICUBIC, box=box))


class RandomSquares:
    """Random squares of pictures, resized to one size, mirrored half of the time.

    Squares of one side are resized together, which is faster; no more than `WAITING_PIXELS` wait, or one square.

    Args:
        count: of pictures.
        size: of the results, in pixels.
    """

    def __init__(self, count: int, size: int):
        self.results = np.empty((count, 3, size, size), dtype=np.uint8)
        self.mirrored = np.zeros(count, dtype=bool)
        self.waiting: dict[int, dict[int, np.ndarray]] = defaultdict(dict)  # by side, by place among the results
        self.pixels = 0

    def add(self, place: int, picture: PillowImage.Image, min_crop: float, drawn: Sequence[float]) -> None:
        """Takes a square of an RGB picture.

        Args:
            place: among the results.
            picture: of any size.
            min_crop: smallest side of the square, a share of the short side.
            drawn: four random numbers in 0..1: of the side, the place from the left and from the top, and whether
                to mirror.
        """
        side = round(min(picture.size) * (min_crop + (1 - min_crop) * drawn[0]))
        left, top = (int(at * (n - side + 1)) for at, n in zip(drawn[1:3], picture.size, strict=True))
        self.waiting[side][place] = np.asarray(picture.crop((left, top, left + side, top + side)))  # (side, side, 3)
        self.mirrored[place] = drawn[3] < 0.5
        self.pixels += side**2
        if self.pixels >= WAITING_PIXELS:
            self.resize()

    def resize(self) -> None:
        for squares in self.waiting.values():
            pixels = torch.from_numpy(np.stack(list(squares.values()))).permute(0, 3, 1, 2)  # (N, 3, side, side)
            # As Pillow resizes, to two levels, and faster, the more so the larger the picture.
            resized = F.interpolate(pixels, self.results.shape[2:], mode="bicubic", antialias=True)
            self.results[list(squares)] = resized.numpy()
        self.waiting.clear()
        self.pixels = 0

    def finish(self) -> torch.Tensor:
        """(count, 3, size, size) uint8."""
        self.resize()
        self.results[self.mirrored] = self.results[self.mirrored][..., ::-1]
        return torch.from_numpy(self.results)


class RowRandom:
    """Random numbers per picture of a global batch, of which a process takes those of its own pictures.

    What happens to a picture is then the same whatever the number of processes.

    Args:
        seed: of the step.
        total: pictures in the global batch.
        rows: (B,), places of this process' pictures in it; `None` is all.
        device: where the numbers are wanted; they are drawn on the CPU, so that every device gets the same.
    """

    def __init__(self, seed: int, total: int, rows: torch.Tensor | None = None, device: torch.device | str = "cpu"):
        self.generator = torch.Generator().manual_seed(seed)
        self.total, self.device = total, device
        self.rows = torch.arange(total) if rows is None else rows

    def uniform(self, *shape: int) -> torch.Tensor:
        """(B, *shape) in 0..1."""
        return torch.rand(self.total, *shape, generator=self.generator)[self.rows].to(self.device)

    def normal(self, *shape: int) -> torch.Tensor:
        """(B, *shape), mean 0, deviation 1."""
        return torch.randn(self.total, *shape, generator=self.generator)[self.rows].to(self.device)


def degrade(lab: torch.Tensor, settings: Degradation, random: RowRandom) -> torch.Tensor:
    """Makes the luminance of (B, 3, S, S) Lab pictures look scanned, each fault with its own probability.

    The colors stay those of the clean picture, except in drawn frames, which are neutral.
    """
    size = lab.shape[-1]

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * random.uniform(1, 1, 1)

    def chosen(probability: float) -> torch.Tensor:
        return random.uniform(1, 1, 1) < probability

    lightness, ab = lab[:, :1] / 100, lab[:, 1:]
    lightness = lightness.clamp(min=0)
    curved, exponent = chosen(settings.gamma).flatten(), torch.exp(uniform(-0.36, 0.34))
    lightness[curved] = lightness[curved] ** exponent[curved]
    black, white = uniform(0, 0.15), uniform(0.8, 1)
    lightness = torch.where(chosen(settings.fade), black + (white - black) * lightness, lightness)
    if settings.blur:
        blurred = chosen(settings.blur).flatten()
        lightness[blurred] = F.avg_pool2d(F.pad(lightness[blurred], (1, 1, 1, 1), mode="replicate"), 3, 1)
    if settings.grain:
        noise = random.normal(1, size, size) * uniform(0, 0.04)
        lightness = torch.where(chosen(settings.grain), lightness + noise, lightness)
    if settings.frame:
        margins = random.uniform(4) * size / 8 * chosen(settings.frame).flatten(1)
        at = torch.arange(size, device=lab.device)
        left, top, right, bottom = (margins[:, i, None] for i in range(4))
        columns = (at < left.round()) | (at >= size - right.round())
        rows = (at < top.round()) | (at >= size - bottom.round())
        frame = columns[:, None, None, :] | rows[:, None, :, None]
        shade = torch.where(chosen(0.75), uniform(0, 0.15), uniform(0.8, 1))
        lightness = torch.where(frame, shade, lightness)
        ab = torch.where(frame, 0.0, ab)
    return torch.cat([100 * lightness.clamp(0, 1), ab], dim=1)


def to_network_units(
    rgb: torch.Tensor, encoding: str, degradation: Degradation | None = None, random: RowRandom | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 RGB (B, 3, S, S) -> encoded luminance (B, 1, S, S) and encoded ab (B, 2, S, S), on the same device."""
    lab = rgb8_to_lab(rgb)
    if degradation is not None and any(degradation.model_dump().values()):
        lab = degrade(lab, degradation, random)
    return encode_luminance(lab[:, :1], encoding), encode_ab(lab[:, 1:], encoding)


__all__ = ["RandomSquares", "RowRandom", "center_crop", "degrade", "to_network_units"]
