"""What a frozen EfficientNet-Lite sees in a picture: for a distance between pictures, and for the projected critic."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from ..architectures import CRITICS
from ..color import decode_ab, decode_luminance, lab_to_rgb
from ..errors import SettingError
from ..layers import reflect_to_multiple
from ..sources.pretrained_weights import load_lite_features
from ..trunk_efficientnet_lite import EfficientNetLite, normalize_picture
from .recipe import Recipe


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
    average: Callable[[torch.Tensor], torch.Tensor] = lambda value: value,
) -> torch.Tensor:
    """Mean distance of two batches' features, each channel in deviations of the truth's, over all channels and scales.

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
        deviation = average((theirs - center[:, None, None]).square().mean(dim=places)).sqrt()  # (C,)
        distances.append(((ours - theirs).abs().mean(dim=places) / (deviation + 1e-3)).mean())
    return sum(distances) / len(distances)


def at_half_size(ab: torch.Tensor) -> torch.Tensor:
    """Chroma as fine as generators give it, (B, 2, H, W) averaged in places of 2 x 2 and enlarged bilinearly.

    The truth that predictions are told from would otherwise be known by its sharper edges.
    """
    return F.interpolate(F.avg_pool2d(ab, 2, ceil_mode=True), size=ab.shape[2:], mode="bilinear")


def load_picture_features(recipe: Recipe) -> PictureFeatures | None:
    """The frozen features that a recipe's terms need, on the CPU; `None` where none of them does.

    Raises:
        SettingError: one line, if their weights cannot be had or are not those that the critic takes.
    """
    if not any(recipe.needs_features(phase) for phase in recipe.phases):
        return None
    config = recipe.build_config()
    trunk = load_lite_features("features_model", recipe.features_model)
    wanted = CRITICS[config.critic].feature_widths
    adversarial = any(phase.objective.adversarial_weight for phase in recipe.phases)
    if adversarial and wanted and trunk.widths[1:] != wanted:
        raise SettingError(
            f"features_model: {recipe.features_model}: has {trunk.widths[1:]} channels; accepted with model.critic "
            f"{config.critic}: {wanted}, those of EfficientNet-Lite0"
        )
    return PictureFeatures(trunk, config.encoding)


__all__ = ["PictureFeatures", "at_half_size", "load_picture_features", "perceptual_distance"]
