"""Pixels of a batch -> encoded luminance and ab, the luminance made to look scanned on the way."""

import math

import torch
import torch.nn.functional as F

from ...color import encode_ab, encode_luminance, rgb8_to_lab
from ..recipe import Degradation


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
        """(B, *shape), mean 0, standard deviation 1."""
        return torch.randn(self.total, *shape, generator=self.generator)[self.rows].to(self.device)


def degrade(lab: torch.Tensor, settings: Degradation, random: RowRandom) -> torch.Tensor:
    """Makes the luminance of (B, 3, H, W) Lab pictures look scanned, each fault with its own probability.

    The colors stay those of the clean picture, except in drawn frames, which are neutral. A fault that never occurs
    draws no random numbers, so that it can be added without changing what the others do.
    """
    lightness, ab = (lab[:, :1] / 100).clamp(min=0), lab[:, 1:]
    lightness = lose_detail(lightness, settings, random)
    lightness = change_tones(lightness, settings, random)
    lightness = soil(lightness, settings, random)
    if settings.frame:
        frame, shade = draw_frames(*lab.shape[-2:], settings, random)
        lightness = torch.where(frame, shade, lightness)
        ab = torch.where(frame, 0.0, ab)
    return torch.cat([100 * lightness.clamp(0, 1), ab], dim=1)


def chosen(probability: float, random: RowRandom) -> torch.Tensor:
    """Which pictures a fault happens to, (B, 1, 1, 1)."""
    return random.uniform(1, 1, 1) < probability


def between(low: float, high: float, random: RowRandom) -> torch.Tensor:
    """A number for every picture, (B, 1, 1, 1)."""
    return low + (high - low) * random.uniform(1, 1, 1)


def lose_detail(lightness: torch.Tensor, settings: Degradation, random: RowRandom) -> torch.Tensor:
    """Pictures that were smaller once, (B, 1, H, W)."""
    height, width = lightness.shape[-2:]

    def resized(picture: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        return F.interpolate(picture, (rows, columns), mode="bilinear", align_corners=False)

    if settings.half_size:
        half = resized(F.avg_pool2d(lightness, 2), height, width)
        lightness = torch.where(chosen(settings.half_size, random), half, lightness)
    if settings.third_size:
        third = resized(resized(lightness, height // 3, width // 3), height, width)
        lightness = torch.where(chosen(settings.third_size, random), third, lightness)
    return lightness


def change_tones(lightness: torch.Tensor, settings: Degradation, random: RowRandom) -> torch.Tensor:
    """Tone curves, narrow ranges, steeper contrast of (B, 1, H, W) in 0..1."""
    low, high = settings.gamma_exponents
    curved = chosen(settings.gamma, random).flatten()
    exponent = torch.exp(between(math.log(low), math.log(high), random))
    lightness[curved] = lightness[curved] ** exponent[curved]
    black, white = between(0, settings.fade_black / 100, random), between(settings.fade_white / 100, 1, random)
    lightness = torch.where(chosen(settings.fade, random), black + (white - black) * lightness, lightness)
    if settings.contrast:
        steeper = (lightness - 0.5) * (1 + between(0, settings.contrast_strength, random)) + 0.5
        lightness = torch.where(chosen(settings.contrast, random), steeper, lightness)
    return lightness


def soil(lightness: torch.Tensor, settings: Degradation, random: RowRandom) -> torch.Tensor:
    """Blur, grain, uneven light on (B, 1, H, W) in 0..1."""
    height, width = lightness.shape[-2:]
    if settings.blur:
        blurred = chosen(settings.blur, random).flatten()
        lightness[blurred] = F.avg_pool2d(F.pad(lightness[blurred], (1, 1, 1, 1), mode="replicate"), 3, 1)
    if settings.grain:
        noise = random.normal(1, height, width) * between(0, settings.grain_strength / 100, random)
        lightness = torch.where(chosen(settings.grain, random), lightness + noise, lightness)
    if settings.vignette:
        across, down = (torch.linspace(-1, 1, side, device=lightness.device) for side in (width, height))
        distance = across.square() + down[:, None].square()  # (H, W), squared: 0 in the middle, 2 in the corners
        darker = lightness * (1 - between(0, settings.vignette_strength, random) * distance)
        lightness = torch.where(chosen(settings.vignette, random), darker, lightness)
    return lightness


def draw_frames(
    height: int, width: int, settings: Degradation, random: RowRandom
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the margins of pictures are, (B, 1, H, W), and how light, (B, 1, 1, 1)."""
    margins = random.uniform(4) / 8 * chosen(settings.frame, random).flatten(1)  # shares of the sides
    left, top, right, bottom = (margins[:, i, None] for i in range(4))
    across, down = torch.arange(width, device=random.device), torch.arange(height, device=random.device)
    columns = (across < (width * left).round()) | (across >= width - (width * right).round())
    rows = (down < (height * top).round()) | (down >= height - (height * bottom).round())
    frame = columns[:, None, None, :] | rows[:, None, :, None]
    shade = torch.where(chosen(0.75, random), between(0, 0.15, random), between(0.8, 1, random))
    return frame, shade


def to_network_units(
    rgb: torch.Tensor, encoding: str, degradation: Degradation | None = None, random: RowRandom | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 RGB (B, 3, H, W) -> encoded luminance (B, 1, H, W) and encoded ab (B, 2, H, W), on the same device."""
    lab = rgb8_to_lab(rgb)
    if degradation is not None and degradation.probable:
        lab = degrade(lab, degradation, random)
    return encode_luminance(lab[:, :1], encoding), encode_ab(lab[:, 1:], encoding)


__all__ = ["RowRandom", "degrade", "to_network_units"]
