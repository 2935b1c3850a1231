"""A U-Net on a ResNet-18 encoder, as GAN recipes pretrain it with L1: luminance in, ab out.

luminance -> stem -> layer1 -> layer2 -> layer3 -> layer4 -> up4 -> up3 -> up2 -> up1 -> up0 -> chroma -> ab
     |         |        |         |         |                 |      |      |      |      |
     |         |        |         |         +------ 1/16 -----+      |      |      |      |
     |         |        |         +---------------- 1/8 -------------+      |      |      |
     |         |        +-------------------------- 1/4 --------------------+      |      |
     |         +----------------------------------- 1/2 ---------------------------+      |
     +--------------------------------------------- 1/1 ----------------------------------+
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .color import luminance_to_unit
from .layers import (
    TRUNK_INPUTS,
    GeneratorNetwork,
    GeneratorOutput,
    copy_weights,
    scale_width,
    three_channels,
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


class ResNetEncoder(nn.Module):
    """ResNet-18 without its last two layers, pooling and classifier; names are torchvision's."""

    def __init__(self, width_multiplier: float):
        super().__init__()
        widths = [scale_width(width, width_multiplier) for width in (64, 64, 128, 256, 512)]
        self.widths = widths
        self.conv1 = nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        for i in range(1, 5):
            first = ResidualBlock(widths[i - 1], widths[i], stride=1 if i == 1 else 2)
            self.add_module(f"layer{i}", nn.Sequential(first, ResidualBlock(widths[i], widths[i], stride=1)))

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """`picture`: (B, 3, H, W); the features at 1/2, 1/4, 1/8, 1/16 and 1/32 of its size."""
        stem = F.relu(self.bn1(self.conv1(picture)))  # (B, 64, H/2, W/2)
        x1 = self.layer1(F.max_pool2d(stem, 3, stride=2, padding=1))  # (B, 64, H/4, W/4)
        x2 = self.layer2(x1)  # (B, 128, H/8, W/8)
        x3 = self.layer3(x2)  # (B, 256, H/16, W/16)
        x4 = self.layer4(x3)  # (B, 512, H/32, W/32)
        return stem, x1, x2, x3, x4


class SubPixelConv(nn.Conv2d):
    """1x1 convolution to four channels for each of the result, which become its 2x2 pixels (Shi et al., 2016)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, 4 * out_channels, kernel_size=1)

    def initialize(self) -> None:
        """The four pixels start equal (ICNR, Aitken et al., 2017): no checkerboard, at first the nearest neighbor."""
        init.kaiming_normal_(self.weight, nonlinearity="relu")
        init.copy_(self.weight, self.weight[::4].repeat_interleave(4, dim=0))
        init.zeros_(self.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pixel_shuffle(super().forward(x), 2)  # (B, out_channels, 2H, 2W)


class NearestConv(nn.Conv2d):
    """1x1 convolution, then every pixel four times."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(super().forward(x), scale_factor=2.0)  # (B, out_channels, 2H, 2W)


UPSAMPLINGS: dict[str, type[nn.Module]] = {"subpixel": SubPixelConv, "nearest": NearestConv}


class UpBlock(GradientCheckpointingLayer):
    """Enlarges to twice the size, joins the skip, and convolves twice (3x3, batch norm, ReLU)."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, upsampling: str):
        super().__init__()
        self.enlarge = UPSAMPLINGS[upsampling](in_channels, out_channels)
        self.conv1 = nn.Conv2d(out_channels + skip_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.enlarge(x))  # (B, out_channels, 2H, 2W)
        x = torch.cat([x, skip], dim=1)  # (B, out_channels + skip_channels, 2H, 2W)
        x = F.relu(self.norm1(self.conv1(x)))  # (B, out_channels, 2H, 2W)
        return F.relu(self.norm2(self.conv2(x)))


class ResNetUNet(GeneratorNetwork):
    """ResNet-18 down, five blocks with skips up: at 1/16, 1/8, 1/4, 1/2 and the full size, where the picture joins.

    Published recipes of this kind build fastai's `DynamicUnet` on the same encoder. Differences: no convolutions to
    1,024 channels at the bottleneck, narrower blocks (256, 128, 64, 64, 32), and a tanh or sigmoid at the end where
    theirs leaves the range of chroma open.
    """

    choices = {"trunk_input": TRUNK_INPUTS, "upsampling": UPSAMPLINGS}  # noqa: RUF012
    size_multiple = 32  # the encoder halves five times
    backbone_parts = ("encoder",)
    backbone_requires = {"trunk_input": "imagenet", "width_multiplier": 1}  # noqa: RUF012

    def __init__(self, *, encoding: str, trunk_input: str, width_multiplier: float, upsampling: str):
        super().__init__()
        self.encoding = encoding
        self.trunk_input = trunk_input
        self.encoder = ResNetEncoder(width_multiplier)
        stem, *_, bottleneck = self.encoder.widths
        skips = [*self.encoder.widths[-2::-1], 3]  # 256, 128, 64, 64 and the picture
        widths = [*skips[:3], stem, scale_width(32, width_multiplier)]  # 256, 128, 64, 64, 32
        self.up4 = UpBlock(bottleneck, skips[0], widths[0], upsampling)
        self.up3 = UpBlock(widths[0], skips[1], widths[1], upsampling)
        self.up2 = UpBlock(widths[1], skips[2], widths[2], upsampling)
        self.up1 = UpBlock(widths[2], skips[3], widths[3], upsampling)
        self.up0 = UpBlock(widths[3], skips[4], widths[4], upsampling)
        self.chroma = nn.Conv2d(widths[4], 2, 3, padding=1)

    @classmethod
    def refuses_batch(cls, batch_size: int, size: int, image_size: int | None = None) -> str | None:
        """As of every generator.

        Batch norm cannot train on one value per channel, which is what a single picture leaves at 1/32 of 32 pixels.
        """
        if batch_size == 1 and size <= cls.size_multiple:
            return f"batch_size is 1; accepted: 2 or more while the bottleneck is 1x1, as it is at {size} pixels"
        return None

    def predict(self, luminance: torch.Tensor) -> GeneratorOutput:
        picture = three_channels(luminance_to_unit(luminance, self.encoding), self.trunk_input)  # (B, 3, H, W)

        # Encoder
        stem, x1, x2, x3, x4 = self.encoder(picture)  # (B, 64, H/2, W/2) ... (B, 512, H/32, W/32)

        # Decoder
        up4 = self.up4(x4, x3)  # (B, 256, H/16, W/16)
        up3 = self.up3(up4, x2)  # (B, 128, H/8, W/8)
        up2 = self.up2(up3, x1)  # (B, 64, H/4, W/4)
        up1 = self.up1(up2, stem)  # (B, 64, H/2, W/2)
        up0 = self.up0(up1, picture)  # (B, 32, H, W)
        x = self.chroma(up0)  # (B, 2, H, W)
        ab = torch.sigmoid(x) if self.encoding == "unit8" else torch.tanh(x)
        return GeneratorOutput(ab, (stem, x1, x2, x3, x4, up4, up3, up2, up1, up0))

    def load_backbone_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """Fills the encoder from a ResNet-18 named as in `microsoft/resnet-18`, `timm/resnet18.*` or torchvision."""
        copy_weights(self.encoder.state_dict(), torchvision_names(tensors))
