"""A distribution over colors as a target: truth spread over the squares of the ab plane, rare ones weighing more.

Zhang, Isola and Efros, "Colorful image colorization" (ECCV 2016), section 2.2. The squares are those of
`color.ab_bins()`, 10 Lab units wide; a generator gives logits over them at a quarter of the picture's size.
"""

import functools

import torch
import torch.nn.functional as F

from ..color import ab_bins

REACH = 110  # whole numbers of a and b that are looked up; sRGB reaches from -107.9 to 98.3
NEIGHBORS = 5
STD = 5.0  # Lab units of the Gaussian that shares a color out
UNIFORM_SHARE = 0.5  # of the uniform distribution in the mixture whose inverse the weights are
RARITY_CAP = 6.0  # on a weight. The published ones have none: a few pixels of a rare color then rule a batch
SCALE = 4  # the logits' pixels are so many of the picture's


@functools.cache
def neighbors(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every whole a and b in -110..110 the nearest squares and its shares in them, (221 * 221, 5) each."""
    axis = torch.arange(-REACH, REACH + 1.0)
    grid = torch.cartesian_prod(axis, axis)
    distances, nearest = torch.cdist(grid, ab_bins()).topk(NEIGHBORS, largest=False)
    shares = (-distances.square() / (2 * STD**2)).softmax(dim=1)
    return nearest.to(device), shares.to(device)


def soft_bins(ab: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The five squares nearest to the colors of a picture's places, nearest first, and the colors' shares in them.

    Args:
        ab: chroma in Lab units, (B, 2, H, W), averaged over places of 4 x 4 pixels.

    Returns:
        Two of (B, ceil(H/4), ceil(W/4), 5); the shares of a place add up to 1.
    """
    a, b = F.avg_pool2d(ab, SCALE, ceil_mode=True).round().clamp(-REACH, REACH).long().add(REACH).unbind(1)
    nearest, shares = neighbors(ab.device)
    place = a * (2 * REACH + 1) + b
    return nearest[place], shares[place]


def bin_shares(ab: torch.Tensor) -> torch.Tensor:
    """How often the squares occur: (B, 2, H, W) in Lab units to (260,), float64, summing to one."""
    nearest, shares = soft_bins(ab)
    counts = torch.bincount(nearest.flatten(), shares.flatten().double(), minlength=len(ab_bins()))
    return counts / counts.sum()


def bin_rarity(shares: torch.Tensor, uniform_share: float = UNIFORM_SHARE, cap: float = RARITY_CAP) -> torch.Tensor:
    """Weights of the squares by how rare they are (equation 4): their mean over the data is 1, before the cap.

    Args:
        shares: of `bin_shares`.
        uniform_share: above 0 to 1.
        cap: on a weight.

    Returns:
        (260,), float32.
    """
    weights = 1 / ((1 - uniform_share) * shares + uniform_share / len(shares))
    return (weights / (shares * weights).sum()).clamp(max=cap).float()


def bins_loss(logits: torch.Tensor, ab: torch.Tensor, rarity: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the distribution over colors, weighted by the rarity of the true one (equations 2 and 3).

    Args:
        logits: (B, 260, ceil(H/4), ceil(W/4)), raw.
        ab: true chroma in Lab units, (B, 2, H, W).
        rarity: of `bin_rarity`.
    """
    nearest, shares = soft_bins(ab)
    logits = logits.float().permute(0, 2, 3, 1)  # (B, H/4, W/4, 260)
    expected = (shares * logits.gather(3, nearest)).sum(dim=3)
    return (rarity[nearest[..., 0]] * (logits.logsumexp(dim=3) - expected)).mean()


__all__ = ["bin_rarity", "bin_shares", "bins_loss", "soft_bins"]
