"""A projected critic: it looks at a picture through frozen features, and at its chroma by itself.

Sauer, Chitta, Müller and Geiger, "Projected GANs converge faster" (NeurIPS 2021), section 3: features of a pretrained
network at several scales, mixed by fixed random convolutions over channels and from scale to scale, and a small critic
for each. What a picture shows is then known to the critic from the first step. Beside them a patch critic sees
luminance and ab at half the size, where features are blind to small shifts of color.

The features come from outside, EfficientNet-Lite0's at strides 4 to 32 of the same pictures: they belong to nobody's
training and would be most of the weights.

features 1/4 ---- mix -- + -- merge -+-- head -- scores 1/16
                         |           |
features 1/8 ---- mix -- + -- merge -+-- head -- scores 1/16     every merged scale is enlarged
                         |           |                           and added to the next finer one
features 1/16 --- mix -- + -- merge -+-- head -- scores 1/32
                         |           |
features 1/32 --- mix -------- merge -+- head -- scores 1/32
luminance and ab, half size ------------ lab --- scores 1/16
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init

from .color import AB_SCALE, decode_ab, decode_luminance
from .layers import CriticNetwork, scale_width

MERGED_SCALE = 0.7  # keeps the variance of a sum of two near that of one
SEED = 5


class FixedMixing(nn.Module):
    """A random convolution that never trains; it is saved with the weights that were trained on it."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, seed: int):
        super().__init__()
        self.seed = seed
        self.register_buffer("weight", torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.initialize()

    def initialize(self) -> None:
        random = torch.Generator().manual_seed(self.seed)
        weight = torch.randn(self.weight.shape, generator=random, device="cpu") / self.weight[0].numel() ** 0.5
        init.copy_(self.weight, weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)  # (B, out_channels, H, W)


class SpectralConv2d(nn.Conv2d):
    """A convolution whose weight is divided by its largest singular value (Miyato et al., ICLR 2018, algorithm 1).

    While it trains, every call brings `direction`, the left singular vector of that value, one power iteration nearer.
    """

    def __init__(self, *arguments: int):
        super().__init__(*arguments)
        self.register_buffer("direction", torch.empty(self.out_channels))
        self.initialize()

    @torch.no_grad()
    def initialize(self) -> None:
        init.kaiming_normal_(self.weight, a=0.2)
        init.zeros_(self.bias)
        init.normal_(self.direction)
        if not self.weight.is_meta:  # there is nothing to turn to yet where weights are about to be loaded
            for _ in range(15):  # as torch's spectral_norm does
                init.copy_(self.direction, self.turned())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            with torch.no_grad():
                self.direction.copy_(self.turned())
        norm = torch.linalg.vector_norm(self.project(self.direction.clone()))  # the next call writes into it
        return self._conv_forward(x, (self.weight / norm).to(self.weight.dtype), self.bias)

    def project(self, direction: torch.Tensor) -> torch.Tensor:
        """The weight as a matrix, transposed, times a vector; as a sum, which autocast leaves in float32."""
        return (self.weight.flatten(1).float() * direction.float()[:, None]).sum(dim=0)  # (in_channels * k * k,)

    def turned(self) -> torch.Tensor:
        """`direction` after one power iteration."""
        right = F.normalize(self.project(self.direction), dim=0)
        return F.normalize((self.weight.flatten(1).float() * right).sum(dim=1), dim=0)  # (out_channels,)


def small_critic(*layers: tuple[int, int, int, int]) -> nn.Sequential:
    """Convolutions, (in, out, kernel, stride) each, padded by one, with LeakyReLU 0.2 between them."""
    modules = []
    for layer in layers:
        modules += [SpectralConv2d(*layer, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*modules[:-1])


class ProjectedCritic(CriticNetwork):
    """Five maps of scores of a picture: one for each scale of its features, and one for its chroma.

    Args:
        encoding: of luminance and ab.
        critic_width_multiplier: factor on all channels but those of the features.
    """

    minimum_size = 16
    feature_widths = (24, 40, 112, 320)  # of EfficientNet-Lite0 at strides 4, 8, 16 and 32
    bounds_slope = True  # by spectral norms
    halvings = (2, 1, 1, 0)  # in the critics of the four scales

    def __init__(self, *, encoding: str, critic_width_multiplier: float):
        super().__init__()
        self.encoding = encoding
        mixed, inner, *lab = (scale_width(width, critic_width_multiplier) for width in (64, 128, 64, 128, 192))
        self.mix, self.merge, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for scale, (width, halvings) in enumerate(zip(self.feature_widths, self.halvings, strict=True)):
            self.mix.append(FixedMixing(width, mixed, 1, SEED + 2 * scale))
            self.merge.append(FixedMixing(mixed, mixed, 3, SEED + 2 * scale + 1))
            widths = [mixed, *[inner] * halvings]
            halving = [(widths[i], inner, 4, 2) for i in range(halvings)]
            self.heads.append(small_critic(*halving, (widths[halvings], inner, 3, 1), (inner, 1, 3, 1)))
        self.lab = small_critic((3, lab[0], 4, 2), (lab[0], lab[1], 4, 2), (lab[1], lab[2], 4, 2), (lab[2], 1, 3, 1))

    def forward(self, picture: torch.Tensor, features: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Scores of pictures, (B, 1, h, w) each: of the features from fine to coarse, then of the chroma.

        Args:
            picture: luminance and ab concatenated, encoded, (B, 3, H, W).
            features: of the same pictures, (B, 24, H/4, W/4), (B, 40, H/8, W/8), (B, 112, H/16, W/16) and
                (B, 320, H/32, W/32).
        """
        scores: list[torch.Tensor] = []
        coarser = None
        for scale in reversed(range(len(features))):
            x = self.mix[scale](features[scale])  # (B, 64, H/4, W/4) ... (B, 64, H/32, W/32)
            if coarser is not None:
                x = x + F.interpolate(coarser, size=x.shape[2:], mode="bilinear")
            coarser = MERGED_SCALE * self.merge[scale](x)
            scores.insert(0, self.heads[scale](coarser))  # (B, 1, H/16, W/16) twice, (B, 1, H/32, W/32) twice
        lightness = decode_luminance(picture[:, :1], self.encoding) / 50 - 1
        lab = torch.cat([lightness, decode_ab(picture[:, 1:], self.encoding) / AB_SCALE], dim=1)
        scores.append(self.lab(F.avg_pool2d(lab, 2)))  # (B, 1, H/16, W/16)
        return tuple(scores)


__all__ = ["ProjectedCritic"]
