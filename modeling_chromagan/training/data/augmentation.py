"""From pixels to what networks take: scanned looks, encoded luminance and ab."""

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
        """(B, *shape), mean 0, deviation 1."""
        return torch.randn(self.total, *shape, generator=self.generator)[self.rows].to(self.device)


def degrade(lab: torch.Tensor, settings: Degradation, random: RowRandom) -> torch.Tensor:
    """Makes the luminance of (B, 3, H, W) Lab pictures look scanned, each fault with its own probability.

    The colors stay those of the clean picture, except in drawn frames, which are neutral. A fault that never occurs
    draws no random numbers, so that it can be added without changing what the others do.
    """
    height, width = lab.shape[-2:]

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * random.uniform(1, 1, 1)

    def chosen(probability: float) -> torch.Tensor:
        return random.uniform(1, 1, 1) < probability

    def enlarged(smaller: torch.Tensor) -> torch.Tensor:
        return F.interpolate(smaller, (height, width), mode="bilinear", align_corners=False)

    lightness, ab = lab[:, :1] / 100, lab[:, 1:]
    lightness = lightness.clamp(min=0)
    if settings.half_size:
        lightness = torch.where(chosen(settings.half_size), enlarged(F.avg_pool2d(lightness, 2)), lightness)
    if settings.third_size:
        third = F.interpolate(lightness, (height // 3, width // 3), mode="bilinear", align_corners=False)
        lightness = torch.where(chosen(settings.third_size), enlarged(third), lightness)
    low, high = settings.gamma_exponents
    curved, exponent = chosen(settings.gamma).flatten(), torch.exp(uniform(math.log(low), math.log(high)))
    lightness[curved] = lightness[curved] ** exponent[curved]
    black, white = uniform(0, settings.fade_black / 100), uniform(settings.fade_white / 100, 1)
    lightness = torch.where(chosen(settings.fade), black + (white - black) * lightness, lightness)
    if settings.contrast:
        steeper = (lightness - 0.5) * (1 + uniform(0, settings.contrast_strength)) + 0.5
        lightness = torch.where(chosen(settings.contrast), steeper, lightness)
    if settings.blur:
        blurred = chosen(settings.blur).flatten()
        lightness[blurred] = F.avg_pool2d(F.pad(lightness[blurred], (1, 1, 1, 1), mode="replicate"), 3, 1)
    if settings.grain:
        noise = random.normal(1, height, width) * uniform(0, settings.grain_strength / 100)
        lightness = torch.where(chosen(settings.grain), lightness + noise, lightness)
    if settings.vignette:
        across, down = (torch.linspace(-1, 1, side, device=lab.device) for side in (width, height))
        distance = across.square() + down[:, None].square()  # (H, W), squared: 0 in the middle, 2 in the corners
        darker = lightness * (1 - uniform(0, settings.vignette_strength) * distance)
        lightness = torch.where(chosen(settings.vignette), darker, lightness)
    if settings.frame:
        margins = random.uniform(4) / 8 * chosen(settings.frame).flatten(1)  # shares of the sides
        left, top, right, bottom = (margins[:, i, None] for i in range(4))
        across, down = torch.arange(width, device=lab.device), torch.arange(height, device=lab.device)
        columns = (across < (width * left).round()) | (across >= width - (width * right).round())
        rows = (down < (height * top).round()) | (down >= height - (height * bottom).round())
        frame = columns[:, None, None, :] | rows[:, None, :, None]
        shade = torch.where(chosen(0.75), uniform(0, 0.15), uniform(0.8, 1))
        lightness = torch.where(frame, shade, lightness)
        ab = torch.where(frame, 0.0, ab)
    return torch.cat([100 * lightness.clamp(0, 1), ab], dim=1)


def to_network_units(
    rgb: torch.Tensor, encoding: str, degradation: Degradation | None = None, random: RowRandom | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 RGB (B, 3, H, W) -> encoded luminance (B, 1, H, W) and encoded ab (B, 2, H, W), on the same device."""
    lab = rgb8_to_lab(rgb)
    if degradation is not None and degradation.probable:
        lab = degrade(lab, degradation, random)
    return encode_luminance(lab[:, :1], encoding), encode_ab(lab[:, 1:], encoding)


__all__ = ["RowRandom", "degrade", "to_network_units"]
