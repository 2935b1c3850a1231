"""ChromaGAN's design on a pretrained trunk: luminance in, chroma, a distribution over colors, and classes out.

Vitoria, Raad and Ballester (WACV 2020, section 3.1) fuse what a picture shows as a whole with what it shows in one
place. Here the trunk is EfficientNet-Lite (Tan and Le, 2019; EfficientNet-Lite, 2020), whose pooled classifier head
gives the global features; attention spreads them and what is seen elsewhere over the picture; a U-Net decoder takes
them back to the trunk's finer features. Beside chroma it predicts a distribution over squares of the ab plane (Zhang,
Isola and Efros, 2016).

luminance -> trunk -- 1/32 --+------ enter -+-> fusion -> attention32 -> up16 -> attention16 -> up8 -> up4 -> up2 -> ab
               |             |              |                             |                      |      |      |
               |             +- head, mean -+-> class head -> classes     |                      |      |      |
               +-- 1/16 --------------------------------------------------+                      |      |      |
               +-- 1/8 --------------------------------------------------------------------------+      |      |
               +-- 1/4 ---------------------------------------------------------------------------------+-> bins
               +-- 1/2 ----------------------------------------------------------------------------------------+
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .color import AB_SCALE, ab_bins, encode_ab, luminance_to_unit
from .layers import GeneratorNetwork, GeneratorOutput, fold_batch_norm, scale_width
from .trunk_efficientnet_lite import VARIANTS, ConvNorm, EfficientNetLite, load_imagenet_weights, normalize_picture

ATTENTION_HEADS = 8
AB_LIMIT = 110.0  # Lab units


class AttentionBlock(GradientCheckpointingLayer):
    """Every place looks at all others (Vaswani et al., 2017), then a perceptron; both beside a shortcut.

    Where a place is, is told by a depthwise convolution (Chu et al., "Conditional positional encodings", 2021), so any
    size of picture will do.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.position = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.widen = nn.Linear(channels, 2 * channels)
        self.narrow = nn.Linear(2 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.position(x)
        batch, channels, height, width = x.shape
        places = x.flatten(2).transpose(1, 2)  # (B, H*W, C)
        parts = self.query_key_value(self.norm1(places))  # (B, H*W, 3 C)
        parts = parts.view(batch, height * width, 3, ATTENTION_HEADS, channels // ATTENTION_HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (B, 8, H*W, C/8) each
        seen = F.scaled_dot_product_attention(query, key, value)  # (B, 8, H*W, C/8)
        places = places + self.out(seen.transpose(1, 2).reshape(batch, height * width, channels))
        places = places + self.narrow(F.gelu(self.widen(self.norm2(places))))  # (B, H*W, C)
        return places.transpose(1, 2).reshape(batch, channels, height, width)


class UpBlock(GradientCheckpointingLayer):
    """Twice the size, added to the trunk's features of that size, then a residual block of two 3x3 convolutions."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int):
        super().__init__()
        self.lower = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.skip = nn.Conv2d(skip_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        inplace = not torch.is_grad_enabled()  # nothing is kept for a backward pass
        lower = F.interpolate(self.lower(x), scale_factor=2.0, mode="bilinear")  # (B, out_channels, 2H, 2W)
        lower += self.skip(skip)
        x = F.relu(self.norm(lower), inplace)  # (B, out_channels, 2H, 2W)
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)), inplace)))
        x = x.add_(residual) if inplace else x + residual
        return F.relu(x, inplace)  # (B, out_channels, 2H, 2W)

    def fold_batch_norms(self) -> None:
        self.norm = fold_batch_norm(self.norm, self.lower, self.skip)  # of a sum; enlarging commutes with both
        self.norm1 = fold_batch_norm(self.norm1, self.conv1)
        self.norm2 = fold_batch_norm(self.norm2, self.conv2)


class ChromaLayer(nn.Conv2d):
    """The last convolution; it starts with nearly no color."""

    def initialize(self) -> None:
        init.normal_(self.weight, std=0.01)
        init.zeros_(self.bias)


class LiteGenerator(GeneratorNetwork):
    """EfficientNet-Lite trunk, fusion with global features, attention, U-Net decoder.

    Chroma is predicted at half the size, as in the published network, and enlarged bilinearly.
    """

    choices = {"trunk": VARIANTS}  # noqa: RUF012
    size_multiple = 32  # the trunk halves five times
    chroma_stride = 2
    has_class_head = True
    has_bins = True
    backbone_parts = ("trunk", "class_head")
    backbone_requires = {"width_multiplier": 1}  # noqa: RUF012
    folds_batch_norms = True

    def __init__(
        self,
        *,
        encoding: str,
        trunk: str,
        width_multiplier: float,
        decoder_widths: tuple[int, ...],
        class_head: bool,
        num_labels: int,
    ):
        super().__init__()
        self.encoding = encoding
        widths = [scale_width(width, width_multiplier, multiple=ATTENTION_HEADS) for width in decoder_widths]
        at32, at16, at8, at4, at2 = widths

        # Trunk and classes
        self.trunk = EfficientNetLite(trunk, width_multiplier)
        skip2, skip4, skip8, skip16, skip32 = self.trunk.widths
        self.class_head = nn.Linear(self.trunk.pooled_width, num_labels) if class_head else None

        # Fusion of what is seen in a place with what the picture shows as a whole
        self.enter = nn.Conv2d(skip32, at32, 1, bias=False)
        self.enter_norm = nn.BatchNorm2d(at32)
        self.globals = nn.Linear(self.trunk.pooled_width, at32)
        self.attention32 = nn.Sequential(AttentionBlock(at32), AttentionBlock(at32))

        # Decoder
        self.up16 = UpBlock(at32, skip16, at16)
        self.attention16 = AttentionBlock(at16)
        self.up8 = UpBlock(at16, skip8, at8)
        self.up4 = UpBlock(at8, skip4, at4)
        self.up2 = UpBlock(at4, skip2, at2)
        self.bins = nn.Conv2d(at4, len(ab_bins()), 1)
        self.chroma = ChromaLayer(at2, 2, 3, padding=1)

    def predict(self, luminance: torch.Tensor) -> GeneratorOutput:
        picture = normalize_picture(luminance_to_unit(luminance, self.encoding)).expand(-1, 3, -1, -1)  # (B, 3, H, W)

        # Trunk: H and W are multiples of 32 from here on
        f2, f4, f8, f16, f32 = self.trunk(picture)  # (B, 16, H/2, W/2) ... (B, 352, H/32, W/32)
        pooled = self.trunk.pooled(f32)  # (B, 1280)
        class_logits = self.class_head(pooled) if self.class_head is not None else None  # (B, num_labels)

        # Fusion
        everywhere = self.globals(pooled)[:, :, None, None]  # (B, 320, 1, 1)
        fused = F.relu(self.enter_norm(self.enter(f32)) + everywhere)  # (B, 320, H/32, W/32)
        x32 = self.attention32(fused)  # (B, 320, H/32, W/32)

        # Decoder
        x16 = self.attention16(self.up16(x32, f16))  # (B, 256, H/16, W/16)
        x8 = self.up8(x16, f8)  # (B, 192, H/8, W/8)
        x4 = self.up4(x8, f4)  # (B, 128, H/4, W/4)
        x2 = self.up2(x4, f2)  # (B, 64, H/2, W/2)
        bin_logits = self.bins(x4)  # (B, 260, H/4, W/4)
        ab = AB_SCALE * self.chroma(x2).float()  # (B, 2, H/2, W/2), Lab units
        if not self.training:  # no color of sRGB lies beyond, and nothing bounds a convolution
            ab = ab.clamp(-AB_LIMIT, AB_LIMIT)
        ab = F.interpolate(ab, scale_factor=2.0, mode="bilinear")  # (B, 2, H, W)
        return GeneratorOutput(
            encode_ab(ab, self.encoding).to(luminance.dtype),
            (f2, f4, f8, f16, f32, fused, x32, x16, x8, x4, x2),
            class_logits,
            bin_logits,
        )

    def fold_batch_norms(self) -> None:
        self.enter_norm = fold_batch_norm(self.enter_norm, self.enter)
        for module in list(self.modules()):
            if isinstance(module, ConvNorm | UpBlock):
                module.fold_batch_norms()
        self.to(memory_format=torch.channels_last)  # the order of the trunk's features, or every call reorders weights

    def load_backbone_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """Fills trunk and class head from published EfficientNet-Lite weights (`imagenet_tensors` knows the names)."""
        load_imagenet_weights(self.trunk, self.class_head, tensors)
