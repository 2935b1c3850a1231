"""What a frozen EfficientNet-Lite sees in a picture: for a distance between pictures, and for the projected critic."""

import torch
import torch.nn.functional as F
from torch import nn

from ..color import decode_ab, decode_luminance, lab_to_rgb
from ..errors import SettingError
from ..layers import reflect_to_multiple
from ..sources.pretrained_weights import load_lite_features
from ..trunk_efficientnet_lite import EfficientNetLite, normalize_picture
from .losses import Average, alone


class PictureFeatures(nn.Module):
    """Features of Lab pictures at strides 4, 8, 16 and 32: never trained, differentiable to the pictures.

    Args:
        trunk: with the weights of an ImageNet classifier.
        encoding: of luminance and ab.
    """

    def __init__(self, trunk: EfficientNetLite, encoding: str):
        super().__init__()
        self.trunk = trunk.requires_grad_(False)
        self.encoding = encoding
        self.eval()

    def train(self, mode: bool = True) -> "PictureFeatures":
        """Stays in evaluation mode whatever `mode` says: batch statistics would make the distance another one."""
        return super().train(False)

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """`picture`: luminance and ab concatenated, encoded, (B, 3, H, W), any size from 32 upwards.

        Colors outside sRGB are seen as they would be shown, clipped, with the gradient of those inside: a color that
        left the range would otherwise never be called back.
        """
        lightness = decode_luminance(picture[:, :1], self.encoding)
        rgb = lab_to_rgb(torch.cat([lightness, decode_ab(picture[:, 1:], self.encoding)], dim=1).float())
        rgb = rgb + (rgb.clamp(0, 1) - rgb).detach()  # (B, 3, H, W)
        return self.trunk(normalize_picture(reflect_to_multiple(rgb, self.trunk.size_multiple)))[1:]


def perceptual_distance(
    features: tuple[torch.Tensor, ...],
    true_features: tuple[torch.Tensor, ...],
    average: Average = alone,
) -> torch.Tensor:
    """Mean distance of two batches' features over all channels and scales, in standard deviations of the truth's.

    Johnson, Alahi and Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution" (ECCV 2016),
    section 3.2, there the square over the features of VGG-16; the absolute one is less ruled by a few channels.

    Args:
        features: of pictures, fine to coarse, (B, C, h, w) each.
        true_features: of what they should be.
        average: over the processes.
    """
    places = (0, 2, 3)
    distances = []
    for ours, theirs in zip(features, true_features, strict=True):
        ours, theirs = ours.float(), theirs.float()
        center = average(theirs.mean(dim=places))  # (C,)
        std = average((theirs - center[:, None, None]).square().mean(dim=places)).sqrt()  # (C,)
        distances.append(((ours - theirs).abs().mean(dim=places) / (std + 1e-3)).mean())
    return sum(distances) / len(distances)


def at_stride(ab: torch.Tensor, stride: int) -> torch.Tensor:
    """Chroma as fine as a generator gives it, (B, 2, H, W) averaged in places of that side and enlarged bilinearly.

    The truth that predictions are told from would otherwise be known by its sharper edges.
    """
    return F.interpolate(F.avg_pool2d(ab, stride, ceil_mode=True), size=ab.shape[2:], mode="bilinear")


def load_picture_features(model: str, encoding: str, critic: type[nn.Module] | None = None) -> PictureFeatures:
    """The frozen features of a recipe, on the CPU.

    Args:
        model: `features_model` of the recipe, a folder, Hub id or package.
        encoding: of luminance and ab.
        critic: the class of one that takes these features too.

    Raises:
        SettingError: one line, if their weights cannot be had or are not those that the critic takes.
    """
    trunk = load_lite_features("features_model", model)
    if critic is not None and critic.feature_widths and trunk.widths[1:] != critic.feature_widths:
        raise SettingError(
            f"features_model: {model}: has {trunk.widths[1:]} channels; accepted with model.critic projected: "
            f"{critic.feature_widths}, those of EfficientNet-Lite0"
        )
    return PictureFeatures(trunk, encoding)


__all__ = ["PictureFeatures", "at_stride", "load_picture_features", "perceptual_distance"]
