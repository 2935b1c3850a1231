"""What generator and critic have of each other: scores of pictures, the adversarial terms, the gradient penalty.

A critic gives one map of scores or, the projected one, several; terms are averaged over the maps.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from ..color import encode_ab, reconstruction_to_ab
from .data.augmentation import RowRandom
from .recipe import Objective

Features = tuple[torch.Tensor, ...]


def lab_picture(luminance: torch.Tensor, reconstruction: torch.Tensor, encoding: str) -> torch.Tensor:
    """What the critic sees: encoded luminance and ab, (B, 3, H, W); of an RGB output the chroma is taken.

    Args:
        luminance: encoded, (B, 1, H, W).
        reconstruction: a generator's output, (B, 2, H, W) encoded ab or (B, 3, H, W) RGB in 0..1.
        encoding: the model's.
    """
    if reconstruction.shape[1] == 3:
        reconstruction = encode_ab(reconstruction_to_ab(reconstruction.float(), encoding), encoding)
    return torch.cat([luminance.float(), reconstruction.float()], dim=1)


def scores_of(critic: nn.Module, picture: torch.Tensor, features: Features | None = None) -> Features:
    """The critic's maps of scores, of half types brought to float32: their differences are small beside them."""
    scores = critic(picture).scores if features is None else critic(picture, features=features).scores
    maps = (scores,) if isinstance(scores, torch.Tensor) else scores
    return tuple(each.to(torch.promote_types(each.dtype, torch.float32)) for each in maps)


def over_maps(term: Callable[..., torch.Tensor], *scores: Features) -> torch.Tensor:
    """The mean of a term of one map, or of one of each of several critic's answers, over all maps."""
    values = [term(*maps) for maps in zip(*scores, strict=True)]
    return sum(values) / len(values)


def adversarial_term(settings: Objective, fake_scores: torch.Tensor) -> torch.Tensor:
    """What the generator minimizes of a map of the critic's raw scores of its pictures.

    `wasserstein` and `hinge`: -mean (WACV 2020, equation 1; Lim and Ye, 2017); `bce`: cross-entropy of the scores as
    logits against "real" (Goodfellow et al., 2014, the form that does not saturate); `least_squares`: mean
    (score - 1)^2 (Mao et al., 2017).
    """
    if settings.adversarial in ("wasserstein", "hinge"):
        return -fake_scores.mean()
    if settings.adversarial == "bce":
        return F.softplus(-fake_scores).mean()
    return (fake_scores - 1).square().mean()


def gradient_penalty(
    critic: nn.Module,
    luminance: torch.Tensor,
    real_ab: torch.Tensor,
    fake_ab: torch.Tensor,
    random: RowRandom | None = None,
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
    if random is None:
        random = RowRandom(int(torch.randint(2**31, ())), len(real_ab), device=real_ab.device)
    epsilon = random.uniform(1, 1, 1)
    mixed = (epsilon * real_ab.float() + (1 - epsilon) * fake_ab.detach().float()).requires_grad_()
    (scores,) = scores_of(critic, torch.cat([luminance.float(), mixed], dim=1))
    scores = scores.flatten(1)
    patches = scores.shape[1]
    score = scores.sum() / {"sum": 1, "root": patches**0.5, "mean": patches}[reduction]
    (gradient,) = torch.autograd.grad(score, mixed, create_graph=True)
    # The square root has no finite slope at zero; the tiny constant keeps a dead critic trainable.
    norm = (gradient.flatten(1).square().sum(dim=1) + 1e-12).sqrt()
    return (norm - 1).square().mean()


@torch.no_grad()
def separation(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """By how many deviations the mean scores of photographs and colorized pictures differ, whatever the game's units.

    Args:
        real: scores, (B, 1, h, w).
        fake: the same shape.
    """
    real, fake = real.flatten(1).mean(dim=1), fake.flatten(1).mean(dim=1)  # (B,) each
    deviation = ((real.var(correction=0) + fake.var(correction=0)) / 2).sqrt()
    return (real.mean() - fake.mean()) / deviation.clamp(min=1e-12)


def tell_apart(settings: Objective, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """What the critic minimizes of a map of its raw scores of photographs and one of those of colorized pictures.

    `wasserstein`: mean critic(fake) - mean critic(real) (WACV 2020, equation 4); `hinge`: mean max(0, 1 - real) + mean
    max(0, 1 + fake) (Lim and Ye, 2017, "Geometric GAN"), done with what is told apart clearly; `bce`: cross-entropy of
    both against what they are; `least_squares`: mean (real - 1)^2 + mean fake^2.
    """
    if settings.adversarial == "wasserstein":
        return fake.mean() - real.mean()
    if settings.adversarial == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    if settings.adversarial == "bce":
        return F.softplus(-real).mean() + F.softplus(fake).mean()
    return (real - 1).square().mean() + fake.square().mean()


def critic_loss(
    settings: Objective,
    critic: nn.Module,
    luminance: torch.Tensor,
    real_ab: torch.Tensor,
    fake_ab: torch.Tensor,
    random: RowRandom | None = None,
    features: tuple[Features, Features] | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """critic_weight * what tells photographs from colorized pictures + penalty_weight * gradient penalty.

    pix2pix halves the first ("to slow down" its critic, section 3.3). Fakes are detached.

    Args:
        luminance: encoded, (B, 1, H, W).
        real_ab: encoded, (B, 2, H, W).
        fake_ab: encoded, (B, 2, H, W).
        random: of the penalty.
        features: what a projected critic takes besides, of the photographs and of the colorized pictures.
    """
    scores = [
        scores_of(critic, torch.cat([luminance, ab], dim=1).float(), seen)
        for ab, seen in zip((real_ab, fake_ab.detach().to(luminance.dtype)), features or (None, None), strict=True)
    ]
    parts = {
        "critic_gap": over_maps(lambda real, fake: real.mean() - fake.mean(), *scores).detach(),
        "critic_separation": over_maps(separation, *scores),
    }
    total = settings.critic_weight * over_maps(lambda real, fake: tell_apart(settings, real, fake), *scores)
    if settings.penalty_weight:
        penalty = gradient_penalty(critic, luminance, real_ab, fake_ab, random, settings.penalty_reduction)
        total = total + settings.penalty_weight * penalty
        parts["penalty"] = penalty.detach()
    return total, parts


__all__ = [
    "adversarial_term",
    "critic_loss",
    "gradient_penalty",
    "lab_picture",
    "over_maps",
    "scores_of",
    "separation",
    "tell_apart",
]
