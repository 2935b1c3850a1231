"""What generator and critic minimize: weighted terms, ChromaGAN's (WACV 2020, section 3.3) beside others of the field.

A term is a function of `LossInputs` with a line in `TERMS`, its weight stands under its name in a recipe's
`objective.weights`, and its value in the log.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field, NonNegativeFloat, field_validator, model_validator
from torch import nn

from ..color import AB_SCALE, decode_ab, reconstruction_to_ab
from ..evaluation.ab_histogram import ab_histogram, ab_squares
from ..modeling_chromagan import CLASS_WEIGHT
from .adversarial import GAMES, Features, d_prime, gradient_penalty, lab_picture, over_maps, scores_of
from .color_bins import bin_rarity, bin_shares, bins_loss
from .frozen_features import perceptual_distance
from .losses import Average, alone, chroma_weights, class_distribution_loss, label_loss, rebalancing_weights
from .settings import Section, check_choice, short

PUBLISHED_WEIGHTS = {"color": 1.0, "class": CLASS_WEIGHT, "adversarial": 0.1}  # equation 1


class Objective(Section):
    """The weights of the terms and what else they depend on; the published ones are the defaults."""

    weights: dict[str, NonNegativeFloat] = Field({})  # of TERMS by name, over the published; 0 leaves a term out
    # In the units of the model's output, but for smooth_l1: in units of 50 Lab units.
    color_loss: Annotated[str, AfterValidator(lambda name: check_choice(name, COLOR_ERRORS))] = "mse"
    huber_delta: float = Field(1.0, gt=0)  # where Huber's error turns linear, in the same units
    smooth_l1_beta: float = Field(5.0, gt=0)  # Lab units up to which smooth L1 is a square
    chroma_emphasis: float = Field(0.0, ge=0)  # pixels weigh 1 + this * (true chroma / 100)^power in the color term
    chroma_emphasis_power: float = Field(1.0, gt=0)
    rebalanced_uniform_share: float = Field(0.5, gt=0, le=1)  # 1: no color weighs more than another
    adversarial: Annotated[str, AfterValidator(lambda name: check_choice(name, GAMES))] = "wasserstein"
    # The weight of the adversarial term is of `adaptive_weight`: its gradient at the generator's output is so many
    # times that of the terms of the colors. The reduction of the penalty, the size of the patch map and the units of
    # ab all move that share where the weight is fixed.
    adaptive_weight: bool = False
    critic_weight: float = Field(1.0, gt=0)  # of the critic's loss without the penalty; pix2pix: 0.5
    penalty_weight: float | None = Field(None, ge=0)  # null: 10 for wasserstein, 0 for the others
    penalty_reduction: Literal["sum", "root", "mean"] = "sum"  # of the patch map, before the gradient
    reuse_forward: bool = False  # the critic step reuses the generator step's fakes; published: a fresh forward
    critic_warmup_steps: int = Field(0, ge=0)  # steps at the phase's start in which only the critic learns from it
    adversarial_ramp_steps: int = Field(0, ge=0)  # steps after those in which the adversarial weight rises to its own

    @field_validator("weights", mode="before")
    @classmethod
    def name_all_weights(cls, weights: Any) -> Any:
        if not isinstance(weights, dict):
            raise ValueError(f"is {short(weights)}; accepted: weights of terms as `name: number`")
        for name, weight in weights.items():
            if name not in TERMS:
                raise ValueError(f"has no term {short(name)}; accepted: {', '.join(TERMS)}")
            if isinstance(weight, bool):
                raise ValueError(f".{name} is {str(weight).lower()}; accepted: numbers from 0 upwards")
        return {name: PUBLISHED_WEIGHTS.get(name, 0.0) for name in TERMS} | weights

    @model_validator(mode="after")
    def check_terms(self) -> "Objective":
        if self.penalty_weight is None:
            self.penalty_weight = GAMES[self.adversarial].penalty_weight
        taught = [name for name in self.weighted if name != "adversarial"]
        if self.is_adversarial:
            taught = [name for name in taught if TERMS[name].of_colors]
        if not taught:
            others = [name for name, kind in TERMS.items() if kind.of_colors and name != "adversarial"]
            raise ValueError(f".weights leads nowhere; accepted: {' or '.join(others)} above 0")
        return self

    @property
    def weighted(self) -> list[str]:
        """The terms that have a weight."""
        return [name for name in TERMS if self.weights.get(name)]

    @property
    def is_adversarial(self) -> bool:
        """Whether a critic takes part."""
        return bool(self.weights["adversarial"])

    @property
    def needs(self) -> set[str]:
        """What its terms need, of what `TermKind` names."""
        return {need for name in self.weighted for need in TERMS[name].needs}


@dataclass
class LossInputs:
    """What terms may look at, of one batch.

    Args:
        settings: the objective.
        encoding: the model's.
        photograph: encoded luminance and ab as critic and frozen features see them, (B, 3, H, W).
        reconstruction: the generator's output, (B, 2, H, W) encoded ab or (B, 3, H, W) RGB.
        target: the truth in the same units.
        real_ab: encoded, (B, 2, H, W).
        logits: of the class head, (B, classes).
        bin_logits: over the squares of the ab plane, (B, 260, ceil(H/4), ceil(W/4)).
        teacher_probabilities: what the class head is taught, (B, classes); `None` where labels teach it.
        labels: (B,), -1 where a picture has none.
        color_weights: of the terms that count colors, by their names.
        features: frozen ones of pictures.
        critic: `None` leaves the adversarial term out.
        projected: whether the critic takes features.
        ramp: factor on its weight, 0 to 1.
        average: over the processes.
    """

    settings: Objective
    encoding: str
    photograph: torch.Tensor
    reconstruction: torch.Tensor
    target: torch.Tensor
    real_ab: torch.Tensor
    logits: torch.Tensor | None = None
    bin_logits: torch.Tensor | None = None
    teacher_probabilities: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    color_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    features: Callable[[torch.Tensor], Features] | None = None
    critic: nn.Module | None = None
    projected: bool = False
    ramp: float = 1.0
    average: Average = alone

    def __post_init__(self):
        self.reconstruction = self.reconstruction.float()

    @cached_property
    def colors(self) -> torch.Tensor:
        """The output as terms take it: with a critic a copy, at which their gradients can be compared."""
        return self.reconstruction if self.critic is None else self.reconstruction.detach().requires_grad_()

    @cached_property
    def true_ab(self) -> torch.Tensor:
        """Chroma in Lab units, (B, 2, H, W)."""
        return decode_ab(self.real_ab, self.encoding)

    @cached_property
    def picture(self) -> torch.Tensor:
        """The predicted colors under the photograph's luminance, as critic and frozen features see them."""
        return lab_picture(self.photograph[:, :1], self.colors, self.encoding)

    @cached_property
    def picture_features(self) -> Features:
        return self.features(self.picture)

    @cached_property
    @torch.no_grad()
    def true_features(self) -> Features:
        return self.features(self.photograph)

    def free_graphs(self) -> None:
        """Lets go of what was kept for the gradients of the generator's terms; the rest serves the critic too."""
        for name in ("colors", "picture", "picture_features"):
            self.__dict__.pop(name, None)
        self.reconstruction = self.reconstruction.detach()


# Terms of the colors


def smooth_l1(inputs: LossInputs) -> torch.Tensor:
    """Girshick, 2015, "Fast R-CNN", equation 3, of chroma, in units of `AB_SCALE` Lab units.

    A parabola up to `smooth_l1_beta`, the absolute error less half of it beyond.
    """
    ab, true_ab = (reconstruction_to_ab(each.float(), inputs.encoding) for each in (inputs.colors, inputs.target))
    return F.smooth_l1_loss(ab, true_ab, reduction="none", beta=inputs.settings.smooth_l1_beta) / AB_SCALE


# The error of every value, of the shape of the output. Huber's is half the square, linear beyond `huber_delta`.
COLOR_ERRORS: dict[str, Callable[[LossInputs], torch.Tensor]] = {
    "mse": lambda inputs: F.mse_loss(inputs.colors, inputs.target, reduction="none"),
    "l1": lambda inputs: F.l1_loss(inputs.colors, inputs.target, reduction="none"),
    "huber": lambda inputs: F.huber_loss(
        inputs.colors, inputs.target, reduction="none", delta=inputs.settings.huber_delta
    ),
    "smooth_l1": smooth_l1,
}


def color_term(inputs: LossInputs) -> torch.Tensor:
    """Mean error of the colors, pixels weighted by their chroma."""
    settings = inputs.settings
    weights = chroma_weights(inputs.true_ab, settings.chroma_emphasis, settings.chroma_emphasis_power, inputs.average)
    return (weights * COLOR_ERRORS[settings.color_loss](inputs)).mean()


def rebalanced_term(inputs: LossInputs) -> torch.Tensor:
    """Mean length of the error, weighted by how rare the true color is: what the rebalanced AuC measures.

    The mean of what could be there minimizes the square; what minimizes the length is the median, which is a color.
    """
    length = ((inputs.colors - inputs.target).square().sum(dim=1) + 1e-5).sqrt()  # finite slope where it is zero
    return (inputs.color_weights["rebalanced"][ab_squares(inputs.true_ab)] * length).mean()


# Terms of the classes


def class_term(inputs: LossInputs) -> torch.Tensor:
    """What the class head has to learn, from the teacher or from labels."""
    if inputs.teacher_probabilities is None:
        return label_loss(inputs.logits, inputs.labels, inputs.average)
    return class_distribution_loss(inputs.logits, inputs.teacher_probabilities)


# All of them


def adversarial_term(inputs: LossInputs) -> torch.Tensor:
    """What the generator minimizes of the critic's scores of its pictures."""
    features = inputs.picture_features if inputs.projected else None
    return over_maps(GAMES[inputs.settings.adversarial].generator, scores_of(inputs.critic, inputs.picture, features))


class TermKind(NamedTuple):
    """A term of the generator's objective.

    Args:
        value: gives its value, a scalar.
        of_colors: whether it depends on the predicted colors; the adaptive weight compares those with the adversary.
        needs: what the recipe must have for it, of `classes` (a class head and someone who teaches it), `bins`
            (a generator that predicts them) and `features` (frozen ones of pictures).
        count: what it has counted in the data before a phase, of true ab in Lab units, (B, 2, H, W).
        weigh: its `color_weights`, of the mean of those counts and the objective.
    """

    value: Callable[[LossInputs], torch.Tensor]
    of_colors: bool = True
    needs: tuple[str, ...] = ()
    count: Callable[[torch.Tensor], torch.Tensor] | None = None
    weigh: Callable[[torch.Tensor, Objective], torch.Tensor] | None = None


TERMS = {
    "color": TermKind(color_term),
    "rebalanced": TermKind(
        rebalanced_term,
        count=ab_histogram,
        weigh=lambda shares, settings: rebalancing_weights(shares, settings.rebalanced_uniform_share),
    ),
    "perceptual": TermKind(
        lambda inputs: perceptual_distance(inputs.picture_features, inputs.true_features, inputs.average),
        needs=("features",),
    ),
    "adversarial": TermKind(adversarial_term),
    "class": TermKind(class_term, of_colors=False, needs=("classes",)),
    "bins": TermKind(
        lambda inputs: bins_loss(inputs.bin_logits, inputs.true_ab, inputs.color_weights["bins"]),
        of_colors=False,
        needs=("bins",),
        count=bin_shares,
        weigh=lambda shares, settings: bin_rarity(shares),
    ),
}


class Term(NamedTuple):
    """A term of one batch."""

    name: str
    weight: float
    value: torch.Tensor


def adaptive_weight(color_gradient: torch.Tensor, gradient: torch.Tensor, average: Average = alone) -> torch.Tensor:
    """The weight at which an adversarial gradient is as long as that of the terms of the colors, over all processes.

    Esser, Rombach and Ommer, "Taming transformers for high-resolution image synthesis" (CVPR 2021), equation 7. They
    compare the gradients at the weights of the decoder's last layer; here it is at the generator's output, the same
    for any architecture and for RGB, and the adversary's share of it is then the recipe's weight.

    Args:
        color_gradient: of those terms with their weights, at the output, (B, C, H, W).
        gradient: of the adversarial term, the same shape.
        average: over the processes.
    """
    squares = average(torch.stack([color_gradient.square().sum(), gradient.square().sum()]))
    return squares[0].sqrt() / squares[1].sqrt().clamp(min=1e-12)


def add_adversary(inputs: LossInputs, total: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Adds the adversarial term to that of the colors, both by their gradients at the generator's output.

    Its value in the total is therefore not the term's; the logged one is. Taking that gradient by itself leaves none
    in the critic's parameters and lets it be compared with that of the colors.
    """
    settings = inputs.settings
    value = adversarial_term(inputs)
    (color_gradient,) = torch.autograd.grad(total, inputs.colors, retain_graph=True)
    (gradient,) = torch.autograd.grad(value, inputs.colors)
    equal = adaptive_weight(color_gradient, gradient, inputs.average)
    weight = torch.as_tensor(settings.weights["adversarial"], device=gradient.device)
    if settings.adaptive_weight:
        weight = settings.weights["adversarial"] * equal
    weight = inputs.ramp * weight
    passed = (inputs.reconstruction * color_gradient).sum()
    total = total.detach() + (passed - passed.detach()) + weight * (inputs.reconstruction * gradient).sum()
    return total, {
        "adversarial": value.detach(),
        "adversarial_weight": weight,
        "adversarial_gradient_ratio": weight / equal,
    }


def generator_loss(inputs: LossInputs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The terms of a recipe by their weights (WACV 2020, equation 1 with those that came after it).

    Returns:
        The total to call backward on, and detached scalars to log.
    """
    settings = inputs.settings
    terms = [
        Term(name, settings.weights[name], TERMS[name].value(inputs))
        for name in settings.weighted
        if name != "adversarial"
    ]
    parts = {term.name: term.value.detach() for term in terms}
    total = sum(term.weight * term.value for term in terms if TERMS[term.name].of_colors)
    if inputs.critic is not None:
        total, adversarial_parts = add_adversary(inputs, total)
        parts |= adversarial_parts
    return total + sum(term.weight * term.value for term in terms if not TERMS[term.name].of_colors), parts


def critic_loss(
    settings: Objective,
    critic: nn.Module,
    photograph: torch.Tensor,
    fake: torch.Tensor,
    epsilon: torch.Tensor | None = None,
    features: tuple[Features, Features] = (None, None),
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """critic_weight * what tells photographs from colorized pictures + penalty_weight * gradient penalty.

    pix2pix halves the first ("to slow down" its critic, section 3.3). Fakes are detached.

    Args:
        settings: the objective.
        critic: of pictures.
        photograph: encoded luminance and ab, (B, 3, H, W).
        fake: predicted ab under the same luminance, (B, 3, H, W).
        epsilon: of `gradient_penalty`, where that has a weight.
        features: what a projected critic takes besides, of the photographs and of the colorized pictures.

    Returns:
        The total to call backward on, and detached scalars to log.
    """
    fake = fake.detach()
    scores = [scores_of(critic, each, seen) for each, seen in zip((photograph, fake), features, strict=True)]
    parts = {
        "critic_gap": over_maps(lambda real, fake: real.mean() - fake.mean(), *scores).detach(),
        "critic_d_prime": over_maps(d_prime, *scores),
    }
    total = settings.critic_weight * over_maps(GAMES[settings.adversarial].critic, *scores)
    if settings.penalty_weight:
        penalty = gradient_penalty(critic, photograph, fake, epsilon, settings.penalty_reduction)
        total = total + settings.penalty_weight * penalty
        parts["penalty"] = penalty.detach()
    return total, parts


__all__ = [
    "COLOR_ERRORS",
    "TERMS",
    "LossInputs",
    "Objective",
    "Term",
    "TermKind",
    "adaptive_weight",
    "critic_loss",
    "generator_loss",
]
