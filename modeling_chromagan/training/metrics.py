"""Measures of a colorized picture against the photograph: closeness (PSNR, AuC) and how much color there is."""

import statistics

import torch

from ..color import rgb_to_lab

LARGEST_THRESHOLD = 150  # Lab units; thresholds are 0, 1, ..., 150
BIN_SIZE = 10  # Lab units
BINS_PER_AXIS = 27  # centers -130, -120, ..., 130; sRGB reaches from -107.9 to 98.3


def psnr(prediction: torch.Tensor, truth: torch.Tensor, peak: float = 255) -> torch.Tensor:
    """Peak signal-to-noise ratio of every picture, 10 log10(peak^2 / mean squared error), over its three channels.

    Args:
        prediction: (B, C, H, W), uint8.
        truth: the same shape and type.
        peak: the largest value a channel can have.

    Returns:
        (B,) decibels, float64 on the CPU; infinite where a picture is equal to its truth.

    Raises:
        ValueError: if the tensors are not uint8 or differ in shape.
    """
    _check_pictures(prediction, truth)
    # Whole numbers throughout: the same figure on every device and with any number of threads.
    squares = (prediction.to(torch.int32) - truth.to(torch.int32)).square().flatten(1)  # (B, C*H*W)
    mean_square = squares.sum(dim=1, dtype=torch.int64).cpu().double() / squares.shape[1]  # (B,)
    return 10 * torch.log10(peak**2 / mean_square)


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
    red, green, blue = rgb.to(torch.int32).flatten(2).unbind(1)  # (B, H*W) each
    opponents = torch.stack((red - green, red + green - 2 * blue))  # (2, B, H*W): rg and twice yb, whole numbers
    count = opponents.shape[2]
    halves = torch.tensor([[1.0], [0.5]], dtype=torch.float64)
    means = opponents.sum(dim=2, dtype=torch.int64).cpu().double() / count * halves  # (2, B)
    mean_squares = opponents.square().sum(dim=2, dtype=torch.int64).cpu().double() / count * halves**2  # (2, B)
    variances = (mean_squares - means**2).clamp(min=0)  # exact sums; only the last rounding can go below zero
    return variances.sum(0).sqrt() + 0.3 * means.square().sum(0).sqrt()


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

    def update(self, ab_prediction: torch.Tensor, ab_truth: torch.Tensor) -> None:
        """Adds a batch.

        Args:
            ab_prediction: (B, 2, H, W), Lab units.
            ab_truth: the same shape.

        Raises:
            ValueError: if the shapes differ or are not of that kind.
        """
        if ab_truth.ndim != 4 or ab_truth.shape[1] != 2 or ab_prediction.shape != ab_truth.shape:
            raise ValueError(
                f"ab has shapes {tuple(ab_prediction.shape)} and {tuple(ab_truth.shape)}; accepted: (B, 2, H, W) twice"
            )
        error = (ab_prediction - ab_truth).square().sum(dim=1).sqrt()  # (B, H, W)
        thresholds_met = (LARGEST_THRESHOLD + 1 - error.ceil()).clamp(min=0)  # (B, H, W), whole numbers 0..151
        half = BINS_PER_AXIS // 2
        row, column = ((ab_truth / BIN_SIZE).round().clamp(-half, half) + half).long().unbind(1)  # (B, H, W) each
        bins = (row * BINS_PER_AXIS + column).flatten()  # (B*H*W,)
        self.pixels += torch.bincount(bins, minlength=BINS_PER_AXIS**2).cpu()
        weights = thresholds_met.flatten().double()
        self.thresholds_met += torch.bincount(bins, weights, minlength=BINS_PER_AXIS**2).cpu()

    def result(self) -> tuple[float, float]:
        """Plain and rebalanced area in percent; 100 is no error anywhere.

        Raises:
            ValueError: if nothing was added.
        """
        occupied = self.pixels > 0
        if not occupied.any():
            raise ValueError("no pixels were added")
        pixels, thresholds_met = self.pixels[occupied], self.thresholds_met[occupied]
        percent = 100 / (LARGEST_THRESHOLD + 1)
        plain = percent * thresholds_met.sum() / pixels.sum()
        # Weighing pixels by the inverse frequency of their bin is the mean over the bins that occur.
        rebalanced = percent * (thresholds_met / pixels).mean()
        return plain.item(), rebalanced.item()


class ColorMetrics:
    """All measures of 8-bit colorized pictures against their photographs, gathered over batches."""

    def __init__(self):
        self.psnr: list[float] = []
        self.colorfulness: list[float] = []
        self.colorfulness_truth: list[float] = []
        self.auc = AucAccumulator()

    def update(
        self, rgb_prediction: torch.Tensor, rgb_truth: torch.Tensor, ab_truth: torch.Tensor | None = None
    ) -> None:
        """Adds a batch. The ab error is that of the 8-bit picture: what is seen, not what the network asked for.

        Args:
            rgb_prediction: (B, 3, H, W), uint8.
            rgb_truth: the same shape and type.
            ab_truth: (B, 2, H, W), the chroma of `rgb_truth` in Lab units where the caller has it already.

        Raises:
            ValueError: for other shapes or types.
        """
        self.psnr += psnr(rgb_prediction, rgb_truth).tolist()
        self.colorfulness += colorfulness(rgb_prediction).tolist()
        self.colorfulness_truth += colorfulness(rgb_truth).tolist()
        if ab_truth is None:
            ab_truth = lab_from_rgb8(rgb_truth)[:, 1:]
        self.auc.update(lab_from_rgb8(rgb_prediction)[:, 1:], ab_truth)

    def result(self) -> dict[str, float]:
        """Everything measured so far.

        Returns:
            `pictures`: how many; `psnr_mean`, `psnr_median`: decibels, over pictures; `colorfulness`,
            `colorfulness_truth`: means over predictions and truths; `colorfulness_ratio`: the first of them divided
            by the second; `auc`, `rebalanced_auc`: percent (see `AucAccumulator`).

        Raises:
            ValueError: if nothing was added.
        """
        if not self.psnr:
            raise ValueError("no pictures were added")
        auc, rebalanced_auc = self.auc.result()
        prediction, truth = statistics.fmean(self.colorfulness), statistics.fmean(self.colorfulness_truth)
        return {
            "pictures": len(self.psnr),
            "psnr_mean": statistics.fmean(self.psnr),
            "psnr_median": statistics.median(self.psnr),
            "colorfulness": prediction,
            "colorfulness_truth": truth,
            "colorfulness_ratio": prediction / truth if truth else float("nan"),
            "auc": auc,
            "rebalanced_auc": rebalanced_auc,
        }


def lab_from_rgb8(rgb: torch.Tensor) -> torch.Tensor:
    """CIE Lab (float32, L 0..100) of 8-bit pictures, (B, 3, H, W) both."""
    return rgb_to_lab(rgb.float() / 255)


def _check_pictures(*pictures: torch.Tensor) -> None:
    for picture in pictures:
        if picture.dtype != torch.uint8 or picture.ndim != 4 or picture.shape != pictures[0].shape:
            found = " and ".join(f"{tuple(picture.shape)} {picture.dtype}" for picture in pictures)
            raise ValueError(f"pictures are {found}; accepted: uint8 of one shape (B, C, H, W)")


__all__ = ["AucAccumulator", "ColorMetrics", "colorfulness", "lab_from_rgb8", "psnr"]
