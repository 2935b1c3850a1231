"""The ChromaGAN generator (Vitoria, Raad, Ballester, WACV 2020, section 3.1): luminance in, chroma and classes out.

luminance -> trunk (VGG-16 through conv4_3) -+-> mid-level features ------------------+-> fusion -> decoder -> ab
                                             +-> global features -+-> dense, repeated -+
                                                                  +-> class head -> class logits
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .color import luminance_to_unit
from .layers import (
    CHROMA_RESOLUTIONS,
    TRUNK_INPUTS,
    GeneratorNetwork,
    GeneratorOutput,
    copy_weights,
    same_padding,
    scale_width,
    three_channels,
)

# Where the ten convolutions through conv4_3 stand in torchvision's `features`, ReLU and pooling counted.
VGG16_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)

# The published network was trained in Keras: epsilon 1e-3, momentum 0.99, which is 0.01 in torch's sense.
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.01

NORM_ORDERS = ("relu_norm", "norm_relu")


class ConvLayer(nn.Module):
    """3x3 or 1x1 convolution with "same" padding, ReLU, and batch norm before or after it (or none)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        batch_norm: bool = False,
        norm_order: str = "relu_norm",
    ):
        super().__init__()
        # At stride 1 an odd kernel is padded alike on both sides, which the convolution does without a copy.
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2 if stride == 1 else 0
        )
        self.norm = nn.BatchNorm2d(out_channels, BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM) if batch_norm else None
        self.norm_first = norm_order == "norm_relu"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.conv.stride[0] > 1:
            rows, columns = (same_padding(n, self.conv.kernel_size[0], self.conv.stride[0]) for n in x.shape[-2:])
            x = F.pad(x, (*columns, *rows))
        x = self.conv(x)
        if self.norm is None:
            return F.relu(x)
        return F.relu(self.norm(x)) if self.norm_first else self.norm(F.relu(x))


class ConvStage(GradientCheckpointingLayer):
    """Convolution layers one after the other; the unit of activation checkpointing."""

    def __init__(self, layers: dict[str, nn.Module]):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = layer(x)
        return x


class DenseLayers(nn.Module):
    """Linear layers without activations, as published."""

    def __init__(self, in_features: int, sizes: tuple[int, ...]):
        super().__init__()
        widths = (in_features, *sizes)
        for i in range(len(sizes)):
            self.add_module(f"dense{i + 1}", nn.Linear(widths[i], widths[i + 1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = layer(x)
        return x


class FusionGenerator(GeneratorNetwork):
    """VGG-16 trunk, mid-level and global features fused, decoder to chroma, class-distribution head."""

    choices = {  # noqa: RUF012
        "trunk_input": TRUNK_INPUTS,
        "norm_order": NORM_ORDERS,
        "chroma_resolution": CHROMA_RESOLUTIONS,
    }
    size_multiple = 8  # the trunk halves three times
    has_class_head = True
    backbone_parts = ("trunk",)
    backbone_requires = {"trunk_input": "imagenet", "width_multiplier": 1, "trunk_batch_norm": False}  # noqa: RUF012

    def __init__(
        self,
        *,
        encoding: str,
        trunk_input: str,
        image_size: int,
        width_multiplier: float,
        pooled_size: int | None,
        global_hidden_sizes: tuple[int, ...],
        class_head: bool,
        class_hidden_sizes: tuple[int, ...],
        num_labels: int,
        trunk_batch_norm: bool,
        norm_order: str,
        chroma_resolution: str,
    ):
        super().__init__()
        self.encoding = encoding
        self.trunk_input = trunk_input
        self.pooled_size = pooled_size or image_size // 32
        self.chroma_stride = 1 if chroma_resolution == "full" else 2

        def layers(
            prefix: str, in_channels: int, widths: list[int], strides: list[int] | None = None, norm: bool = True
        ) -> tuple[ConvStage, int]:
            """Named 3x3 layers of the given published widths, scaled."""
            built, channels = {}, in_channels
            for i, width in enumerate(widths):
                stride = strides[i] if strides else 1
                layer = ConvLayer(
                    channels, scale_width(width, width_multiplier), 3, stride, batch_norm=norm, norm_order=norm_order
                )
                built[f"{prefix}{i + 1}"], channels = layer, layer.conv.out_channels
            return ConvStage(built), channels

        # Trunk: VGG-16 through conv4_3
        self.trunk = nn.ModuleList()
        channels = 3
        for stage, widths in enumerate([[64] * 2, [128] * 2, [256] * 3, [512] * 3]):
            block, channels = layers(f"conv{stage + 1}_", channels, widths, norm=trunk_batch_norm)
            self.trunk.append(block)
        trunk_channels = channels

        # Global features, shared with the class head
        self.global_convs, channels = layers("conv", trunk_channels, [512] * 4, strides=[2, 1, 2, 1])
        flat_features = channels * self.pooled_size**2
        self.global_dense = DenseLayers(flat_features, tuple(global_hidden_sizes))
        self.class_head = DenseLayers(flat_features, (*class_hidden_sizes, num_labels)) if class_head else None

        # Mid-level features
        self.mid_level, mid_channels = layers("conv", trunk_channels, [512, 256])

        # Fusion and decoder
        fused = mid_channels + global_hidden_sizes[-1]
        fusion = ConvLayer(fused, scale_width(256, width_multiplier), kernel_size=1)
        self.fusion = ConvStage({"conv1": fusion})
        self.decoder1, channels = layers("conv", fusion.conv.out_channels, [128], norm=False)
        self.decoder2, channels = layers("conv", channels, [64, 64], norm=False)
        self.decoder3, channels = layers("conv", channels, [32], norm=False)
        self.chroma = nn.Conv2d(channels, 2, 3, padding=1)

    def predict(self, luminance: torch.Tensor) -> GeneratorOutput:
        x = three_channels(luminance_to_unit(luminance, self.encoding), self.trunk_input)  # (B, 3, H, W)
        hidden_states = []

        # Trunk
        for i, block in enumerate(self.trunk):
            x = block(F.max_pool2d(x, 2) if i else x)  # (B, 64, H, W) ... (B, 512, H/8, W/8)
            hidden_states.append(x)

        # Global features and classes
        deep = self.global_convs(x)  # (B, 512, H/32, W/32)
        pooled = deep  # (B, 512, 7, 7)
        if deep.shape[-2:] != (self.pooled_size, self.pooled_size):
            pooled = F.adaptive_avg_pool2d(deep, self.pooled_size)
        flat = pooled.flatten(1)  # (B, 512 * 7 * 7)
        class_logits = self.class_head(flat) if self.class_head is not None else None  # (B, num_labels)
        global_features = self.global_dense(flat)  # (B, 256)

        # Mid-level features and fusion
        mid = self.mid_level(x)  # (B, 256, H/8, W/8)
        grid = global_features[:, :, None, None].expand(-1, -1, *mid.shape[-2:])  # (B, 256, H/8, W/8)
        fused = self.fusion(torch.cat([mid, grid], dim=1))  # (B, 256, H/8, W/8)

        # Decoder
        x = self.decoder1(fused)  # (B, 128, H/8, W/8)
        x = self.decoder2(F.interpolate(x, scale_factor=2.0))  # (B, 64, H/4, W/4)
        x = self.decoder3(F.interpolate(x, scale_factor=2.0))  # (B, 32, H/2, W/2)
        hidden_states += [deep, mid, fused, x]
        if self.chroma_stride == 1:
            x = F.interpolate(x, scale_factor=2.0)  # (B, 32, H, W)
        x = self.chroma(x)  # (B, 2, H/2, W/2), or full size
        ab = torch.sigmoid(x) if self.encoding == "unit8" else torch.tanh(x)
        if self.chroma_stride == 2:
            ab = F.interpolate(ab, scale_factor=2.0)  # (B, 2, H, W)
        return GeneratorOutput(ab, tuple(hidden_states), class_logits)

    def load_backbone_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """Fills the trunk from VGG-16 weights named as timm and torchvision name them (`features.0.weight`, ...)."""
        convolutions = [layer.conv for stage in self.trunk for layer in stage.children()]
        own: dict[str, torch.Tensor] = {}
        for conv, place in zip(convolutions, VGG16_PLACES, strict=True):
            own |= {f"features.{place}.weight": conv.weight, f"features.{place}.bias": conv.bias}
        copy_weights(own, tensors)
