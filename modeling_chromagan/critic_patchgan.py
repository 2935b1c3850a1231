"""The PatchGAN critic of ChromaGAN (WACV 2020, section 3.2): a Lab picture in, one raw score per patch out."""

import torch
import torch.nn.functional as F
from torch import nn

from .generator_chromagan import same_padding, scale_width


class PatchCritic(nn.Module):
    """Five 4x4 convolutions, 64, 128, 256 at stride 2, then 512 and 1 at stride 1, LeakyReLU 0.3 between them.

    There is no normalization (a gradient penalty needs a critic that scores every picture by itself) and no sigmoid
    (a Wasserstein critic is linear at its end): at 224 pixels it gives a 28x28 map of real numbers.
    """

    def __init__(self, width_multiplier: float = 1.0):
        super().__init__()
        widths = [3, *(scale_width(width, width_multiplier) for width in (64, 128, 256, 512)), 1]
        for i, stride in enumerate((2, 2, 2, 1, 1)):
            self.add_module(f"conv{i + 1}", nn.Conv2d(widths[i], widths[i + 1], 4, stride))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """`picture`: luminance and ab concatenated, encoded, (B, 3, H, W); scores (B, 1, ceil(H/8), ceil(W/8))."""
        x = picture
        for i, conv in enumerate(self.children()):
            if i:
                x = F.leaky_relu(x, 0.3)
            rows, columns = (same_padding(size, 4, conv.stride[0]) for size in x.shape[-2:])
            x = conv(F.pad(x, (*columns, *rows)))
        return x
