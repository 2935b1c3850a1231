"""Formulas of the terms, on tensors alone: errors, divergences, weights of pixels and colors.

`average` is the mean over the processes of a training of a number that each of them has: what is scaled by a figure of
the batch is scaled by that of the global batch, so that N processes do what one does with all of their pictures.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

Average = Callable[[torch.Tensor], torch.Tensor]

LABEL_SMOOTHING = 0.1  # share of a label's target that is spread over all classes


def alone(value: torch.Tensor) -> torch.Tensor:
    """The average over one process."""
    return value


def chroma_weights(ab: torch.Tensor, emphasis: float, power: float = 1.0, average: Average = alone) -> torch.Tensor:
    """Weights of pixels in the color term, 1 + emphasis * (chroma / 100)^power, scaled to a mean of 1 over the batch.

    The mean of what could be there is grayer than most of what is there, and most pixels of photographs are nearly
    gray; Zhang et al. (2016, section 2.2) rebalance their classes for the same reason. At 0 every weight is 1.

    Args:
        ab: true chroma in Lab units, (B, 2, H, W).
        emphasis: 0 or more.
        power: above 0.
        average: over the processes.

    Returns:
        (B, 1, H, W).
    """
    chroma = ab.square().sum(dim=1, keepdim=True).sqrt()  # torch's norm over two channels takes far longer
    weights = 1 + emphasis * (chroma / 100) ** power
    return weights / average(weights.mean())


def rebalancing_weights(histogram: torch.Tensor, uniform_share: float) -> torch.Tensor:
    """Weights of colors by how rare they are, scaled to a mean of 1 over the data.

    Zhang et al. (2016), equation 4: the inverse of the distribution of colors, smoothed by a Gaussian of 5 Lab units
    and mixed with a uniform one.

    Args:
        histogram: shares of pixels in the squares of 10 x 10 Lab units of `ab_histogram`, (729,).
        uniform_share: of the uniform distribution in the mixture, above 0 to 1, at which all weights are equal.

    Returns:
        (729,), float32.
    """
    side = round(len(histogram) ** 0.5)
    steps = torch.arange(-3, 4, dtype=torch.float64)
    bell = torch.exp(-(steps**2) * 10**2 / (2 * 5**2))
    kernel = (bell / bell.sum())[:, None] * (bell / bell.sum())
    smooth = F.conv2d(histogram.double().view(1, 1, side, side), kernel[None, None], padding=3).flatten()
    smooth = smooth / smooth.sum()
    weights = 1 / ((1 - uniform_share) * smooth + uniform_share / (histogram > 0).sum())
    return (weights / (histogram.double() * weights).sum()).float()


def class_distribution_loss(logits: torch.Tensor, teacher_probabilities: torch.Tensor) -> torch.Tensor:
    """KL(teacher || class head), mean over the pictures (WACV 2020, equation 3).

    Args:
        logits: (B, classes), raw.
        teacher_probabilities: (B, classes), each row a distribution.
    """
    return F.kl_div(F.log_softmax(logits.float(), dim=1), teacher_probabilities.float(), reduction="batchmean")


def label_loss(logits: torch.Tensor, labels: torch.Tensor, average: Average = alone) -> torch.Tensor:
    """Cross-entropy with smoothed labels, mean over the labelled pictures; zero if a batch has none.

    Args:
        logits: (B, classes), raw.
        labels: (B,), -1 where a picture has no label.
        average: over the processes.
    """
    total = F.cross_entropy(logits.float(), labels, ignore_index=-1, label_smoothing=LABEL_SMOOTHING, reduction="sum")
    labeled = average((labels >= 0).sum().float())  # a process can have less than one picture in the mean
    return total / labeled.clamp(min=1e-3)


__all__ = [
    "LABEL_SMOOTHING",
    "Average",
    "alone",
    "chroma_weights",
    "class_distribution_loss",
    "label_loss",
    "rebalancing_weights",
]
