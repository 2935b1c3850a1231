"""`preincep` and `preres`: the front of a ResNet-18 fused with the features of an Inception network; ab out.

luminance -+-> conv1 -> layer1 -> layer2 ---------+-> fusion -> decoder1 -> decoder2 -> decoder3 -> chroma -> ab
           +-> 299 px -> extractor -> mean, repeated -+

After Deep Koalarization (Baldassarre, Gonzalez Morin, Rodes-Guirao, 2017, arXiv 1712.03400, section 3): what a frozen
classifier saw in the whole picture stands beside the local features at every place of the bottleneck.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .color import luminance_to_unit
from .errors import one_line
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

EXTRACTOR_SIZE = 299  # pixels a side, what both Inception networks were trained at


def build_extractor(architecture: str) -> nn.Module:
    """timm's network of that name with random weights, giving a list of one feature map, (B, channels, 8, 8) at 299.

    Raises:
        ImportError: one line, if timm or the torchvision that it needs is missing or does not work.
    """
    try:
        # Imported here, as only these two generators need it and a torchvision that does not fit fails on import.
        from transformers import TimmBackbone, TimmBackboneConfig

        backbone = TimmBackbone(TimmBackboneConfig(backbone=architecture, out_indices=[-1]))
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = one_line(error, 160)
        raise ImportError(
            f"generators preincep and preres need timm, which cannot be used here ({reason}); "
            "accepted: timm 1.0 with a torchvision that fits torch"
        ) from error
    # The network itself: the library's wrapper would leave weights that a file lacks as garbage. Its marks go too, so
    # that our own initialization applies: timm's, made for batch norm in training, grows to 1e10 in a frozen network.
    network = backbone._backbone
    for module in network.modules():
        module._is_hf_initialized = False
    return network


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
    """Convolutions of the given widths, each with batch norm and ReLU behind it."""

    def __init__(self, in_channels: int, *widths: int, kernel_size: int = 3):
        super().__init__()
        for i, width in enumerate(widths, start=1):
            # Batch norm would take a bias out again.
            conv = nn.Conv2d(in_channels, width, kernel_size, padding=kernel_size // 2, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"norm{i}", nn.BatchNorm2d(width))
            in_channels = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = F.relu(layer(x)) if isinstance(layer, nn.BatchNorm2d) else layer(x)
        return x


class InceptionV3Autoencoder(GeneratorNetwork):
    """`preincep`: the autoencoder of `labnet` with the 2,048 features of Inception-v3 fused into its bottleneck.

    Differences from the paper: the encoder is the front of a ResNet-18, and what is fused are the features before the
    classifier instead of its thousand answers. A published version shows the extractor the *color* picture while it
    trains. That gives the answer away: its validation error (0.0012) can be compared with nothing, and a gray picture
    meets features that never occurred in training. Here the extractor sees luminance in training and in use, three
    times, resized to 299 pixels and normalized with mean and standard deviation 0.5.

    Frozen random features are not the published system: without pretrained weights train the extractor
    (`train_extractor`) or say so.

    Raises:
        ImportError: one line, if timm cannot be used.
    """

    architecture = "inception_v3"
    extractor_channels = 2048
    choices = {"trunk_input": TRUNK_INPUTS, "chroma_resolution": CHROMA_RESOLUTIONS}  # noqa: RUF012
    size_multiple = 8  # the encoder halves three times
    backbone_parts = ("encoder",)
    backbone_requires = {"trunk_input": "imagenet", "width_multiplier": 1}  # noqa: RUF012
    extractor_parts = ("extractor",)

    def __init__(
        self,
        *,
        encoding: str,
        trunk_input: str,
        width_multiplier: float,
        chroma_resolution: str,
        train_extractor: bool,
    ):
        super().__init__()
        self.encoding = encoding
        self.trunk_input = trunk_input
        self.chroma_stride = 1 if chroma_resolution == "full" else 2
        self.frozen_parts = () if train_extractor else ("extractor",)
        widths = [scale_width(width, width_multiplier) for width in (128, 128, 64, 64, 32)]
        self.encoder = ResNetFront(width_multiplier)
        self.extractor = build_extractor(self.architecture)
        self.fusion = DecoderStage(self.encoder.out_channels + self.extractor_channels, widths[0], kernel_size=1)
        self.decoder1 = DecoderStage(widths[0], widths[1])
        self.decoder2 = DecoderStage(widths[1], widths[2], widths[3])
        self.decoder3 = DecoderStage(widths[3], widths[4])
        self.chroma = nn.Conv2d(widths[4], 2, 3, padding=1)

    def predict(self, luminance: torch.Tensor) -> GeneratorOutput:
        unit_luminance = luminance_to_unit(luminance, self.encoding)  # (B, 1, H, W)

        # Encoder
        picture = one_channel(unit_luminance, self.trunk_input)  # (B, 1, H, W)
        stem, x1, x2 = self.encoder(picture)  # (B, 64, H/2, W/2), (B, 64, H/4, W/4), (B, 128, H/8, W/8)

        # Features of the whole picture
        (seen,) = self.extractor(self.to_extractor_input(unit_luminance))  # (B, 2048, 8, 8)
        features = seen.mean(dim=(2, 3))  # (B, 2048)
        grid = features[:, :, None, None].expand(-1, -1, *x2.shape[-2:])  # (B, 2048, H/8, W/8)

        # Fusion and decoder
        fused = self.fusion(torch.cat([x2, grid], dim=1))  # (B, 128, H/8, W/8)
        up1 = self.decoder1(fused)  # (B, 128, H/8, W/8)
        up2 = self.decoder2(F.interpolate(up1, scale_factor=2.0))  # (B, 64, H/4, W/4)
        up3 = self.decoder3(F.interpolate(up2, scale_factor=2.0))  # (B, 32, H/2, W/2)
        x = F.interpolate(up3, scale_factor=2.0) if self.chroma_stride == 1 else up3  # (B, 32, H/2, W/2), or full size
        x = self.chroma(x)  # (B, 2, H/2, W/2), or full size
        ab = torch.sigmoid(x) if self.encoding == "unit8" else torch.tanh(x)
        if self.chroma_stride == 2:
            ab = F.interpolate(ab, scale_factor=2.0)  # (B, 2, H, W)
        return GeneratorOutput(ab, (stem, x1, x2, fused, up1, up2, up3))

    def to_extractor_input(self, unit_luminance: torch.Tensor) -> torch.Tensor:
        """Luminance in 0..1, (B, 1, H, W), as the extractor was trained to see pictures: (B, 3, 299, 299)."""
        size = (EXTRACTOR_SIZE, EXTRACTOR_SIZE)
        resized = F.interpolate(unit_luminance, size=size, mode="bilinear", align_corners=False)
        return ((resized - 0.5) / 0.5).expand(-1, 3, -1, -1)

    def load_backbone_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """Fills the encoder from a ResNet-18 named as in `microsoft/resnet-18`, `timm/resnet18.*` or torchvision.

        The first convolution becomes the sum of its RGB kernels: the classifier's own answer to three equal channels.
        """
        tensors = torchvision_names(tensors)
        tensors["conv1.weight"] = tensors["conv1.weight"].sum(dim=1, keepdim=True)
        copy_weights(self.encoder.state_dict(), tensors)

    def load_extractor_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """From weights by timm's names, those of `timm/inception_v3.*` or `timm/inception_resnet_v2.*`."""
        copy_weights(self.extractor.state_dict(), tensors)


class InceptionResNetV2Autoencoder(InceptionV3Autoencoder):
    """`preres`: the same with the 1,536 features of Inception-ResNet-v2, the network of the paper."""

    architecture = "inception_resnet_v2"
    extractor_channels = 1536
