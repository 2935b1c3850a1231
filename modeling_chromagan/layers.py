"""The contract of generators and critics, with the layers that several of them use.

What the rest of the package asks of a network stands in `GeneratorNetwork` or `CriticNetwork`; a new one is a subclass
and a line in `architectures.py`.
"""

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

# Mean and standard deviation of ImageNet's RGB pictures in 0..1, what torchvision's networks were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

TRUNK_INPUTS = ("raw", "imagenet")
CHROMA_RESOLUTIONS = ("half", "full")
BINS_STRIDE = 4  # pixels of the picture, a side, that share a distribution over colors

# From the names of transformers' ResNet, as in `microsoft/resnet-18`, to those of torchvision's, which timm shares.
RESNET_NAMES = (
    (r"^resnet\.embedder\.embedder\.convolution\.", lambda match: "conv1."),
    (r"^resnet\.embedder\.embedder\.normalization\.", lambda match: "bn1."),
    (r"^resnet\.encoder\.stages\.(\d)\.layers\.(\d)\.", lambda match: f"layer{int(match[1]) + 1}.{match[2]}."),
    (r"\.layer\.(\d)\.convolution\.", lambda match: f".conv{int(match[1]) + 1}."),
    (r"\.layer\.(\d)\.normalization\.", lambda match: f".bn{int(match[1]) + 1}."),
    (r"\.shortcut\.convolution\.", lambda match: ".downsample.0."),
    (r"\.shortcut\.normalization\.", lambda match: ".downsample.1."),
)


class Network(nn.Module, ABC):
    """What generators and critics have in common.

    The constructor takes config fields by keyword. One that `ChromaGANConfig` does not list is the network's own: a
    config has it while it names the network, and the argument's default is the field's. No field has a name that
    transformers reads for itself (`decoder`, `generator`, `text_config`, `text_encoder`, ...).
    """

    choices: ClassVar[Mapping[str, Collection[str]]] = {}  # accepted values of the fields that are one of a few words
    minimum_size: ClassVar[int] = 16  # pixels of the shorter side
    initial_std: ClassVar[float | None] = None  # of a convolution's first weights; None: Kaiming's
    backbone_parts: ClassVar[tuple[str, ...]] = ()  # submodules that load_backbone_weights fills

    @classmethod
    def fields(cls) -> dict[str, Any]:
        """The config fields that the constructor reads, with the arguments' defaults."""
        return {name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()}

    @classmethod
    def from_config(cls, config: Any) -> "Network":
        """The network that a config describes, with random weights."""
        return cls(**{name: getattr(config, name, default) for name, default in cls.fields().items()})


class GeneratorOutput(NamedTuple):
    """What a generator answers."""

    reconstruction: torch.Tensor  # (B, 2, H, W) encoded ab, or (B, 3, H, W) sRGB in 0..1 where output_space is "rgb"
    hidden_states: tuple[torch.Tensor, ...] = ()  # after every stage, first to last
    class_logits: torch.Tensor | None = None  # (B, num_labels)
    bin_logits: torch.Tensor | None = None  # (B, bins, ceil(H/4), ceil(W/4)), over `color.ab_bins()`


class GeneratorNetwork(Network):
    """A generator: encoded luminance in, color out. A subclass has `predict` and what differs from these defaults."""

    output_space: ClassVar[str] = "ab"  # or "rgb"
    size_multiple: int = 1  # sides that `predict` gets are multiples of it
    chroma_stride: int = 1  # pixels of the picture, a side, for each of the chroma that the last layer computes
    has_class_head: ClassVar[bool] = False  # whether it can have one: the field `class_head` says whether it has
    has_bins: ClassVar[bool] = False  # whether it predicts distributions over colors
    frozen_parts: tuple[str, ...] = ()  # submodules that never train and stay in evaluation mode
    # Settings with which the backbone is the network that pretrained weights belong to.
    backbone_requires: ClassVar[Mapping[str, Any]] = {}
    extractor_parts: ClassVar[tuple[str, ...]] = ()  # submodules that load_extractor_weights fills
    folds_batch_norms: ClassVar[bool] = False  # whether it has `fold_batch_norms`

    def forward(self, luminance: torch.Tensor) -> GeneratorOutput:
        """`luminance`: (B, 1, H, W), encoded, H and W from `minimum_size` upwards, any size.

        Raises:
            ValueError: for a smaller picture.
        """
        height, width = luminance.shape[-2:]
        if min(height, width) < self.minimum_size:
            raise ValueError(f"picture is {height}x{width}; accepted: at least {self.minimum_size} pixels a side")
        output = self.predict(reflect_to_multiple(luminance, self.size_multiple))
        bins = output.bin_logits
        if bins is not None:
            bins = bins[..., : -(-height // BINS_STRIDE), : -(-width // BINS_STRIDE)]
        color = output.reconstruction[..., :height, :width]
        return GeneratorOutput(color, output.hidden_states, output.class_logits, bins)

    @abstractmethod
    def predict(self, luminance: torch.Tensor) -> GeneratorOutput:
        """`luminance`: as of `forward`, continued by reflection to sides that are multiples of `size_multiple`."""

    @classmethod
    def refuses_batch(cls, batch_size: int, size: int, image_size: int | None = None) -> str | None:
        """Why no batch of `batch_size` pictures of `size` pixels can be trained on, in one line; `None` if it can.

        `image_size` is the config's, by default `size`.
        """
        return None

    def load_backbone_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """Fills `backbone_parts` from weights that others trained, by the names that they give them.

        Raises:
            KeyError: if a tensor is missing.
            ValueError: if one has another shape.
            TypeError: of a generator without such parts.
        """
        raise TypeError(f"{type(self).__name__} has no backbone_parts to fill")

    def load_extractor_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """As `load_backbone_weights`, of `extractor_parts`."""
        raise TypeError(f"{type(self).__name__} has no extractor_parts to fill")

    def fold_batch_norms(self) -> None:
        """Writes all batch norms into the convolutions before them, in place: faster, the same function to rounding.

        For inference only: what is folded has other names and shapes of weights and cannot be trained or saved.

        Raises:
            TypeError: of a generator whose `folds_batch_norms` is false.
        """
        raise TypeError(f"{type(self).__name__} has no batch norms that can be folded")


class CriticNetwork(Network):
    """A critic: encoded Lab pictures in, scores out, high for photographs. A subclass has `forward`."""

    minimum_size: ClassVar[int] = 1
    feature_widths: ClassVar[tuple[int, ...]] = ()  # channels of the frozen features that it takes; (): none
    bounds_slope: ClassVar[bool] = False  # whether its layers bound its slope, so that a gradient penalty is not to

    @abstractmethod
    def forward(
        self, picture: torch.Tensor, **features: tuple[torch.Tensor, ...]
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Scores of pictures, (B, 1, h, w), one or several maps.

        Args:
            picture: luminance and ab concatenated, encoded, (B, 3, H, W).
            features: as `features`, with `feature_widths` only: a tuple of maps of the same pictures, fine to coarse.
        """


def scale_width(channels: int, multiplier: float, multiple: int = 4) -> int:
    """`channels` times `multiplier` as a multiple of `multiple` and at least that: narrow networks stay vectorized."""
    return max(multiple, multiple * round(channels * multiplier / multiple))


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Rows of zeros before and after that TensorFlow's "same" padding adds along a side of `size` pixels.

    The output has ceil(size / stride) pixels; of an odd total the larger half comes after, so a 3x3 kernel at stride 2
    on an even size is padded after only.
    """
    outputs = (size + stride - 1) // stride  # not -(-size // stride): ONNX rounds negative quotients towards zero
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def reflect_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Continues (B, C, H, W) to the right and below by reflection until both sides are multiples of `multiple`.

    Networks and the pipeline pad with it, so that a picture gives the same alone and in a batch. Where a side would
    have to more than double, the reflection is reflected again.
    """
    while True:
        rows, columns = (min(-size % multiple, size - 1) for size in x.shape[-2:])
        if not rows and not columns:
            return x
        x = F.pad(x, (0, columns, 0, rows), mode="reflect")


def three_channels(unit_luminance: torch.Tensor, trunk_input: str) -> torch.Tensor:
    """Luminance in 0..1, (B, 1, H, W), as three equal channels, or as those that an ImageNet classifier sees of it."""
    if trunk_input == "raw":
        return unit_luminance.expand(-1, 3, -1, -1)
    channels = [(unit_luminance - mean) / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    return torch.cat(channels, dim=1)


def one_channel(unit_luminance: torch.Tensor, trunk_input: str) -> torch.Tensor:
    """Luminance in 0..1, (B, 1, H, W), as it is, or normalized by the average of ImageNet's channels."""
    if trunk_input == "raw":
        return unit_luminance
    return (unit_luminance - sum(IMAGENET_MEAN) / 3) / (sum(IMAGENET_STD) / 3)


def torchvision_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a ResNet-18, named as transformers, torchvision or timm name them, by torchvision's names."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in RESNET_NAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


@torch.no_grad()
def copy_weights(own: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor]) -> None:
    """Copies weights and running statistics, of a `state_dict()` or by other names, from those of the same names.

    Args:
        own: what is filled, in place.
        tensors: may hold more, as a classifier's.

    Raises:
        KeyError: if a tensor is missing.
        ValueError: if one has another shape.
    """
    own = {name: ours for name, ours in own.items() if not name.endswith("batches_tracked")}
    for name, ours in own.items():  # everything is looked at before anything is changed
        if ours.shape != tensors[name].shape:
            raise ValueError(f"{name} has a shape of {tuple(tensors[name].shape)} instead of {tuple(ours.shape)}")
    for name, ours in own.items():
        ours.copy_(tensors[name])


@torch.no_grad()
def fold_batch_norm(norm: nn.BatchNorm2d, *convs: nn.Conv2d) -> nn.Identity:
    """Writes a batch norm into the convolution before it, in place; returns what stands in its place.

    gamma (W x - mean) / std + beta is a convolution with W gamma / std and a bias. Of several convolutions
    whose sum is normed, all are scaled and the first gets the bias.
    """
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()  # (C,)
    bias = norm.bias - norm.running_mean * scale
    for conv in convs:
        conv.weight.copy_(conv.weight * scale[:, None, None, None])
    convs[0].bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    return nn.Identity()


__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "CriticNetwork",
    "GeneratorNetwork",
    "GeneratorOutput",
    "copy_weights",
    "fold_batch_norm",
    "one_channel",
    "reflect_to_multiple",
    "same_padding",
    "scale_width",
    "three_channels",
    "torchvision_names",
]
