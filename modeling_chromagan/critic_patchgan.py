"""PatchGAN critics: a Lab picture in, one raw score per patch of 70x70 pixels out."""

import torch
import torch.nn.functional as F
from torch import nn

from .layers import CriticNetwork, same_padding, scale_width

CRITIC_NORMS = ("none", "batch")


class PatchCritic(CriticNetwork):
    """The critic of ChromaGAN (WACV 2020, section 3.2): five 4x4 convolutions, LeakyReLU 0.3 between them.

    64, 128 and 256 channels at stride 2, then 512 and 1 at stride 1. There is no normalization by default (a gradient
    penalty needs a critic that scores every picture by itself; some published versions of the network have batch norm
    all the same, `critic_norm="batch"`) and no sigmoid (a Wasserstein critic is linear at its end): at 224 pixels it
    gives a 28x28 map of real numbers.
    """

    choices = {"critic_norm": CRITIC_NORMS}  # noqa: RUF012

    def __init__(self, *, critic_width_multiplier: float, critic_norm: str):
        super().__init__()
        widths = [3, *(scale_width(width, critic_width_multiplier) for width in (64, 128, 256, 512)), 1]
        for i, stride in enumerate((2, 2, 2, 1, 1)):
            self.add_module(f"conv{i + 1}", nn.Conv2d(widths[i], widths[i + 1], 4, stride))
        normed = (2, 3, 4) if critic_norm == "batch" else ()
        self.norms = nn.ModuleDict({f"norm{i}": nn.BatchNorm2d(widths[i]) for i in normed})

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """`picture`: luminance and ab concatenated, encoded, (B, 3, H, W); scores (B, 1, ceil(H/8), ceil(W/8))."""
        x = picture
        for i in range(1, 6):
            conv = getattr(self, f"conv{i}")
            rows, columns = (same_padding(size, 4, conv.stride[0]) for size in x.shape[-2:])
            x = conv(F.pad(x, (*columns, *rows)))  # (B, 64, H/2, W/2) ... (B, 512, H/8, W/8), (B, 1, H/8, W/8)
            if f"norm{i}" in self.norms:
                x = self.norms[f"norm{i}"](x)
            if i < 5:
                x = F.leaky_relu(x, 0.3)
        return x


class Pix2PixCritic(CriticNetwork):
    """The 70x70 PatchGAN of pix2pix (Isola et al., 2017, appendix 6.1.2): C64-C128-C256-C512, then one score.

    4x4 convolutions padded by one, strides 2, 2, 2, 1, 1, LeakyReLU 0.2; batch norm, with `critic_norm="batch"` as
    published, after all but the first and the last. Its scores are logits: the sigmoid is in the objective.
    """

    choices = {"critic_norm": CRITIC_NORMS}  # noqa: RUF012
    minimum_size = 24  # below it the last convolution has nothing left to look at

    def __init__(self, *, critic_width_multiplier: float, critic_norm: str):
        super().__init__()
        widths = [3, *(scale_width(width, critic_width_multiplier) for width in (64, 128, 256, 512)), 1]
        for i, stride in enumerate((2, 2, 2, 1, 1)):
            self.add_module(f"conv{i + 1}", nn.Conv2d(widths[i], widths[i + 1], 4, stride, padding=1))
        normed = (2, 3, 4) if critic_norm == "batch" else ()
        self.norms = nn.ModuleDict({f"norm{i}": nn.BatchNorm2d(widths[i]) for i in normed})

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """`picture`: luminance and ab concatenated, encoded, (B, 3, H, W); scores (B, 1, H/8 - 2, W/8 - 2)."""
        x = picture
        for i in range(1, 6):
            x = getattr(self, f"conv{i}")(
                x
            )  # (B, 64, H/2, W/2) ... (B, 512, H/8 - 1, W/8 - 1), (B, 1, H/8 - 2, W/8 - 2)
            if f"norm{i}" in self.norms:
                x = self.norms[f"norm{i}"](x)
            if i < 5:
                x = F.leaky_relu(x, 0.2)
        return x


__all__ = ["PatchCritic", "Pix2PixCritic"]
