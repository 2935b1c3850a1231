"""What ports of the paper get wrong in the totals, each test red when the mistake is put back."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modeling_chromagan import ChromaGANConfig, ChromaGANCritic
from modeling_chromagan.color import ab_bins, rgb_to_lab
from modeling_chromagan.evaluation.ab_histogram import BINS_PER_AXIS, ab_squares
from modeling_chromagan.modeling_chromagan import CriticOutput
from modeling_chromagan.training.adversarial import gradient_penalty, lab_picture
from modeling_chromagan.training.color_bins import bins_loss
from modeling_chromagan.training.frozen_features import perceptual_distance
from modeling_chromagan.training.losses import chroma_weights
from modeling_chromagan.training.objectives import (
    TERMS,
    LossInputs,
    Objective,
    TermKind,
    adaptive_weight,
    critic_loss,
    generator_loss,
)


@pytest.fixture
def critic():
    torch.manual_seed(0)
    return ChromaGANCritic(ChromaGANConfig(critic_width_multiplier=0.125))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    luminance = torch.rand(3, 1, 32, 32, generator=generator)
    return luminance, torch.rand(3, 2, 32, 32, generator=generator), torch.rand(3, 2, 32, 32, generator=generator)


def objective(weight: float = 0.0, **settings) -> Objective:
    """Mean squared error, and the adversarial term with that weight; `weights` adds others."""
    weights = {"class": 0, "adversarial": weight} | settings.pop("weights", {})
    return Objective(weights=weights, **settings)


def look(settings, luminance, reconstruction, target, encoding="unit8", real_ab=None, **others) -> LossInputs:
    real_ab = target if real_ab is None else real_ab
    photograph = torch.cat([luminance, real_ab], dim=1)
    return LossInputs(settings, encoding, photograph, reconstruction, target, real_ab, **others)


def descend(settings, luminance, start, target, **others) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """Gradient at the generator's output, total and logged parts."""
    fake = start.clone().requires_grad_()
    total, parts = generator_loss(look(settings, luminance, fake, target, **others))
    total.backward()
    return fake.grad, total, parts


def test_generator_receives_the_adversarial_gradient_that_autograd_gives(critic, batch):
    luminance, real_ab, start = batch
    gradient, _, _ = descend(objective(0.1), luminance, start, real_ab, critic=critic)

    reference = start.clone().requires_grad_()
    scores = critic(torch.cat([luminance, reference], dim=1)).scores
    ((reference - real_ab).square().mean() - 0.1 * scores.mean()).backward()
    torch.testing.assert_close(gradient, reference.grad)

    without, _, _ = descend(objective(0.1), luminance, start, real_ab)
    assert (gradient - without).norm() > 1e-3 * without.norm()


def test_generator_step_leaves_no_gradient_in_the_critic(critic, batch):
    luminance, real_ab, fake_ab = batch
    descend(objective(0.1), luminance, fake_ab, real_ab, critic=critic)
    assert all(parameter.grad is None for parameter in critic.parameters())


def test_adaptive_weight_is_the_quotient_of_both_norms():
    colors, adversary = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 0.5])
    assert adaptive_weight(colors, adversary).item() == pytest.approx(10)


def test_adaptive_weight_keeps_the_adversarial_share_of_the_gradient(critic, batch):
    luminance, real_ab, start = batch
    settings = objective(0.4, weights={"color": 3}, adaptive_weight=True)
    gradient, _, parts = descend(settings, luminance, start, real_ab, critic=critic)
    color_gradient = 3 * 2 * (start - real_ab) / start.numel()
    assert ((gradient - color_gradient).norm() / color_gradient.norm()).item() == pytest.approx(0.4, rel=1e-4)
    assert parts["adversarial_gradient_ratio"].item() == pytest.approx(0.4, rel=1e-4)


def test_logged_ratio_is_the_fixed_weight_times_both_norms(critic, batch):
    luminance, real_ab, fake_ab = batch
    _, _, parts = descend(objective(0.1), luminance, fake_ab, real_ab, critic=critic)
    leaf = fake_ab.detach().requires_grad_()
    (adversarial,) = torch.autograd.grad(critic(torch.cat([luminance, leaf], dim=1)).scores.mean(), leaf)
    color = 2 * (leaf.detach() - real_ab) / leaf.numel()
    assert parts["adversarial_gradient_ratio"].item() == pytest.approx(
        0.1 * (adversarial.norm() / color.norm()).item(), rel=1e-4
    )
    assert parts["adversarial_weight"].item() == pytest.approx(0.1)


def test_adaptive_weight_follows_the_weighted_color_term(critic, batch):
    luminance, real_ab, start = batch
    settings = objective(0.5, chroma_emphasis=3, adaptive_weight=True)
    gradient, _, _ = descend(settings, luminance, start, real_ab, critic=critic)
    reference = start.clone().requires_grad_()
    weights = chroma_weights(look(settings, luminance, start, real_ab).true_ab, 3)
    (weights * (reference - real_ab).square()).mean().backward()
    assert ((gradient - reference.grad).norm() / reference.grad.norm()).item() == pytest.approx(0.5, rel=1e-4)


def test_adversarial_weight_rises_along_its_ramp(critic, batch):
    luminance, real_ab, fake_ab = batch
    settings = objective(0.4, adaptive_weight=True)
    ratios = [
        descend(settings, luminance, fake_ab, real_ab, critic=critic, ramp=ramp)[2]["adversarial_gradient_ratio"]
        for ramp in (0.25, 1.0)
    ]
    assert [ratio.item() for ratio in ratios] == pytest.approx([0.1, 0.4], rel=1e-4)


def test_class_term_is_weighted_and_taught_by_teacher_or_labels(batch):
    luminance, real_ab, fake_ab = batch
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    settings = objective(weights={"class": 0.003})
    taught = {"teacher_probabilities": torch.full((3, 2), 0.5)}
    for teaching in (taught, {"labels": torch.tensor([0, 1, -1])}):
        total, parts = generator_loss(look(settings, luminance, fake_ab, real_ab, logits=logits, **teaching))
        assert total.item() == pytest.approx(parts["color"].item() + 0.003 * parts["class"].item(), rel=1e-6)
        assert parts["class"].item() > 0.05


def test_bins_term_is_weighted_and_takes_its_weights_by_name(batch):
    luminance, real_ab, fake_ab = batch
    rarity, logits = torch.rand(len(ab_bins())), torch.randn(3, len(ab_bins()), 8, 8)
    inputs = look(objective(weights={"bins": 0.1}), luminance, fake_ab, real_ab)
    inputs.bin_logits, inputs.color_weights = logits, {"bins": rarity}
    total, parts = generator_loss(inputs)
    assert parts["bins"].item() == pytest.approx(bins_loss(logits, inputs.true_ab, rarity).item(), rel=1e-6)
    assert total.item() == pytest.approx(parts["color"].item() + 0.1 * parts["bins"].item(), rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "by_hand"),
    [
        ({"color_loss": "mse"}, (0.25 + 9) / 2),
        ({"color_loss": "l1"}, (0.5 + 3) / 2),
        ({"color_loss": "huber"}, (0.5 * 0.25 + 1 * (3 - 0.5)) / 2),
        ({"color_loss": "huber", "huber_delta": 2}, (0.5 * 0.25 + 2 * (3 - 1)) / 2),
    ],
)
def test_color_terms_by_hand(settings, by_hand):
    prediction, target = torch.tensor([0.5, -3.0]).view(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    settings = objective(weights={"color": 2}, **settings)
    total, parts = generator_loss(look(settings, torch.zeros(1, 1, 1, 1), prediction, target))
    assert total.item() == pytest.approx(2 * by_hand)
    assert parts["color"].item() == pytest.approx(by_hand)


@pytest.mark.parametrize(("encoding", "scale"), [("unit8", 255), ("symmetric", 110)])
def test_smooth_l1_is_of_lab_units_whatever_the_encoding(encoding, scale):
    # Errors of 2 and 20 Lab units, in units of 50: 0.04^2 / 2 / 0.1, and 0.4 - 0.1 / 2.
    prediction = (torch.tensor([2.0, -20.0]) / scale).view(1, 2, 1, 1)
    settings = objective(weights={"color": 8}, color_loss="smooth_l1")
    luminance, target = torch.zeros(1, 1, 1, 1), torch.zeros(1, 2, 1, 1)
    gradient, total, _ = descend(settings, luminance, prediction, target, encoding=encoding)
    assert total.item() == pytest.approx(8 * (0.04**2 / 2 / 0.1 + 0.4 - 0.05) / 2, rel=1e-4)
    # Four times 0.4 and 1 a unit of 50 Lab units.
    torch.testing.assert_close(gradient.flatten(), 4 * torch.tensor([0.4, -1.0]) * scale / 50)


def test_an_rgb_output_reaches_the_critic_through_its_chroma(critic):
    generator = torch.Generator().manual_seed(3)
    luminance, rgb = torch.rand(2, 1, 32, 32, generator=generator), torch.rand(2, 3, 32, 32, generator=generator)
    picture = lab_picture(luminance, rgb, "symmetric")
    assert torch.equal(picture[:, :1], luminance), "the critic sees the photograph's luminance, not the prediction's"
    torch.testing.assert_close(picture[:, 1:], rgb_to_lab(rgb)[:, 1:] / 110)
    settings = objective(0.5, adaptive_weight=True)
    others = {"encoding": "symmetric", "real_ab": torch.zeros(2, 2, 32, 32), "critic": critic}
    gradient, _, _ = descend(settings, luminance, rgb, 1 - rgb, **others)
    color = 2 * (2 * rgb - 1) / rgb.numel()
    assert ((gradient - color).norm() / color.norm()).item() == pytest.approx(0.5, rel=1e-3)
    assert gradient.isfinite().all()


def test_rebalanced_term_is_the_weighted_length_of_the_error_and_counts_among_the_colors(critic, batch):
    luminance, target, start = batch
    settings = objective(weights={"rebalanced": 2})
    ab = look(settings, luminance, start, target).true_ab
    weights = torch.rand(BINS_PER_AXIS**2)
    by_hand = (weights[ab_squares(ab)] * ((start - target).square().sum(dim=1) + 1e-5).sqrt()).mean()
    others = {"color_weights": {"rebalanced": weights}}
    alone, total, parts = descend(settings, luminance, start, target, **others)
    assert parts["rebalanced"].item() == pytest.approx(by_hand.item(), rel=1e-6)
    assert total.item() == pytest.approx((parts["color"] + 2 * parts["rebalanced"]).item(), rel=1e-6)

    settings = objective(0.5, weights={"rebalanced": 2}, adaptive_weight=True)
    steered, _, _ = descend(settings, luminance, start, target, critic=critic, **others)
    assert ((steered - alone).norm() / alone.norm()).item() == pytest.approx(0.5, rel=1e-3)


def test_a_term_is_one_function_and_one_line(monkeypatch, batch):
    luminance, real_ab, fake_ab = batch
    monkeypatch.setitem(TERMS, "total_variation", TermKind(lambda inputs: inputs.colors.diff(dim=3).abs().mean()))
    settings = objective(weights={"total_variation": 2})
    gradient, total, parts = descend(settings, luminance, fake_ab, real_ab)
    by_hand = fake_ab.diff(dim=3).abs().mean()
    assert parts["total_variation"].item() == pytest.approx(by_hand.item())
    assert total.item() == pytest.approx((parts["color"] + 2 * by_hand).item(), rel=1e-6)
    assert not torch.equal(gradient, descend(objective(), luminance, fake_ab, real_ab)[0])


def test_a_weight_of_zero_leaves_a_term_out_of_total_and_log(batch):
    luminance, real_ab, fake_ab = batch
    _, parts = generator_loss(look(objective(), luminance, fake_ab, real_ab))
    assert set(parts) == {"color"}


# The critic's total


def test_critic_loss_rises_with_the_score_of_fakes_and_carries_no_gradient_to_them(critic, batch):
    luminance, real_ab, fake_ab = batch
    real, fake = (torch.cat([luminance, ab], dim=1) for ab in (real_ab, fake_ab.clone().requires_grad_()))
    total, parts = critic_loss(Objective(), critic, real, fake, torch.full((3, 1, 1, 1), 0.5))
    total.backward()
    assert fake.grad_fn is not None
    real_score, fake_score = critic(real).scores.mean(), critic(fake).scores.mean()
    assert parts["critic_gap"].item() == pytest.approx((real_score - fake_score).item(), abs=1e-6)
    assert total.item() == pytest.approx((fake_score - real_score + 10 * parts["penalty"]).item(), rel=1e-5)
    # The last bias shifts every score alike: real and fake cancel, and the penalty does not see it.
    for name, parameter in critic.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert name == "network.conv5.bias" or parameter.grad.abs().max() > 0, name


def test_critic_loss_holds_the_penalty_of_its_reduction(critic, batch):
    luminance, real_ab, fake_ab = batch
    real, fake = (torch.cat([luminance, ab], dim=1) for ab in (real_ab, fake_ab))
    epsilon = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1, 1)
    for reduction in ("sum", "root", "mean"):
        _, parts = critic_loss(Objective(penalty_reduction=reduction), critic, real, fake, epsilon)
        assert parts["penalty"].item() == gradient_penalty(critic, real, fake, epsilon, reduction).item()


def test_critic_learns_to_tell_two_colors_apart():
    torch.manual_seed(0)
    critic = ChromaGANCritic(ChromaGANConfig(critic_width_multiplier=0.0625))
    optimizer = torch.optim.Adam(critic.parameters(), 1e-3, betas=(0.5, 0.9))
    luminance = torch.rand(4, 1, 32, 32)
    real, fake = (torch.cat([luminance, torch.full((4, 2, 32, 32), ab)], dim=1) for ab in (0.6, 0.5))
    first = None
    for _ in range(30):
        total, parts = critic_loss(Objective(penalty_reduction="root"), critic, real, fake, torch.rand(4, 1, 1, 1))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        first = first or parts["critic_gap"].item()
    assert parts["critic_gap"].item() > first + 0.1


# Several maps of scores, frozen features


class TwoMaps(nn.Module):
    """Scores of the picture and of features of it, as a projected critic gives them: maps of different sizes."""

    def forward(self, picture, features):
        return CriticOutput(scores=(picture[:, 1:2], features[0].mean(dim=1, keepdim=True)))


def small_features(picture):
    """Stands for a frozen network."""
    return (F.avg_pool2d(picture, 4).tanh(),)


def test_terms_are_averaged_over_the_maps_whatever_their_sizes(batch):
    luminance, real_ab, fake_ab = batch
    real, fake = (torch.cat([luminance, ab], dim=1) for ab in (real_ab, fake_ab))
    features = small_features(real), small_features(fake)
    total, parts = critic_loss(Objective(adversarial="hinge"), TwoMaps(), real, fake, features=features)
    maps = [(real[:, 1], fake[:, 1]), (features[0][0].mean(1), features[1][0].mean(1))]
    by_hand = sum((1 - r).relu().mean() + (1 + f).relu().mean() for r, f in maps) / 2
    assert total.item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert parts["critic_gap"].item() == pytest.approx(sum(r.mean() - f.mean() for r, f in maps).item() / 2, abs=1e-6)


def test_perceptual_term_is_one_of_the_color_terms_that_the_adversary_is_compared_with(batch):
    luminance, real_ab, start = batch
    weights = {"color": 2, "perceptual": 0.5}
    settings = objective(3, weights=weights, adversarial="hinge", adaptive_weight=True)
    alone, total, parts = descend(settings, luminance, start, real_ab, features=small_features)
    reference = start.clone().requires_grad_()
    seen = small_features(torch.cat([luminance, reference], dim=1))
    true_features = small_features(torch.cat([luminance, real_ab], dim=1))
    (2 * (reference - real_ab).square().mean() + 0.5 * perceptual_distance(seen, true_features)).backward()
    torch.testing.assert_close(alone, reference.grad)
    assert total.item() == pytest.approx(2 * parts["color"].item() + 0.5 * parts["perceptual"].item(), rel=1e-5)

    others = {"features": small_features, "critic": TwoMaps(), "projected": True}
    steered, _, _ = descend(settings, luminance, start, real_ab, **others)
    assert ((steered - alone).norm() / alone.norm()).item() == pytest.approx(3, rel=1e-3)
    adversarial = start.clone().requires_grad_()
    picture = torch.cat([luminance, adversarial], dim=1)
    maps = TwoMaps()(picture, small_features(picture)).scores
    (-sum(each.mean() for each in maps) / 2).backward()
    direction = (steered - alone) / (steered - alone).norm()
    torch.testing.assert_close(direction, adversarial.grad / adversarial.grad.norm(), atol=1e-5, rtol=1e-3)


# What a recipe may say


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        (
            {"weights": {"l1": 1}},
            "has no term 'l1'; accepted: color, rebalanced, perceptual, adversarial, class",
        ),
        ({"weights": {"color": -1}}, "greater than or equal to 0"),
        ({"weights": {"color": math.nan}}, "finite number"),
        ({"weights": {"color": True}}, ".color is true; accepted: numbers"),
        ({"weights": [1, 2]}, "accepted: weights of terms as `name: number`"),
        ({"color_loss": "l2"}, "is 'l2'; accepted: mse, l1, huber, smooth_l1"),
        ({"adversarial": "relativistic"}, "is 'relativistic'; accepted: wasserstein, bce, least_squares, hinge"),
        ({"weights": {"color": 0}}, "leads nowhere; accepted: color or rebalanced or"),
        ({"weights": {"color": 0, "class": 0, "adversarial": 0}}, "leads nowhere"),
    ],
)
def test_wrong_weights_and_names_are_refused(settings, refusal):
    with pytest.raises(ValueError, match=refusal):
        Objective(**settings)


def test_published_weights_are_the_defaults_and_each_can_be_set_alone():
    assert Objective().weights | {"adversarial": 0.1, "class": 0.003, "color": 1} == Objective().weights
    changed = Objective(weights={"class": 0, "bins": 0.5}).weights
    assert changed == Objective().weights | {"class": 0, "bins": 0.5}
    assert Objective().penalty_weight == 10
    assert Objective(adversarial="hinge").penalty_weight == 0
    assert Objective(adversarial="hinge", penalty_weight=5).penalty_weight == 5
