"""The U-Net of pix2pix (Isola, Zhu, Zhou, Efros, CVPR 2017, section 3.2.1 and appendix 6.1.1): luminance in, ab out.

luminance -> down1 -> down2 -> ... -> down8 -> up8 -> ... -> up2 -> chroma -> ab
               |        |                       |               |
               +--------+----- skips -----------+---------------+
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .color import luminance_to_unit
from .layers import GeneratorNetwork, GeneratorOutput, scale_width

DROPOUT = 0.5  # the paper's noise, in the innermost blocks of the decoder
DROPOUT_BLOCKS = 3
MOST_HALVINGS = 8


class DownBlock(GradientCheckpointingLayer):
    """LeakyReLU 0.2 (not on the picture itself), 4x4 convolution at stride 2, batch norm."""

    def __init__(self, in_channels: int, out_channels: int, activation: bool = True, batch_norm: bool = True):
        super().__init__()
        self.activation = activation
        self.conv = nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(out_channels) if batch_norm else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(F.leaky_relu(x, 0.2) if self.activation else x)  # (B, out_channels, H/2, W/2)
        return x if self.norm is None else self.norm(x)


class UpBlock(GradientCheckpointingLayer):
    """ReLU, 4x4 transposed convolution at stride 2, batch norm, and dropout where there is noise."""

    def __init__(self, in_channels: int, out_channels: int, noise_seed: int | None, dropout: bool):
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.dropout = dropout
        self.noise_seed = noise_seed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(F.relu(x)))  # (B, out_channels, 2H, 2W)
        if self.dropout and self.training:
            return F.dropout(x, DROPOUT)
        if self.dropout and self.noise_seed is not None:
            return x * self.noise(x)
        return x

    def noise(self, x: torch.Tensor) -> torch.Tensor:
        """The dropout mask of evaluation, (1, C, H, W): the seed and the size decide it, not the batch or the device.

        All pictures of a batch get the same one, so that none depends on what it was batched with.
        """
        generator = torch.Generator().manual_seed(self.noise_seed)
        kept = torch.rand((1, *x.shape[1:]), generator=generator, device="cpu") >= DROPOUT
        return (kept / (1 - DROPOUT)).to(x.device, x.dtype)


class Pix2PixUNet(GeneratorNetwork):
    """C64-C128-C256-C512-C512-C512-C512-C512 down, CD512-CD1024-CD1024-C1024-C1024-C512-C256-C128 up.

    The numbers of the way up are the paper's: channels that enter each block, skips included. Differences:

    - The innermost block has no batch norm, as the paper's erratum and its public code have it: at 1x1 and batch 1 it
      would turn all that passed through it into zeros.
    - There are log2(image_size) halvings, at most eight, so that the bottleneck is 1x1 at the training size (the paper
      always has eight, at 256 pixels). Larger pictures have a larger bottleneck.
    - Dropout is off in evaluation (the paper keeps it on): an archive wants the same colors for the same picture.
      `dropout_at_inference` brings it back, with a mask that `dropout_seed` fixes.
    - A convolution that batch norm follows has no bias, which the norm would take out again.
    """

    initial_std = 0.02  # appendix 6.2

    def __init__(
        self,
        *,
        encoding: str,
        image_size: int,
        width_multiplier: float,
        dropout_at_inference: bool,
        dropout_seed: int,
    ):
        super().__init__()
        self.encoding = encoding
        halvings = self.halvings(image_size)
        self.size_multiple = 2**halvings
        widths = [scale_width(64 * min(2**i, 8), width_multiplier) for i in range(halvings)]

        # Encoder, outermost first
        self.down = nn.ModuleList([DownBlock(1, widths[0], activation=False, batch_norm=False)])
        for i in range(1, halvings):
            self.down.append(DownBlock(widths[i - 1], widths[i], batch_norm=i < halvings - 1))

        # Decoder, innermost first
        self.up = nn.ModuleList()
        channels = widths[-1]
        for i in range(halvings - 1):
            width = widths[halvings - 2 - i]
            noise_seed = dropout_seed + i if dropout_at_inference else None
            self.up.append(UpBlock(channels, width, noise_seed, dropout=i < DROPOUT_BLOCKS))
            channels = 2 * width  # the skip joins it
        self.chroma = nn.ConvTranspose2d(channels, 2, 4, stride=2, padding=1)

    @staticmethod
    def halvings(image_size: int) -> int:
        """How many times the encoder halves pictures when trained at `image_size` pixels."""
        return min(int(math.log2(image_size)), MOST_HALVINGS)

    @classmethod
    def refuses_batch(cls, batch_size: int, size: int, image_size: int | None = None) -> str | None:
        """As of every generator.

        With a bottleneck of 1x1 and a single picture, the batch norms
        beside it would normalize over the four values of that picture.
        """
        multiple = 2 ** cls.halvings(image_size or size)
        if batch_size == 1 and size <= multiple:
            return f"batch_size is 1; accepted: 2 or more while the bottleneck is 1x1, as it is at {size} pixels"
        return None

    def predict(self, luminance: torch.Tensor) -> GeneratorOutput:
        x = luminance_to_unit(luminance, self.encoding) * 2 - 1  # (B, 1, H, W), -1..1 whatever the encoding

        # Encoder
        skips = []
        for block in self.down:
            x = block(x)  # (B, 64, H/2, W/2), (B, 128, H/4, W/4) ... (B, 512, H/256, W/256)
            skips.append(x)
        hidden_states = list(skips)

        # Decoder
        x = skips.pop()  # (B, 512, H/256, W/256)
        for block in self.up:
            x = block(x)  # (B, 512, H/128, W/128) ... (B, 64, H/2, W/2)
            hidden_states.append(x)
            x = torch.cat([x, skips.pop()], dim=1)  # (B, 1024, H/128, W/128) ... (B, 128, H/2, W/2)
        x = self.chroma(F.relu(x))  # (B, 2, H, W)
        ab = torch.sigmoid(x) if self.encoding == "unit8" else torch.tanh(x)
        return GeneratorOutput(ab, tuple(hidden_states))
