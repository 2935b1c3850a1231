"""What ports of the paper get wrong, each test red when the mistake is put back; and the formulas by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modeling_chromagan import ChromaGANConfig, ChromaGANCritic
from modeling_chromagan.color import rgb_to_lab
from modeling_chromagan.evaluation.ab_histogram import ab_histogram, ab_squares
from modeling_chromagan.modeling_chromagan import CriticOutput
from modeling_chromagan.training import objectives
from modeling_chromagan.training.adversarial import adversarial_term, critic_loss, gradient_penalty, lab_picture
from modeling_chromagan.training.data.augmentation import RowRandom
from modeling_chromagan.training.frozen_features import perceptual_distance
from modeling_chromagan.training.recipe import Objective


class LinearCritic(nn.Module):
    """Scores are a fixed linear map of the picture, so that every gradient is known by hand."""

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, picture):
        return CriticOutput(scores=(picture * self.weight).sum(dim=1, keepdim=True))


class LuminanceRecorder(nn.Module):
    """Remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen = []

    def forward(self, picture):
        self.seen.append(picture.detach().clone())
        return CriticOutput(scores=self.scale * picture.square().sum(dim=1, keepdim=True))


@pytest.fixture
def critic():
    torch.manual_seed(0)
    return ChromaGANCritic(ChromaGANConfig(critic_width_multiplier=0.125))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    luminance = torch.rand(3, 1, 32, 32, generator=generator)
    return luminance, torch.rand(3, 2, 32, 32, generator=generator), torch.rand(3, 2, 32, 32, generator=generator)


def test_class_loss_is_the_divergence_of_two_distributions():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])
    teacher = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    student = logits.softmax(dim=1)
    by_hand = sum(
        float(teacher[i, k]) * math.log(float(teacher[i, k]) / float(student[i, k]))
        for i in range(2)
        for k in range(3)
    )
    assert objectives.class_distribution_loss(logits, teacher).item() == pytest.approx(by_hand / 2, rel=1e-5)
    # Zero where both agree, which neither raw logits nor probabilities in the place of logarithms give.
    assert objectives.class_distribution_loss(teacher.log() + 5, teacher).item() == pytest.approx(0, abs=1e-6)


def test_unlabeled_pictures_add_no_class_loss():
    logits = torch.randn(4, 5)
    labels = torch.tensor([1, -1, 3, -1])
    expected = objectives.label_loss(logits[[0, 2]], labels[[0, 2]], 0.1)
    assert objectives.label_loss(logits, labels, 0.1).item() == pytest.approx(expected.item(), rel=1e-5)
    assert objectives.label_loss(logits, torch.full((4,), -1), 0.1).item() == 0


def test_generator_receives_the_adversarial_gradient_that_autograd_gives(critic, batch):
    luminance, real_ab, start = batch
    settings = Objective(color_weight=1, class_weight=0, adversarial_weight=0.1)
    fake_ab = start.clone().requires_grad_()
    total, _ = objectives.generator_loss(settings, luminance, fake_ab, real_ab, None, critic)
    total.backward()

    reference = start.clone().requires_grad_()
    scores = critic(torch.cat([luminance, reference], dim=1)).scores
    ((reference - real_ab).square().mean() - 0.1 * scores.mean()).backward()
    torch.testing.assert_close(fake_ab.grad, reference.grad)

    without = start.clone().requires_grad_()
    objectives.generator_loss(settings, luminance, without, real_ab, None, None)[0].backward()
    assert (fake_ab.grad - without.grad).norm() > 1e-3 * without.grad.norm()


def test_generator_step_leaves_no_gradient_in_the_critic(critic, batch):
    luminance, real_ab, fake_ab = batch
    fake_ab = fake_ab.clone().requires_grad_()
    objectives.generator_loss(Objective(), luminance, fake_ab, real_ab, None, critic)[0].backward()
    assert all(parameter.grad is None for parameter in critic.parameters())


def test_steered_adversarial_weight_keeps_its_share_of_the_gradient(critic, batch):
    luminance, real_ab, start = batch
    settings = Objective(color_weight=3, class_weight=0, adversarial_gradient_ratio=0.4)
    fake_ab = start.clone().requires_grad_()
    total, parts = objectives.generator_loss(settings, luminance, fake_ab, real_ab, None, critic)
    total.backward()
    color_gradient = 3 * 2 * (start - real_ab) / start.numel()
    adversarial = fake_ab.grad - color_gradient
    assert (adversarial.norm() / color_gradient.norm()).item() == pytest.approx(0.4, rel=1e-4)
    assert parts["adversarial_gradient_ratio"].item() == pytest.approx(0.4, rel=1e-4)


def test_logged_ratio_is_the_fixed_weight_times_both_norms(critic, batch):
    luminance, real_ab, fake_ab = batch
    fake_ab = fake_ab.clone().requires_grad_()
    _, parts = objectives.generator_loss(Objective(), luminance, fake_ab, real_ab, None, critic)
    leaf = fake_ab.detach().requires_grad_()
    (adversarial,) = torch.autograd.grad(critic(torch.cat([luminance, leaf], dim=1)).scores.mean(), leaf)
    color = 2 * (leaf.detach() - real_ab) / leaf.numel()
    assert parts["adversarial_gradient_ratio"].item() == pytest.approx(
        0.1 * (adversarial.norm() / color.norm()).item(), rel=1e-4
    )


def test_emphasis_weighs_saturated_pixels_more_and_keeps_the_mean():
    ab = torch.zeros(1, 2, 2, 2)
    ab[:, 0, 0] = 60
    weights = objectives.chroma_weights(ab, 1.5)
    assert weights.mean().item() == pytest.approx(1)
    assert (weights[0, 0, 0, 0] / weights[0, 0, 1, 0]).item() == pytest.approx(1.9)
    squared = objectives.chroma_weights(ab, 25, power=2)
    assert (squared[0, 0, 0, 0] / squared[0, 0, 1, 0]).item() == pytest.approx(1 + 25 * 0.6**2)
    assert torch.equal(objectives.chroma_weights(ab, 0), torch.ones(1, 1, 2, 2))


def test_steering_follows_the_weighted_color_term(critic, batch):
    luminance, real_ab, start = batch
    weights = objectives.chroma_weights(100 * real_ab, 3)
    settings = Objective(class_weight=0, adversarial_gradient_ratio=0.5)
    fake_ab = start.clone().requires_grad_()
    total, _ = objectives.generator_loss(settings, luminance, fake_ab, real_ab, None, critic, pixel_weights=weights)
    total.backward()
    reference = start.clone().requires_grad_()
    (weights * (reference - real_ab).square()).mean().backward()
    adversarial = fake_ab.grad - reference.grad
    assert (adversarial.norm() / reference.grad.norm()).item() == pytest.approx(0.5, rel=1e-4)


def test_class_loss_is_weighted(batch):
    luminance, real_ab, fake_ab = batch
    total, parts = objectives.generator_loss(Objective(), luminance, fake_ab, real_ab, torch.tensor(2.0), None)
    assert total.item() == pytest.approx(parts["color"].item() + 0.003 * 2.0, rel=1e-6)


@pytest.mark.parametrize(("reduction", "patches"), [("sum", 1), ("root", 4), ("mean", 16)])
def test_penalty_of_a_known_gradient(reduction, patches):
    # Every pixel of ab adds `weight` to the score of its patch; 4 x 4 patches and two channels: 32 equal slopes.
    weight = torch.tensor([9.0, 0.5, 0.5]).view(1, 3, 1, 1)
    luminance, real_ab, fake_ab = torch.rand(5, 1, 4, 4), torch.rand(5, 2, 4, 4), torch.rand(5, 2, 4, 4)
    slope = 0.5 * math.sqrt(32) / patches
    penalty = gradient_penalty(LinearCritic(weight), luminance, real_ab, fake_ab, reduction=reduction)
    assert penalty.item() == pytest.approx((slope - 1) ** 2, rel=1e-4)


def test_penalty_norm_is_taken_per_picture():
    # One steep picture among flat ones: averaging over the batch before the norm would give a much smaller penalty.
    class Steep(nn.Module):
        def forward(self, picture):
            slopes = torch.tensor([7.0, 1.0, 1.0, 1.0]).view(4, 1, 1, 1)
            return CriticOutput(scores=(slopes * picture[:, 1:2]).sum(dim=(2, 3), keepdim=True) / 4)

    pictures = torch.rand(4, 2, 4, 4)  # 16 slopes of slopes / 4: norms 7, 1, 1, 1
    penalty = gradient_penalty(Steep(), torch.rand(4, 1, 4, 4), pictures, torch.rand(4, 2, 4, 4))
    assert penalty.item() == pytest.approx(36 / 4, rel=1e-3)


def test_penalty_mixes_colors_between_the_two_and_never_the_luminance():
    recorder = LuminanceRecorder()
    luminance = torch.rand(200, 1, 2, 2)
    real_ab, fake_ab = torch.zeros(200, 2, 2, 2), torch.ones(200, 2, 2, 2)
    gradient_penalty(recorder, luminance, real_ab, fake_ab, RowRandom(0, 200))
    (seen,) = recorder.seen
    assert torch.equal(seen[:, :1], luminance)
    shares = seen[:, 1:].flatten(1)
    assert (shares == shares[:, :1]).all(), "one epsilon per picture"
    share = shares[:, 0]
    assert share.min() >= 0, "epsilon is uniform, not normal"
    assert share.max() <= 1
    assert (share < 0.1).sum() in range(8, 34)  # 20 expected of 200
    assert (share > 0.9).sum() in range(8, 34)


def test_penalty_ignores_how_the_critic_depends_on_luminance():
    ab_weight = torch.tensor([0.0, 0.5, 0.5]).view(1, 3, 1, 1)
    both = ab_weight + torch.tensor([100.0, 0, 0]).view(1, 3, 1, 1)
    pictures = torch.rand(2, 1, 4, 4), torch.rand(2, 2, 4, 4), torch.rand(2, 2, 4, 4)
    penalties = [gradient_penalty(LinearCritic(weight), *pictures).item() for weight in (ab_weight, both)]
    assert penalties[0] == pytest.approx(penalties[1], rel=1e-4)


def test_critic_loss_rises_with_the_score_of_fakes_and_carries_no_gradient_to_them(critic, batch):
    luminance, real_ab, fake_ab = batch
    fake_ab = fake_ab.clone().requires_grad_()
    total, parts = critic_loss(Objective(), critic, luminance, real_ab, fake_ab)
    total.backward()
    assert fake_ab.grad is None
    real = critic(torch.cat([luminance, real_ab], dim=1)).scores.mean()
    fake = critic(torch.cat([luminance, fake_ab], dim=1)).scores.mean()
    assert parts["critic_gap"].item() == pytest.approx((real - fake).item(), abs=1e-6)
    assert total.item() == pytest.approx((fake - real + 10 * parts["penalty"]).item(), rel=1e-5)
    # The last bias shifts every score alike: real and fake cancel, and the penalty does not see it.
    for name, parameter in critic.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert name == "network.conv5.bias" or parameter.grad.abs().max() > 0, name


def test_critic_learns_to_tell_two_colors_apart():
    torch.manual_seed(0)
    critic = ChromaGANCritic(ChromaGANConfig(critic_width_multiplier=0.0625))
    optimizer = torch.optim.Adam(critic.parameters(), 1e-3, betas=(0.5, 0.9))
    luminance = torch.rand(4, 1, 32, 32)
    real_ab, fake_ab = torch.full((4, 2, 32, 32), 0.6), torch.full((4, 2, 32, 32), 0.5)
    first = None
    for _ in range(30):
        total, parts = critic_loss(
            Objective(penalty_reduction="root"), critic, luminance, real_ab, fake_ab, RowRandom(0, 4)
        )
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        first = first or parts["critic_gap"].item()
    assert parts["critic_gap"].item() > first + 0.1


# The other objectives of the field


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
    objective = Objective(class_weight=0, color_weight=2, **settings)
    total, parts = objectives.generator_loss(objective, torch.zeros(1, 1, 1, 1), prediction, target, None, None)
    assert total.item() == pytest.approx(2 * by_hand)
    assert parts["color"].item() == pytest.approx(by_hand)


@pytest.mark.parametrize(("encoding", "scale"), [("unit8", 255), ("symmetric", 110)])
def test_smooth_l1_is_of_lab_units_whatever_the_encoding(encoding, scale):
    # Errors of 2 and 20 Lab units, in units of 50: 0.04^2 / 2 / 0.1, and 0.4 - 0.1 / 2.
    prediction = (torch.tensor([2.0, -20.0]) / scale).view(1, 2, 1, 1).requires_grad_()
    settings = Objective(class_weight=0, color_weight=8, color_loss="smooth_l1")
    luminance, target = torch.zeros(1, 1, 1, 1), torch.zeros(1, 2, 1, 1)
    total, _ = objectives.generator_loss(settings, luminance, prediction, target, None, None, encoding)
    assert total.item() == pytest.approx(8 * (0.04**2 / 2 / 0.1 + 0.4 - 0.05) / 2, rel=1e-4)
    total.backward()
    # Four times 0.4 and 1 a unit of 50 Lab units.
    torch.testing.assert_close(prediction.grad.flatten(), 4 * torch.tensor([0.4, -1.0]) * scale / 50)


def test_bins_loss_is_weighted_and_logged(batch):
    luminance, real_ab, fake_ab = batch
    settings = Objective(bins_weight=0.1, class_weight=0)
    total, parts = objectives.generator_loss(
        settings, luminance, fake_ab, real_ab, None, None, bins_loss=torch.tensor(3.0)
    )
    assert total.item() == pytest.approx(parts["color"].item() + 0.3, rel=1e-6)
    assert parts["bins"].item() == 3


@pytest.mark.parametrize("kind", ["wasserstein", "bce", "least_squares", "hinge"])
def test_adversarial_terms_by_hand(kind):
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -0.5])

    def cross_entropy(scores, truth):
        return torch.nn.functional.binary_cross_entropy(scores.sigmoid(), torch.full_like(scores, truth))

    critic_side, generator_side = {
        "wasserstein": (fake.mean() - real.mean(), -fake.mean()),
        "bce": (cross_entropy(real, 1.0) + cross_entropy(fake, 0.0), cross_entropy(fake, 1.0)),
        "least_squares": (((real - 1) ** 2).mean() + (fake**2).mean(), ((fake - 1) ** 2).mean()),
        "hinge": (torch.tensor((0 + 2) / 2 + (1.5 + 0.5) / 2), -fake.mean()),
    }[kind]

    class Given(nn.Module):
        """Gives the scores written into the picture: its first pixel of a."""

        def forward(self, picture):
            return CriticOutput(scores=picture[:, 1:2, :1, :1])

    def pictures(scores):
        return scores.view(2, 1, 1, 1).expand(2, 2, 4, 4).clone()

    settings = Objective(adversarial=kind, critic_weight=0.5, penalty_weight=0)
    luminance = torch.zeros(2, 1, 4, 4)
    total, parts = critic_loss(settings, Given(), luminance, pictures(real), pictures(fake))
    assert total.item() == pytest.approx(0.5 * critic_side.item(), rel=1e-5)
    assert "penalty" not in parts
    assert parts["critic_gap"].item() == pytest.approx((real.mean() - fake.mean()).item())
    assert adversarial_term(settings, fake).item() == pytest.approx(generator_side.item(), rel=1e-5)


def test_an_rgb_output_reaches_the_critic_through_its_chroma(critic):
    generator = torch.Generator().manual_seed(3)
    luminance, rgb = torch.rand(2, 1, 32, 32, generator=generator), torch.rand(2, 3, 32, 32, generator=generator)
    picture = lab_picture(luminance, rgb, "symmetric")
    assert torch.equal(picture[:, :1], luminance), "the critic sees the photograph's luminance, not the prediction's"
    torch.testing.assert_close(picture[:, 1:], rgb_to_lab(rgb)[:, 1:] / 110)
    fake = rgb.clone().requires_grad_()
    settings = Objective(class_weight=0, adversarial_gradient_ratio=0.5)
    total, _ = objectives.generator_loss(settings, luminance, fake, 1 - rgb, None, critic, "symmetric")
    total.backward()
    color = 2 * (2 * rgb - 1) / rgb.numel()
    assert ((fake.grad - color).norm() / color.norm()).item() == pytest.approx(0.5, rel=1e-3)
    assert fake.grad.isfinite().all()


def test_rare_colors_weigh_more_and_the_mean_over_the_data_stays():
    ab = torch.zeros(1, 2, 10, 10)
    ab[:, 0, 0, :5] = 60  # five red pixels among ninety-five gray ones
    weights = objectives.rebalancing_weights(ab_histogram(ab), 0.5)
    by_pixel = weights[ab_squares(ab)]
    assert by_pixel.mean().item() == pytest.approx(1, rel=1e-5)
    # Two squares occur; what is seen mixed with an even half: 0.95/2 + 0.25 and 0.05/2 + 0.25, smoothing aside.
    assert (by_pixel[0, 0, 0] / by_pixel[0, 5, 5]).item() == pytest.approx(0.725 / 0.275, rel=0.25)
    even = objectives.rebalancing_weights(ab_histogram(ab), 1.0)[ab_squares(ab)]
    torch.testing.assert_close(even, torch.ones(1, 10, 10))


def test_rebalanced_term_is_the_weighted_length_of_the_error_and_is_steered_with_the_color_term(critic, batch):
    luminance, target, start = batch
    ab = 100 * (target - 0.5)
    weights = objectives.rebalancing_weights(ab_histogram(ab), 0.5)
    by_hand = (weights[ab_squares(ab)] * (start - target).norm(dim=1)).mean()
    assert objectives.rebalanced_error(start, target, ab, weights).item() == pytest.approx(by_hand.item(), rel=1e-2)

    def gradient_of(settings, critic):
        fake = start.clone().requires_grad_()
        objectives.generator_loss(settings, luminance, fake, target, None, critic, rebalancing=(ab, weights))[
            0
        ].backward()
        return fake.grad

    alone = gradient_of(Objective(class_weight=0, rebalanced_weight=2), None)
    steered = gradient_of(Objective(class_weight=0, rebalanced_weight=2, adversarial_gradient_ratio=0.5), critic)
    assert ((steered - alone).norm() / alone.norm()).item() == pytest.approx(0.5, rel=1e-3)


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
    settings = Objective(adversarial="hinge")
    features = small_features(real), small_features(fake)
    total, parts = critic_loss(settings, TwoMaps(), luminance, real_ab, fake_ab, features=features)
    maps = [(real[:, 1], fake[:, 1]), (features[0][0].mean(1), features[1][0].mean(1))]
    by_hand = sum((1 - r).relu().mean() + (1 + f).relu().mean() for r, f in maps) / 2
    assert total.item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert parts["critic_gap"].item() == pytest.approx(sum(r.mean() - f.mean() for r, f in maps).item() / 2, abs=1e-6)


def test_perceptual_term_is_one_of_the_color_terms_that_the_adversary_is_steered_by(batch):
    luminance, real_ab, start = batch
    true_features = small_features(torch.cat([luminance, real_ab], dim=1))

    def gradient_of(critic, **settings):
        fake = start.clone().requires_grad_()
        settings = Objective(class_weight=0, color_weight=2, perceptual_weight=0.5, adversarial="hinge", **settings)
        total, parts = objectives.generator_loss(
            settings,
            luminance,
            fake,
            real_ab,
            None,
            critic,
            features=small_features,
            true_features=true_features,
            projected=True,
        )
        total.backward()
        return fake.grad, total, parts

    alone, total, parts = gradient_of(None)
    reference = start.clone().requires_grad_()
    seen = small_features(torch.cat([luminance, reference], dim=1))
    (2 * (reference - real_ab).square().mean() + 0.5 * perceptual_distance(seen, true_features)).backward()
    torch.testing.assert_close(alone, reference.grad)
    assert total.item() == pytest.approx(2 * parts["color"].item() + 0.5 * parts["perceptual"].item(), rel=1e-5)

    steered, _, _ = gradient_of(TwoMaps(), adversarial_gradient_ratio=3)
    assert ((steered - alone).norm() / alone.norm()).item() == pytest.approx(3, rel=1e-3)
    adversarial = start.clone().requires_grad_()
    picture = torch.cat([luminance, adversarial], dim=1)
    maps = TwoMaps()(picture, small_features(picture)).scores
    (-sum(each.mean() for each in maps) / 2).backward()
    direction = (steered - alone) / (steered - alone).norm()
    torch.testing.assert_close(direction, adversarial.grad / adversarial.grad.norm(), atol=1e-5, rtol=1e-3)


def test_adversarial_weight_rises_along_its_ramp(critic, batch):
    luminance, real_ab, fake_ab = batch
    weights = []
    for ramp in (0.25, 1.0):
        fake = fake_ab.clone().requires_grad_()
        settings = Objective(class_weight=0, adversarial_gradient_ratio=0.4)
        _, parts = objectives.generator_loss(settings, luminance, fake, real_ab, None, critic, adversarial_ramp=ramp)
        weights.append(parts["adversarial_gradient_ratio"].item())
    assert weights == pytest.approx([0.1, 0.4], rel=1e-4)
