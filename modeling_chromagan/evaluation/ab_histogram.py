"""How often colors occur: ab in squares of 10 x 10 Lab units centered on -130, -120, ..., 130, as 729 numbers."""

import torch

BINS_PER_AXIS = 27  # sRGB reaches from -107.9 to 98.3
HALF = BINS_PER_AXIS // 2


def ab_squares(ab: torch.Tensor) -> torch.Tensor:
    """The square of every pixel: (B, 2, H, W) in Lab units to (B, H, W) whole numbers in 0..728."""
    row, column = ((ab / 10).round().clamp(-HALF, HALF) + HALF).long().unbind(1)
    return row * BINS_PER_AXIS + column


def ab_histogram(ab: torch.Tensor) -> torch.Tensor:
    """Shares of pixels by square: (B, 2, H, W) in Lab units to (729,), summing to one."""
    counts = torch.bincount(ab_squares(ab).flatten(), minlength=BINS_PER_AXIS**2).double()
    return counts / counts.sum()
