"""Area under the curve of ab errors, raw and class-balanced."""

import torch

from .ab_histogram import BINS_PER_AXIS, ab_squares

LARGEST_THRESHOLD = 150  # Lab units; thresholds are 0, 1, ..., 150


class AucAccumulator:
    """Area under the curve "share of pixels whose ab error is at most t", t = 0, 1, ..., 150 Lab units.

    Zhang, Isola, Efros, "Colorful Image Colorization" (2016), section 3.1: raw accuracy, and class-balanced, where a
    pixel weighs the inverse of how often the 10 x 10 bin of its true ab occurs (their equation 4 with lambda = 0), so
    that the many nearly gray pixels of photographs do not decide alone. Bins are centered on multiples of 10, as
    theirs; how often they occur is counted on the measured pictures, where the paper took the ImageNet training set.
    """

    def __init__(self):
        bins = BINS_PER_AXIS**2
        self.pixels = torch.zeros(bins, dtype=torch.float64)  # per bin of the true ab
        self.thresholds_met = torch.zeros(bins, dtype=torch.float64)  # of 151 per pixel, summed per bin

    def update(self, ab_prediction: torch.Tensor, ab_truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds a batch.

        Args:
            ab_prediction: (B, 2, H, W), Lab units.
            ab_truth: the same shape.

        Returns:
            What was added of every picture, (B, bins) each: pixels, and thresholds that they met.

        Raises:
            ValueError: if the shapes differ or are not of that kind.
        """
        if ab_truth.ndim != 4 or ab_truth.shape[1] != 2 or ab_prediction.shape != ab_truth.shape:
            raise ValueError(
                f"ab has shapes {tuple(ab_prediction.shape)} and {tuple(ab_truth.shape)}; accepted: (B, 2, H, W) twice"
            )
        error = (ab_prediction - ab_truth).square().sum(dim=1).sqrt()  # (B, H, W)
        thresholds_met = (LARGEST_THRESHOLD + 1 - error.ceil()).clamp(min=0)  # (B, H, W), whole numbers 0..151
        count, bins = len(ab_truth), BINS_PER_AXIS**2
        picture = torch.arange(count, device=ab_truth.device).view(-1, 1, 1)
        index = (picture * bins + ab_squares(ab_truth)).flatten()  # (B*H*W,)
        weights = thresholds_met.flatten().double()
        pixels = torch.bincount(index, minlength=count * bins).view(count, bins).double().cpu()
        met = torch.bincount(index, weights, minlength=count * bins).view(count, bins).cpu()
        self.pixels += pixels.sum(0)
        self.thresholds_met += met.sum(0)
        return pixels, met

    def result(self) -> tuple[float, float]:
        """Plain and rebalanced area in percent; 100 is no error anywhere.

        Raises:
            ValueError: if nothing was added.
        """
        if not self.pixels.any():
            raise ValueError("no pixels were added")
        plain, rebalanced = areas_under_curve(self.pixels, self.thresholds_met, self.pixels)
        return plain.item(), rebalanced.item()


def areas_under_curve(
    pixels: torch.Tensor, thresholds_met: torch.Tensor, frequencies: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain and rebalanced area in percent.

    Args:
        pixels: per bin of the true ab, (..., bins).
        thresholds_met: by these pixels together, (..., bins).
        frequencies: how often a bin occurs, (bins,); a pixel weighs the inverse. Given those of all pictures, a
            resampling that misses rare bins is not mistaken for an easier set of pictures.

    Returns:
        (...) twice.
    """
    percent = 100 / (LARGEST_THRESHOLD + 1)
    weights = torch.where(frequencies > 0, 1 / frequencies, 0.0)
    plain = thresholds_met.sum(-1) / pixels.sum(-1)
    rebalanced = (thresholds_met * weights).sum(-1) / (pixels * weights).sum(-1)
    return percent * plain, percent * rebalanced


__all__ = ["AucAccumulator", "areas_under_curve"]
