"""LPIPS and FID through torchmetrics, where it is installed and can load the networks they are computed with."""

from collections.abc import Callable

import torch
from torch import nn

from ..errors import first_line


def load_perceptual_measures() -> tuple[dict[str, Callable[[], nn.Module]], list[str]]:
    """What can be had of `lpips` (Zhang et al. 2018, AlexNet) and `fid` (Heusel et al. 2017).

    Returns:
        For every measure that can be had, what makes a fresh one; and a line for every other one, saying why not.
    """
    makers, reasons = {}, []
    for name, make in (("lpips", _make_lpips), ("fid", _make_fid)):
        try:
            make()
        except ImportError as error:
            reasons.append(f"{name.upper()} is not measured: {first_line(error)}: pip install 'chromagan[perceptual]'")
        except Exception as error:  # no network, damaged downloads: whatever the libraries raise
            reasons.append(f"{name.upper()} is not measured: {first_line(error)}")
        else:
            makers[name] = make
    return makers, reasons


def _make_lpips() -> nn.Module:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)


def _make_fid() -> nn.Module:
    from torchmetrics.image.fid import FrechetInceptionDistance

    return FrechetInceptionDistance()


@torch.no_grad()
def update_perceptual(name: str, measure: nn.Module, prediction: torch.Tensor, truth: torch.Tensor) -> None:
    """Adds pictures, (B, 3, H, W) uint8, to what `load_perceptual_measures` made under `name`."""
    if name == "fid":
        measure.update(truth, real=True)
        measure.update(prediction, real=False)
    else:
        measure.update(prediction.float() / 255, truth.float() / 255)


__all__ = ["load_perceptual_measures", "update_perceptual"]
