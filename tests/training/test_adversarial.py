"""The games by hand, the gradient penalty of known gradients, and d'."""

import math

import pytest
import torch
from torch import nn

from modeling_chromagan.modeling_chromagan import CriticOutput
from modeling_chromagan.training.adversarial import GAMES, Game, d_prime, gradient_penalty
from modeling_chromagan.training.objectives import Objective, critic_loss


class LinearCritic(nn.Module):
    """Scores are a fixed linear map of the picture, so that every gradient is known by hand."""

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, picture):
        return CriticOutput(scores=(picture * self.weight).sum(dim=1, keepdim=True))


class Recorder(nn.Module):
    """Remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen = []

    def forward(self, picture):
        self.seen.append(picture.detach().clone())
        return CriticOutput(scores=self.scale * picture.square().sum(dim=1, keepdim=True))


def pictures(count: int, size: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Photographs, and the same under other colors."""
    real = torch.rand(count, 3, size, size)
    return real, torch.cat([real[:, :1], torch.rand(count, 2, size, size)], dim=1)


@pytest.mark.parametrize(("reduction", "patches"), [("sum", 1), ("root", 4), ("mean", 16)])
def test_penalty_of_a_known_gradient(reduction, patches):
    # Every pixel of ab adds `weight` to the score of its patch; 4 x 4 patches and two channels: 32 equal slopes.
    critic = LinearCritic(torch.tensor([9.0, 0.5, 0.5]).view(1, 3, 1, 1))
    slope = 0.5 * math.sqrt(32) / patches
    penalty = gradient_penalty(critic, *pictures(5), torch.rand(5, 1, 1, 1), reduction)
    assert penalty.item() == pytest.approx((slope - 1) ** 2, rel=1e-4)


def test_penalty_norm_is_taken_per_picture():
    # One steep picture among flat ones: averaging over the batch before the norm would give a much smaller penalty.
    class Steep(nn.Module):
        def forward(self, picture):
            slopes = torch.tensor([7.0, 1.0, 1.0, 1.0]).view(4, 1, 1, 1)
            return CriticOutput(scores=(slopes * picture[:, 1:2]).sum(dim=(2, 3), keepdim=True) / 4)

    # 16 slopes of slopes / 4: norms 7, 1, 1, 1
    assert gradient_penalty(Steep(), *pictures(4), torch.rand(4, 1, 1, 1)).item() == pytest.approx(36 / 4, rel=1e-3)


def test_penalty_mixes_colors_by_epsilon_and_never_the_luminance():
    recorder = Recorder()
    real, fake = pictures(3)
    epsilon = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1)
    gradient_penalty(recorder, real, fake, epsilon)
    (seen,) = recorder.seen
    assert torch.equal(seen[:, :1], real[:, :1])
    assert torch.equal(seen[0], fake[0])
    assert torch.equal(seen[2], real[2])
    torch.testing.assert_close(seen[1, 1:], 0.25 * real[1, 1:] + 0.75 * fake[1, 1:])


def test_penalty_ignores_how_the_critic_depends_on_luminance():
    ab_weight = torch.tensor([0.0, 0.5, 0.5]).view(1, 3, 1, 1)
    both = ab_weight + torch.tensor([100.0, 0, 0]).view(1, 3, 1, 1)
    given = *pictures(2), torch.rand(2, 1, 1, 1)
    penalties = [gradient_penalty(LinearCritic(weight), *given).item() for weight in (ab_weight, both)]
    assert penalties[0] == pytest.approx(penalties[1], rel=1e-4)


@pytest.mark.parametrize("kind", ["wasserstein", "bce", "least_squares", "hinge"])
def test_games_by_hand(kind):
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

    def written(scores):
        return scores.view(2, 1, 1, 1).expand(2, 3, 4, 4).clone()

    settings = Objective(adversarial=kind, critic_weight=0.5, penalty_weight=0)
    total, parts = critic_loss(settings, Given(), written(real), written(fake))
    assert total.item() == pytest.approx(0.5 * critic_side.item(), rel=1e-5)
    assert "penalty" not in parts
    assert parts["critic_gap"].item() == pytest.approx((real.mean() - fake.mean()).item())
    assert GAMES[kind].generator(fake).item() == pytest.approx(generator_side.item(), rel=1e-5)


def test_a_game_is_one_line(monkeypatch):
    monkeypatch.setitem(GAMES, "squares", Game(lambda fake: fake.square().mean(), lambda real, fake: real.mean()))
    assert Objective(adversarial="squares").penalty_weight == 0


def test_d_prime_is_the_distance_of_the_means_in_standard_deviations():
    real = torch.tensor([3.0, 5.0]).view(2, 1, 1, 1).expand(2, 1, 3, 3)  # mean 4, standard deviation 1
    fake = torch.tensor([-2.0, 4.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)  # mean 1, standard deviation 3
    assert d_prime(real, fake).item() == pytest.approx(3 / math.sqrt(5))
    assert d_prime(10 * real, 10 * fake).item() == pytest.approx(3 / math.sqrt(5)), "whatever the game's units"
