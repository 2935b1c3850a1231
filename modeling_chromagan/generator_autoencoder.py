"""`basic` and `labnet`: the front of a ResNet-18 and an upsampling decoder; luminance in, RGB or ab out.

luminance -> conv1 -> layer1 -> layer2 -> decoder1 -> decoder2 -> decoder3 -> color
  1/1         1/2      1/4       1/8        1/8         1/4         1/2       1/2, repeated to 1/1

The network of widespread colorization tutorials: ResNet-18 through its sixth child (conv1, bn1, relu, maxpool, layer1,
layer2) with a first convolution of one channel. Nothing carries detail past the bottleneck at 1/8.
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
    one_channel,
    scale_width,
    torchvision_names,
)


class ResidualBlock(GradientCheckpointingLayer):
    """Two 3x3 convolutions with batch norm beside a shortcut (He et al., 2016, figure 2); names are torchvision's."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride > 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))  # (B, out_channels, H/stride, W/stride)
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNetFront(nn.Module):
    """ResNet-18 through layer2, for one channel; names are torchvision's."""

    def __init__(self, width_multiplier: float):
        super().__init__()
        width, deep = scale_width(64, width_multiplier), scale_width(128, width_multiplier)
        self.out_channels = deep
        self.conv1 = nn.Conv2d(1, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(ResidualBlock(width, width, stride=1), ResidualBlock(width, width, stride=1))
        self.layer2 = nn.Sequential(ResidualBlock(width, deep, stride=2), ResidualBlock(deep, deep, stride=1))

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """`picture`: (B, 1, H, W); the features at 1/2, 1/4 and 1/8 of its size."""
        stem = F.relu(self.bn1(self.conv1(picture)))  # (B, 64, H/2, W/2)
        x1 = self.layer1(F.max_pool2d(stem, 3, stride=2, padding=1))  # (B, 64, H/4, W/4)
        return stem, x1, self.layer2(x1)  # (B, 128, H/8, W/8)


class DecoderStage(GradientCheckpointingLayer):
    """3x3 convolutions of the given widths, each with batch norm and ReLU behind it."""

    def __init__(self, in_channels: int, *widths: int):
        super().__init__()
        for i, width in enumerate(widths, start=1):
            # Batch norm would take a bias out again.
            self.add_module(f"conv{i}", nn.Conv2d(in_channels, width, 3, padding=1, bias=False))
            self.add_module(f"norm{i}", nn.BatchNorm2d(width))
            in_channels = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = F.relu(layer(x)) if isinstance(layer, nn.BatchNorm2d) else layer(x)
        return x


class LabAutoencoder(GeneratorNetwork):
    """`labnet`: ResNet-18 front, decoder of 128, 64, 64 and 32 channels with nearest upsampling between, ab out.

    Color comes at half the size and is repeated, as published, or is computed at full size (`chroma_resolution`). The
    published networks leave the output open; this one ends in a sigmoid or tanh and so stays in its encoding.
    """

    choices = {"trunk_input": TRUNK_INPUTS, "chroma_resolution": CHROMA_RESOLUTIONS}  # noqa: RUF012
    size_multiple = 8  # the encoder halves three times
    backbone_parts = ("encoder",)
    backbone_requires = {"trunk_input": "imagenet", "width_multiplier": 1}  # noqa: RUF012
    out_channels = 2

    def __init__(self, *, encoding: str, trunk_input: str, width_multiplier: float, chroma_resolution: str):
        super().__init__()
        self.encoding = encoding
        self.trunk_input = trunk_input
        self.chroma_stride = 1 if chroma_resolution == "full" else 2
        widths = [scale_width(width, width_multiplier) for width in (128, 64, 64, 32)]
        self.encoder = ResNetFront(width_multiplier)
        self.decoder1 = DecoderStage(self.encoder.out_channels, widths[0])
        self.decoder2 = DecoderStage(widths[0], widths[1], widths[2])
        self.decoder3 = DecoderStage(widths[2], widths[3])
        self.color = nn.Conv2d(widths[3], self.out_channels, 3, padding=1)

    def predict(self, luminance: torch.Tensor) -> GeneratorOutput:
        x, hidden_states = self.unbounded(luminance)  # (B, 2, H, W)
        ab = torch.sigmoid(x) if self.encoding == "unit8" else torch.tanh(x)
        return GeneratorOutput(ab, hidden_states)

    def unbounded(self, luminance: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """The last convolution's answer, (B, 2 or 3, H, W), and the features after every stage."""
        picture = one_channel(luminance_to_unit(luminance, self.encoding), self.trunk_input)  # (B, 1, H, W)

        # Encoder
        stem, x1, x2 = self.encoder(picture)  # (B, 64, H/2, W/2), (B, 64, H/4, W/4), (B, 128, H/8, W/8)

        # Decoder
        up1 = self.decoder1(x2)  # (B, 128, H/8, W/8)
        up2 = self.decoder2(F.interpolate(up1, scale_factor=2.0))  # (B, 64, H/4, W/4)
        up3 = self.decoder3(F.interpolate(up2, scale_factor=2.0))  # (B, 32, H/2, W/2)
        x = F.interpolate(up3, scale_factor=2.0) if self.chroma_stride == 1 else up3  # (B, 32, H/2, W/2), or full size
        x = self.color(x)  # (B, 2 or 3, H/2, W/2), or full size
        if self.chroma_stride == 2:
            x = F.interpolate(x, scale_factor=2.0)  # (B, 2 or 3, H, W)
        return x, (stem, x1, x2, up1, up2, up3)

    def load_backbone_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """Fills the encoder from a ResNet-18 named as in `microsoft/resnet-18`, `timm/resnet18.*` or torchvision.

        The first convolution becomes the sum of its RGB kernels: the classifier's own answer to three equal channels.
        """
        tensors = torchvision_names(tensors)
        tensors["conv1.weight"] = tensors["conv1.weight"].sum(dim=1, keepdim=True)
        copy_weights(self.encoder.state_dict(), tensors)


class RGBAutoencoder(LabAutoencoder):
    """`basic`: the same network with RGB out, through a sigmoid whatever the encoding of the luminance.

    Of its answer a colorized picture takes the chroma only: the luminance stays the photograph's own.
    """

    output_space = "rgb"
    out_channels = 3

    def predict(self, luminance: torch.Tensor) -> GeneratorOutput:
        x, hidden_states = self.unbounded(luminance)  # (B, 3, H, W)
        return GeneratorOutput(torch.sigmoid(x), hidden_states)
