"""Measures of a colorized picture against the photograph: closeness (PSNR, SSIM, CIEDE2000, AuC) and colorfulness."""

import statistics
from array import array

import numpy as np
import torch

from ..color import rgb8_to_lab
from .ab_histogram import BINS_PER_AXIS, ab_squares
from .bootstrap import Bootstrap
from .protocols import PROTOCOLS, Protocol

LARGEST_THRESHOLD = 150  # Lab units; thresholds are 0, 1, ..., 150
PLAIN_MEASURES = ("psnr", "ssim", "colorfulness", "colorfulness_truth", "colorfulness_difference")  # of every picture
FULL_MEASURES = ("ciede2000",)
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


class ColorMetrics:
    """All measures of 8-bit colorized pictures against their photographs, gathered over batches.

    Args:
        protocol: how the PSNR is taken; by default with a peak of 255, averaged over pictures.
        full: also CIEDE2000, and 95 % intervals: several times the work.
    """

    def __init__(self, protocol: Protocol = PROTOCOLS["tiny64"], full: bool = False):
        self.protocol, self.full = protocol, full
        self.measures = PLAIN_MEASURES + (FULL_MEASURES if full else ())
        # Eight bytes a picture and measure are all that grows with their number.
        self.values = {name: array("d") for name in self.measures}
        self.batch_means = array("d")  # of the PSNR
        self.auc = AucAccumulator()
        self.bootstrap = Bootstrap() if full else None

    def update(
        self, rgb_prediction: torch.Tensor, rgb_truth: torch.Tensor, lab_truth: torch.Tensor | None = None
    ) -> dict[str, list[float]]:
        """Adds a batch. The ab error is that of the 8-bit picture: what is seen, not what the network asked for.

        Args:
            rgb_prediction: (B, 3, H, W), uint8.
            rgb_truth: the same shape and type.
            lab_truth: (B, 3, H, W), `rgb_truth` in Lab units where the caller has it already.

        Returns:
            Of every picture `psnr`, `ssim`, `colorfulness`, `colorfulness_truth`, `colorfulness_difference` (absolute)
            and its own `auc`; with `full` also `ciede2000`.

        Raises:
            ValueError: for other shapes or types.
        """
        if lab_truth is None:
            lab_truth = lab_from_rgb8(rgb_truth)
        lab_prediction = lab_from_rgb8(rgb_prediction)
        pixels, thresholds_met = self.auc.update(lab_prediction[:, 1:], lab_truth[:, 1:])
        measured = {
            "psnr": psnr(rgb_prediction, rgb_truth, self.protocol.peak, self.protocol.least_mean_square),
            "ssim": ssim(rgb_prediction, rgb_truth),
            "colorfulness": colorfulness(rgb_prediction),
            "colorfulness_truth": colorfulness(rgb_truth),
        }
        measured["colorfulness_difference"] = (measured["colorfulness"] - measured["colorfulness_truth"]).abs()
        if self.full:
            measured["ciede2000"] = ciede2000(lab_prediction, lab_truth)
            scalars = torch.stack([measured[name] for name in self.measures], dim=1)  # (B, measures)
            self.bootstrap.update(torch.cat((scalars, pixels, thresholds_met), dim=1))
        values = {name: measured[name].tolist() for name in self.measures}
        for name in self.measures:
            self.values[name].extend(values[name])
        self.batch_means.append(statistics.fmean(values["psnr"]))
        return values | {"auc": areas_under_curve(pixels, thresholds_met, self.auc.pixels)[0].tolist()}

    def result(self) -> dict[str, float]:
        """Everything measured so far.

        Returns:
            `pictures`: how many; `psnr_mean`, `psnr_median`: decibels (the mean as the protocol averages);
            `ssim`: its mean; `colorfulness`, `colorfulness_truth`: means over predictions and truths; of these two
            `colorfulness_ratio`, the first divided by the second, and `colorfulness_difference_of_means`, absolute;
            `colorfulness_mean_difference`: mean of the absolute differences picture by picture; `auc`,
            `rebalanced_auc`: percent (see `AucAccumulator`); with `full` the mean `ciede2000`.

        Raises:
            ValueError: if nothing was added.
        """
        if not self.values["psnr"]:
            raise ValueError("no pictures were added")
        means = {name: statistics.fmean(values) for name, values in self.values.items()}
        auc, rebalanced_auc = self.auc.result()
        result = self._summary(means) | {"auc": auc, "rebalanced_auc": rebalanced_auc}
        if self.protocol.averaging == "batches":
            result["psnr_mean"] = statistics.fmean(self.batch_means)
        median = statistics.median(self.values["psnr"])
        return {
            "pictures": len(self.values["psnr"]),
            "psnr_mean": result.pop("psnr_mean"),
            "psnr_median": median,
        } | result

    def replicates(self) -> dict[str, np.ndarray]:
        """Every figure of `result` but `pictures` for each resampling of the pictures, (resamplings,); needs `full`.

        Two objects that were given the same pictures in the same order resample them alike, so that the difference of
        two models has its own, narrower interval. Batches are not resampled: the PSNR is averaged over pictures here.
        """
        means = torch.from_numpy(self.bootstrap.means())  # (resamplings, measures + bins + bins)
        count, bins = len(self.measures), BINS_PER_AXIS**2
        scalars = {name: means[:, number].numpy() for number, name in enumerate(self.measures)}
        # Means are as good as sums here, since a ratio is taken.
        auc, rebalanced_auc = areas_under_curve(*means[:, count:].split(bins, dim=1), self.auc.pixels)
        medians = self.bootstrap.medians(np.asarray(self.values["psnr"]))
        return self._summary(scalars) | {
            "psnr_median": medians,
            "auc": auc.numpy(),
            "rebalanced_auc": rebalanced_auc.numpy(),
        }

    def _summary(self, means: dict) -> dict:
        """From means over pictures, of numbers or of arrays, the figures that are made of them alone."""
        prediction, truth = means["colorfulness"], means["colorfulness_truth"]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = prediction / truth if np.ndim(truth) or truth else float("nan")
        summary = {
            "psnr_mean": means["psnr"],
            "ssim": means["ssim"],
            "colorfulness": prediction,
            "colorfulness_truth": truth,
            "colorfulness_ratio": ratio,
            "colorfulness_difference_of_means": abs(prediction - truth),
            "colorfulness_mean_difference": means["colorfulness_difference"],
        }
        return summary | {name: means[name] for name in FULL_MEASURES if name in means}


def lab_from_rgb8(rgb: torch.Tensor) -> torch.Tensor:
    """CIE Lab (float32, L 0..100) of 8-bit pictures, (B, 3, H, W) both."""
    return rgb8_to_lab(rgb)


def _check_pictures(*pictures: torch.Tensor) -> None:
    for picture in pictures:
        if picture.dtype != torch.uint8 or picture.ndim != 4 or picture.shape != pictures[0].shape:
            found = " and ".join(f"{tuple(picture.shape)} {picture.dtype}" for picture in pictures)
            raise ValueError(f"pictures are {found}; accepted: uint8 of one shape (B, C, H, W)")


__all__ = ["AucAccumulator", "ColorMetrics", "ciede2000", "colorfulness", "lab_from_rgb8", "psnr", "ssim"]
