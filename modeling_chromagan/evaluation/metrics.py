"""The table of metrics, what each measures of a colorized picture against its photograph."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..color import rgb8_to_lab
from .protocols import Protocol

CIEDE2000_ROWS = 256  # of a picture worked on at a time


def psnr(
    prediction: torch.Tensor, truth: torch.Tensor, peak: float | str = 255, least_mean_square: float = 0
) -> torch.Tensor:
    """Peak signal-to-noise ratio of every picture, 10 log10(peak^2 / mean squared error), over its three channels.

    Args:
        prediction: (B, C, H, W), uint8.
        truth: the same shape and type.
        peak: the largest value a channel can have, or `"truth"`: the largest that it has in each true picture.
        least_mean_square: what smaller mean squared errors of values in 0..1 count as.

    Returns:
        (B,) decibels, float64 on the CPU; infinite where a picture is equal to its truth and no least error is given.

    Raises:
        ValueError: if the tensors are not uint8 or differ in shape.
    """
    _check_pictures(prediction, truth)
    # Whole numbers throughout: the same figure on every device and with any number of threads.
    squares = (prediction.to(torch.int32) - truth.to(torch.int32)).square().flatten(1)  # (B, C*H*W)
    mean_square = squares.sum(dim=1, dtype=torch.int64).cpu().double() / squares.shape[1]  # (B,)
    if peak == "truth":
        peak = truth.flatten(1).amax(dim=1).cpu().double().clamp(min=1)  # (B,); all black is not divided by zero
    return 10 * torch.log10(peak**2 / mean_square.clamp(min=least_mean_square * 255**2))


def ssim(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Structural similarity of every picture, mean over its channels: 1 is equal.

    Wang et al., "Image quality assessment" (2004), with their Gaussian window of deviation 1.5 (11 x 11 pixels), as
    scikit-image computes it.

    Args:
        prediction: (B, C, H, W), uint8, 11 pixels a side or more.
        truth: the same shape and type.

    Returns:
        (B,), float64 on the CPU.

    Raises:
        ValueError: if the tensors are not uint8, differ in shape or are smaller than the window.
    """
    from skimage.metrics import structural_similarity

    _check_pictures(prediction, truth)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    pairs = zip(prediction.cpu().numpy(), truth.cpu().numpy(), strict=True)
    return torch.tensor(
        [structural_similarity(t, p, channel_axis=0, **settings) for p, t in pairs], dtype=torch.float64
    )


def ciede2000(lab_prediction: torch.Tensor, lab_truth: torch.Tensor) -> torch.Tensor:
    """Mean color difference CIEDE2000 of every picture, by scikit-image: 0 is equal, 1 about what can be told apart.

    Args:
        lab_prediction: CIE Lab, (B, 3, H, W).
        lab_truth: the same shape.

    Returns:
        (B,), float64 on the CPU.
    """
    from skimage.color import deltaE_ciede2000

    means = []
    for prediction, truth in zip(lab_prediction.cpu().numpy(), lab_truth.cpu().numpy(), strict=True):
        total = 0.0
        for start in range(0, prediction.shape[1], CIEDE2000_ROWS):  # its twenty planes never exist at full size
            rows = slice(start, start + CIEDE2000_ROWS)
            # (H, W, 3) views: float64 as scikit-image computes.
            difference = deltaE_ciede2000(
                truth[:, rows].transpose(1, 2, 0).astype(np.float64),
                prediction[:, rows].transpose(1, 2, 0).astype(np.float64),
            )
            total += difference.sum()
        means.append(total / prediction[0].size)
    return torch.tensor(means, dtype=torch.float64)


def colorfulness(rgb: torch.Tensor) -> torch.Tensor:
    """Colorfulness of every picture as observers rate it: 0 none, 15 slight, 33 moderate, 59 quite, 109 extreme.

    Hasler and Suesstrunk, "Measuring colourfulness in natural images" (2003), M^(3):
    sqrt(var(rg) + var(yb)) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2) with rg = R - G and yb = (R + G) / 2 - B.

    Args:
        rgb: (B, 3, H, W), uint8.

    Returns:
        (B,), float64 on the CPU.

    Raises:
        ValueError: if `rgb` is not uint8 or not of that shape.
    """
    _check_pictures(rgb)
    if rgb.shape[1] != 3:
        raise ValueError(f"rgb has shape {tuple(rgb.shape)}; accepted: (B, 3, H, W)")
    rgb = rgb.cpu().flatten(2)  # (B, 3, H*W)
    count = rgb.shape[2]
    # Sums of whole numbers, exact in float64. A few pictures at a time: a whole batch in float64 is more memory than
    # the sums are work.
    parts = (part.double() for part in rgb.split(max(1, 2**15 // count)))
    moments = [(part.sum(dim=2), part @ part.mT) for part in parts]
    sums = torch.cat([first for first, _ in moments])  # (B, 3)
    products = torch.cat([second for _, second in moments])  # (B, 3, 3)
    opponents = torch.tensor([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]], dtype=torch.float64)  # rg and twice yb
    halves = torch.tensor([1.0, 0.5], dtype=torch.float64)
    means = sums @ opponents.T / count * halves  # (B, 2)
    squares = (opponents @ products * opponents).sum(dim=2)  # (B, 2)
    variances = (squares / count * halves**2 - means**2).clamp(min=0)  # only the last rounding can go below zero
    return variances.sum(1).sqrt() + 0.3 * means.square().sum(1).sqrt()


def _check_pictures(*pictures: torch.Tensor) -> None:
    for picture in pictures:
        if picture.dtype != torch.uint8 or picture.ndim != 4 or picture.shape != pictures[0].shape:
            found = " and ".join(f"{tuple(picture.shape)} {picture.dtype}" for picture in pictures)
            raise ValueError(f"pictures are {found}; accepted: uint8 of one shape (B, C, H, W)")


class Comparison:
    """Colorized pictures beside their photographs; what several metrics need is computed once.

    Args:
        prediction: (B, 3, H, W), uint8.
        truth: the same shape and type.
        protocol: says how the PSNR is taken.
        lab_truth: (B, 3, H, W), `truth` in Lab units where the caller has it already.
    """

    def __init__(
        self,
        prediction: torch.Tensor,
        truth: torch.Tensor,
        protocol: Protocol,
        lab_truth: torch.Tensor | None = None,
    ):
        self.prediction, self.truth, self.protocol = prediction, truth, protocol
        self.lab_truth = rgb8_to_lab(truth) if lab_truth is None else lab_truth

    @cached_property
    def lab_prediction(self) -> torch.Tensor:
        """(B, 3, H, W), Lab units of the 8-bit picture: what is seen, not what the network asked for."""
        return rgb8_to_lab(self.prediction)

    @cached_property
    def colorfulness(self) -> torch.Tensor:
        """(B,)"""
        return colorfulness(self.prediction)

    @cached_property
    def colorfulness_truth(self) -> torch.Tensor:
        """(B,)"""
        return colorfulness(self.truth)


@dataclass(frozen=True)
class Metric:
    """One figure of an evaluation: what is measured of a picture, how pictures are summed up, how it is shown.

    Args:
        title: heading of its columns, with the unit; without one it is no column of the printed tables.
        decimals: of its columns.
        measure: the pictures' values, (B,) float64 on the CPU; the figure is their mean. `None` where the figure is
            made of other metrics' values, or comes from elsewhere (`AucAccumulator`, `Row`, `RecognitionMetrics`).
        values: name of the pictures' values, by default the metric's own; metrics can share what is measured once.
        in_csv: whether the pictures' values are a column of the CSV files.
        median: the figure is the median of the values.
        of_means: the figure from the means of all values by name, each a number or one of every resampling.
        gain: whether its difference from the gray row is shown.
        full: whether it is too slow for the evaluations of a training.
        curve: whether it is shown beside the PSNR at each saturation.
        optional: whether its column is left out where no row has the figure.
    """

    title: str = ""
    decimals: int = 2
    measure: Callable[[Comparison], torch.Tensor] | None = None
    values: str | None = None
    in_csv: bool = True
    median: bool = False
    of_means: Callable[[Mapping[str, Any]], Any] | None = None
    gain: bool = False
    full: bool = False
    curve: bool = False
    optional: bool = False


def _psnr(pictures: Comparison) -> torch.Tensor:
    return psnr(pictures.prediction, pictures.truth, pictures.protocol.peak, pictures.protocol.least_mean_square)


def _colorfulness_ratio(means: Mapping[str, Any]) -> Any:
    prediction, truth = means["colorfulness"], means["colorfulness_truth"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return prediction / truth if np.ndim(truth) or truth else float("nan")


# In the order of their columns, by their keys in results.json. A further metric is a function and a line.
METRICS = {
    "psnr_mean": Metric("PSNR mean (dB)", 2, _psnr, values="psnr", gain=True),
    "psnr_median": Metric("PSNR median (dB)", 2, _psnr, values="psnr", median=True, gain=True),
    "ssim": Metric("SSIM", 4, lambda pictures: ssim(pictures.prediction, pictures.truth), gain=True),
    "ciede2000": Metric(
        "CIEDE2000", 2, lambda pictures: ciede2000(pictures.lab_prediction, pictures.lab_truth), gain=True, full=True
    ),
    "colorfulness": Metric("colorfulness", 2, lambda pictures: pictures.colorfulness),
    "colorfulness_truth": Metric(measure=lambda pictures: pictures.colorfulness_truth),
    "colorfulness_ratio": Metric("colorfulness ratio", 3, of_means=_colorfulness_ratio, curve=True),
    "colorfulness_difference_of_means": Metric(
        "Δ colorfulness, of the means",
        of_means=lambda means: abs(means["colorfulness"] - means["colorfulness_truth"]),
    ),
    "colorfulness_mean_difference": Metric(
        "Δ colorfulness, mean of pictures",
        measure=lambda pictures: (pictures.colorfulness - pictures.colorfulness_truth).abs(),
        in_csv=False,
    ),
    "rebalanced_auc": Metric("rebalanced AuC (%)", gain=True),
    "auc": Metric("AuC (%)", values="auc", gain=True),
    "lpips": Metric("LPIPS", 4, optional=True),
    "fid": Metric("FID", optional=True),
    "lite2_top1": Metric("Lite2 top-1 (%)", 1, gain=True, curve=True, optional=True),
    "lite2_agreement": Metric("Lite2 agreement (%)", 1, gain=True, curve=True, optional=True),
    "fd_lite2": Metric("FD-Lite2", curve=True, optional=True),
    "top1": Metric("top-1 of the class head (%)"),
    "own_loss": Metric("own validation loss (not comparable between losses or color spaces)", 5),
}


def measured_values(full: bool) -> dict[str, Callable[[Comparison], torch.Tensor]]:
    """What is measured of every picture, by name."""
    return {
        metric.values or name: metric.measure
        for name, metric in METRICS.items()
        if metric.measure is not None and (full or not metric.full)
    }


def csv_values() -> list[str]:
    """Names of the pictures' values that are columns of the CSV files."""
    names = (
        metric.values or name
        for name, metric in METRICS.items()
        if metric.in_csv and (metric.measure is not None or metric.values)
    )
    return list(dict.fromkeys(names))


__all__ = [
    "METRICS",
    "Comparison",
    "Metric",
    "ciede2000",
    "colorfulness",
    "csv_values",
    "measured_values",
    "psnr",
    "ssim",
]
