"""The games of generator and critic: what each minimizes of scores, the gradient penalty, how far scores lie apart.

A critic gives one map of scores or, the projected one, several; terms are averaged over the maps. A picture is encoded
luminance and ab, (B, 3, H, W).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from ..color import encode_ab, reconstruction_to_ab

Features = tuple[torch.Tensor, ...]


class Game(NamedTuple):
    """An adversarial objective, each side a function of maps of raw scores that it minimizes.

    Args:
        generator: of the scores of colorized pictures.
        critic: of the scores of photographs and of colorized pictures.
        penalty_weight: of the gradient penalty where a recipe says nothing.
    """

    generator: Callable[[torch.Tensor], torch.Tensor]
    critic: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    penalty_weight: float = 0.0


GAMES = {
    # WACV 2020, equations 1 and 4.
    "wasserstein": Game(lambda fake: -fake.mean(), lambda real, fake: fake.mean() - real.mean(), penalty_weight=10.0),
    # Goodfellow et al., 2014, the form that does not saturate: cross-entropy of scores as logits.
    "bce": Game(
        lambda fake: F.softplus(-fake).mean(), lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean()
    ),
    # Mao et al., 2017.
    "least_squares": Game(
        lambda fake: (fake - 1).square().mean(), lambda real, fake: (real - 1).square().mean() + fake.square().mean()
    ),
    # Lim and Ye, 2017, "Geometric GAN": the critic is done with what it tells apart by 1.
    "hinge": Game(lambda fake: -fake.mean(), lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean()),
}


def lab_picture(luminance: torch.Tensor, reconstruction: torch.Tensor, encoding: str) -> torch.Tensor:
    """The picture of a generator's output under the luminance; of an RGB output the chroma is taken.

    Args:
        luminance: encoded, (B, 1, H, W).
        reconstruction: (B, 2, H, W) encoded ab or (B, 3, H, W) RGB in 0..1.
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


def gradient_penalty(
    critic: nn.Module, real: torch.Tensor, fake: torch.Tensor, epsilon: torch.Tensor, reduction: str = "sum"
) -> torch.Tensor:
    """Mean over the pictures of (|gradient of the critic's score with respect to ab| - 1)^2 (WACV 2020, equation 4).

    The gradient is taken at ab' = epsilon * real + (1 - epsilon) * fake under the luminance, which both share. The
    norm is over everything of one picture.

    The critic gives a map of N patch scores; `reduction` says what is differentiated. `sum` is what the published code
    does (N is 784 at 224 pixels, 64 at 64) and what the published weights of the terms belong to. `mean` is the
    textbook's scalar critic. For one and the same function of a patch the gradient's norm grows with sqrt(N) under
    `sum` and falls with it under `mean`, so neither bound can hold at two picture sizes at once; `root`, the sum
    divided by sqrt(N), does not depend on the size and is for recipes that mix sizes.

    Args:
        critic: of pictures.
        real: photographs, (B, 3, H, W).
        fake: the same under predicted ab; detached.
        epsilon: (B, 1, 1, 1), uniform in 0..1.
        reduction: `sum`, `root` or `mean`.

    Raises:
        KeyError: for another reduction.
    """
    mixed = epsilon * real[:, 1:] + (1 - epsilon) * fake[:, 1:].detach()
    mixed.requires_grad_()
    (scores,) = scores_of(critic, torch.cat([real[:, :1], mixed], dim=1))
    scores = scores.flatten(1)
    patches = scores.shape[1]
    score = scores.sum() / {"sum": 1, "root": patches**0.5, "mean": patches}[reduction]
    (gradient,) = torch.autograd.grad(score, mixed, create_graph=True)
    # The square root has no finite slope at zero; the tiny constant keeps a dead critic trainable.
    norm = (gradient.flatten(1).square().sum(dim=1) + 1e-12).sqrt()
    return (norm - 1).square().mean()


@torch.no_grad()
def d_prime(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Sensitivity index of a critic: the distance of both means in standard deviations, whatever the game's units.

    Green and Swets, "Signal detection theory and psychophysics" (1966): (mean of photographs - mean of colorized
    pictures) / root of the mean of both variances, of every picture's mean score.

    Args:
        real: scores, (B, 1, h, w).
        fake: the same shape.
    """
    real, fake = real.flatten(1).mean(dim=1), fake.flatten(1).mean(dim=1)  # (B,) each
    std = ((real.var(correction=0) + fake.var(correction=0)) / 2).sqrt()
    return (real.mean() - fake.mean()) / std.clamp(min=1e-12)


__all__ = ["GAMES", "Features", "Game", "d_prime", "gradient_penalty", "lab_picture", "over_maps", "scores_of"]
