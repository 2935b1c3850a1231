"""The objectives: ChromaGAN's (WACV 2020, section 3.3) and the others of the field, freely combined by a recipe.

Every total is what its optimizer minimizes. `average` is the mean over the processes of a training of a number that
each of them has (default: there is one process); what is scaled by a figure of the batch is scaled by that of the
global batch, so that N processes do what one does with all of their pictures.

Functions return `(total, {"name": value})`: the total to call backward on, detached scalars to log.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from ..color import reconstruction_to_ab
from ..evaluation.ab_histogram import ab_squares
from ..generator_lite import AB_SCALE
from .adversarial import Features, adversarial_term, lab_picture, over_maps, scores_of
from .frozen_features import perceptual_distance
from .recipe import Objective

Average = Callable[[torch.Tensor], torch.Tensor]


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
        histogram: shares of pixels in the squares of 10 x 10 Lab units of `chroma_histogram`, (729,).
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


def rebalanced_error(
    prediction: torch.Tensor, target: torch.Tensor, ab: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Mean length of the error, weighted by how rare the true color is: what the rebalanced AuC measures.

    The mean of what could be there minimizes the square; what minimizes the length is the median, which is a color.

    Args:
        prediction: a generator's output, (B, C, H, W).
        target: the truth in the same units.
        ab: true chroma in Lab units, (B, 2, H, W).
        weights: of `rebalancing_weights`.
    """
    length = ((prediction - target).square().sum(dim=1) + 1e-5).sqrt()  # (B, H, W); finite slope where it is zero
    return (weights.to(ab.device)[ab_squares(ab)] * length).mean()


def class_distribution_loss(logits: torch.Tensor, teacher_probabilities: torch.Tensor) -> torch.Tensor:
    """KL(teacher || class head), mean over the pictures (equation 3).

    Args:
        logits: (B, classes), raw.
        teacher_probabilities: (B, classes), each row a distribution.
    """
    return F.kl_div(F.log_softmax(logits.float(), dim=1), teacher_probabilities.float(), reduction="batchmean")


def label_loss(logits: torch.Tensor, labels: torch.Tensor, smoothing: float, average: Average = alone) -> torch.Tensor:
    """Cross-entropy with smoothed labels, mean over the labelled pictures; zero if a batch has none.

    Args:
        logits: (B, classes), raw.
        labels: (B,), -1 where a picture has no label.
        smoothing: share of the target spread over all classes, 0 to below 1.
        average: over the processes.
    """
    total = F.cross_entropy(logits.float(), labels, ignore_index=-1, label_smoothing=smoothing, reduction="sum")
    labeled = average((labels >= 0).sum().float())  # a process can have less than one picture in the mean
    return total / labeled.clamp(min=1e-3)


def color_error(
    settings: Objective, prediction: torch.Tensor, target: torch.Tensor, encoding: str = "unit8"
) -> torch.Tensor:
    """The color term of every value, of the shape of both: squared, absolute, Huber's, or the smooth absolute error.

    Huber's is half the square up to `huber_delta` and linear beyond it. The smooth one (Girshick, 2015, "Fast R-CNN",
    equation 3) is of chroma, in units of `AB_SCALE` Lab units: a parabola up to `smooth_l1_beta`, the absolute error
    less half of it beyond.
    """
    if settings.color_loss == "smooth_l1":
        ab, true_ab = (reconstruction_to_ab(each.float(), encoding) for each in (prediction, target))
        return F.smooth_l1_loss(ab, true_ab, reduction="none", beta=settings.smooth_l1_beta) / AB_SCALE
    if settings.color_loss == "huber":
        return F.huber_loss(prediction, target, reduction="none", delta=settings.huber_delta)
    return {"mse": F.mse_loss, "l1": F.l1_loss}[settings.color_loss](prediction, target, reduction="none")


def generator_loss(
    settings: Objective,
    luminance: torch.Tensor,
    reconstruction: torch.Tensor,
    target: torch.Tensor,
    class_loss: torch.Tensor | None,
    critic: nn.Module | None,
    encoding: str = "unit8",
    pixel_weights: torch.Tensor | float = 1.0,
    average: Average = alone,
    rebalancing: tuple[torch.Tensor, torch.Tensor] | None = None,
    bins_loss: torch.Tensor | None = None,
    features: Callable[[torch.Tensor], Features] | None = None,
    true_features: Features | None = None,
    projected: bool = False,
    adversarial_ramp: float = 1.0,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The terms of a recipe by their weights, equation 1 with those that came after it.

    The adversarial term enters the total through its gradient at the generator's output, so its value in the total is
    not the term's; the logged one is. Taking that gradient by itself leaves none in the critic's parameters and lets
    it be compared with that of the color terms, the perceptual one among them: with `adversarial_gradient_ratio` the
    weight is chosen such that its norm is that share of theirs, over the batch.

    Args:
        luminance: encoded, (B, 1, H, W), with which critic and frozen features see the colors.
        reconstruction: the generator's output, (B, 2, H, W) encoded ab or (B, 3, H, W) RGB.
        target: the truth in the same units.
        class_loss: scalar from `class_distribution_loss` or `label_loss`, or `None`.
        critic: `None` leaves the adversarial term out.
        encoding: the model's.
        pixel_weights: of the color errors, broadcast to the output's shape, with a mean of 1.
        average: over the processes.
        rebalancing: true chroma and weights as `rebalanced_error` takes them, where the recipe has that term.
        bins_loss: scalar from `color_bins.bins_loss`, or `None`.
        features: frozen ones of a picture like the critic's, for the perceptual term and a projected critic.
        true_features: those of the truth.
        projected: whether the critic takes features.
        adversarial_ramp: factor on the adversarial weight, 0 to 1.
    """
    reconstruction = reconstruction.float()

    # With a critic all terms of the colors are computed on a copy of them, where their gradients can be compared.
    output = reconstruction.detach().requires_grad_() if critic is not None else reconstruction
    color = (pixel_weights * color_error(settings, output, target, encoding)).mean()
    parts = {"color": color.detach()}
    total = settings.color_weight * color
    if rebalancing is not None:
        rebalanced = rebalanced_error(output, target, *rebalancing)
        total = total + settings.rebalanced_weight * rebalanced
        parts["rebalanced"] = rebalanced.detach()
    picture = seen = None
    if critic is not None or features is not None:
        picture = lab_picture(luminance, output, encoding)
    if features is not None:
        seen = features(picture)
    if settings.perceptual_weight:
        perceptual = perceptual_distance(seen, true_features, average)
        total = total + settings.perceptual_weight * perceptual
        parts["perceptual"] = perceptual.detach()
    if critic is not None:
        scores = scores_of(critic, picture, seen if projected else None)
        term = over_maps(lambda fake: adversarial_term(settings, fake), scores)
        (color_gradient,) = torch.autograd.grad(total, output, retain_graph=True)
        (gradient,) = torch.autograd.grad(term, output)
        squares = average(torch.stack([color_gradient.square().sum(), gradient.square().sum()]))
        norm_ratio = squares[0].sqrt() / squares[1].sqrt().clamp(min=1e-12)
        weight = torch.as_tensor(settings.adversarial_weight, device=output.device)
        if settings.adversarial_gradient_ratio is not None:
            weight = settings.adversarial_gradient_ratio * norm_ratio
        weight = adversarial_ramp * weight
        passed = (reconstruction * color_gradient).sum()
        total = total.detach() + (passed - passed.detach()) + weight * (reconstruction * gradient).sum()
        parts |= {
            "adversarial": term.detach(),
            "adversarial_weight": weight,
            "adversarial_gradient_ratio": weight / norm_ratio,
        }
    if class_loss is not None and settings.class_weight:
        total = total + settings.class_weight * class_loss
        parts["class"] = class_loss.detach()
    if bins_loss is not None:
        total = total + settings.bins_weight * bins_loss
        parts["bins"] = bins_loss.detach()
    return total, parts
