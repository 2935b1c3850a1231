"""The objectives of ChromaGAN (WACV 2020, section 3.3). Every total is what its optimizer minimizes.

Functions return `(total, {"name": value})`: the total to call backward on, detached scalars to log.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .recipe import Objective


def chroma_weights(ab: torch.Tensor, emphasis: float, power: float = 1.0) -> torch.Tensor:
    """Weights of pixels in the color term, 1 + emphasis * (chroma / 100)^power, scaled to a mean of 1 over the batch.

    The mean of what could be there is grayer than most of what is there, and most pixels of photographs are nearly
    gray; Zhang et al. (2016, section 2.2) rebalance their classes for the same reason. At 0 every weight is 1.

    Args:
        ab: true chroma in Lab units, (B, 2, H, W).
        emphasis: 0 or more.
        power: above 0.

    Returns:
        (B, 1, H, W).
    """
    weights = 1 + emphasis * (ab.norm(dim=1, keepdim=True) / 100) ** power
    return weights / weights.mean()


def class_distribution_loss(logits: torch.Tensor, teacher_probabilities: torch.Tensor) -> torch.Tensor:
    """KL(teacher || class head), mean over the pictures (equation 3).

    Args:
        logits: (B, classes), raw.
        teacher_probabilities: (B, classes), each row a distribution.
    """
    return F.kl_div(F.log_softmax(logits.float(), dim=1), teacher_probabilities.float(), reduction="batchmean")


def label_loss(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Cross-entropy with smoothed labels, mean over the labelled pictures; zero if a batch has none.

    Args:
        logits: (B, classes), raw.
        labels: (B,), -1 where a picture has no label.
        smoothing: share of the target spread over all classes, 0 to below 1.
    """
    total = F.cross_entropy(logits.float(), labels, ignore_index=-1, label_smoothing=smoothing, reduction="sum")
    return total / (labels >= 0).sum().clamp(min=1)


def adversarial_gradient(
    critic: nn.Module, luminance: torch.Tensor, fake_ab: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the critic wants of the colors: the term -mean(critic) and its gradient with respect to `fake_ab`.

    Taking the gradient at the generator's output, by itself, leaves no gradient in the critic's parameters and lets
    the caller compare it with the color term's.

    Returns:
        The scalar term, detached, and its gradient, (B, 2, H, W).
    """
    leaf = fake_ab.detach().float().requires_grad_()
    term = -critic(torch.cat([luminance.float(), leaf], dim=1)).scores.mean()
    (gradient,) = torch.autograd.grad(term, leaf)
    return term.detach(), gradient


def generator_loss(
    settings: Objective,
    luminance: torch.Tensor,
    fake_ab: torch.Tensor,
    real_ab: torch.Tensor,
    class_loss: torch.Tensor | None,
    critic: nn.Module | None,
    pixel_weights: torch.Tensor | float = 1.0,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """color_weight * MSE + class_weight * class loss - adversarial weight * mean critic score (equation 1).

    The adversarial term enters the total through its gradient at the output (`adversarial_gradient`), so its value in
    the total is not the term's; the logged one is. With `adversarial_gradient_ratio` its weight is chosen such that
    the norm of its gradient is that share of the color term's, over the batch.

    Args:
        luminance: encoded, (B, 1, H, W).
        fake_ab: the generator's output, encoded, (B, 2, H, W).
        real_ab: the truth, encoded, (B, 2, H, W).
        class_loss: scalar from `class_distribution_loss` or `label_loss`, or `None`.
        critic: `None` leaves the adversarial term out.
        pixel_weights: of the squared errors, broadcast to (B, 2, H, W), with a mean of 1.
    """
    fake_ab = fake_ab.float()
    error = fake_ab - real_ab
    color = (pixel_weights * error.square()).mean()
    total = settings.color_weight * color
    parts = {"color": color.detach()}
    if class_loss is not None and settings.class_weight:
        total = total + settings.class_weight * class_loss
        parts["class"] = class_loss.detach()
    if critic is not None and settings.adversarial_weight:
        term, gradient = adversarial_gradient(critic, luminance, fake_ab)
        color_norm = settings.color_weight * 2 * (pixel_weights * error.detach()).norm() / error.numel()
        norm_ratio = color_norm / gradient.norm().clamp(min=1e-12)
        weight = torch.as_tensor(settings.adversarial_weight, device=fake_ab.device)
        if settings.adversarial_gradient_ratio is not None:
            weight = settings.adversarial_gradient_ratio * norm_ratio
        total = total + weight * (fake_ab * gradient).sum()
        parts |= {"adversarial": term, "adversarial_weight": weight, "adversarial_gradient_ratio": weight / norm_ratio}
    return total, parts


def gradient_penalty(
    critic: nn.Module,
    luminance: torch.Tensor,
    real_ab: torch.Tensor,
    fake_ab: torch.Tensor,
    generator: torch.Generator | None = None,
    reduction: str = "sum",
) -> torch.Tensor:
    """Mean over the pictures of (|gradient of the critic's score with respect to ab| - 1)^2 (equation 4).

    The gradient is taken at ab' = epsilon * real + (1 - epsilon) * fake with one uniform epsilon per picture, under
    the true luminance, which is not interpolated: both halves share it. The norm is over everything of one picture.

    The critic gives a map of N patch scores; `reduction` says what is differentiated. `sum` is what the published code
    does (N is 784 at 224 pixels, 64 at 64) and what the published weights of the terms belong to. `mean` is the
    textbook's scalar critic. For one and the same function of a patch the gradient's norm grows with sqrt(N) under
    `sum` and falls with it under `mean`, so neither bound can hold at two picture sizes at once; `root`, the sum
    divided by sqrt(N), does not depend on the size and is for recipes that mix sizes.

    Raises:
        KeyError: for another reduction.
    """
    epsilon = torch.rand(len(real_ab), 1, 1, 1, generator=generator).to(real_ab.device)
    mixed = (epsilon * real_ab.float() + (1 - epsilon) * fake_ab.detach().float()).requires_grad_()
    scores = critic(torch.cat([luminance.float(), mixed], dim=1)).scores.flatten(1)
    patches = scores.shape[1]
    score = scores.sum() / {"sum": 1, "root": patches**0.5, "mean": patches}[reduction]
    (gradient,) = torch.autograd.grad(score, mixed, create_graph=True)
    # The square root has no finite slope at zero; the tiny constant keeps a dead critic trainable.
    norm = (gradient.flatten(1).square().sum(dim=1) + 1e-12).sqrt()
    return (norm - 1).square().mean()


def critic_loss(
    settings: Objective,
    critic: nn.Module,
    luminance: torch.Tensor,
    real_ab: torch.Tensor,
    fake_ab: torch.Tensor,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """mean critic(fake) - mean critic(real) + penalty_weight * gradient penalty; fakes are detached (equation 4)."""
    real = critic(torch.cat([luminance, real_ab], dim=1).float()).scores.mean()
    fake = critic(torch.cat([luminance, fake_ab.detach().to(luminance.dtype)], dim=1).float()).scores.mean()
    penalty = gradient_penalty(critic, luminance, real_ab, fake_ab, generator, settings.penalty_reduction)
    total = fake - real + settings.penalty_weight * penalty
    return total, {"wasserstein": (real - fake).detach(), "penalty": penalty.detach()}
