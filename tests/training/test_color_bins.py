"""Truth as a distribution over the squares of the ab plane, and how rare its colors are."""

import math

import pytest
import torch

from modeling_chromagan.color import ab_bins
from modeling_chromagan.training.color_bins import bin_rarity, bin_shares, bins_loss, soft_bins


def flat(a: float, b: float, size: int = 8) -> torch.Tensor:
    return torch.tensor([a, b]).view(1, 2, 1, 1).expand(1, 2, size, size)


def square(a: int, b: int) -> int:
    (place,) = (ab_bins() == torch.tensor([a, b])).all(dim=1).nonzero().flatten().tolist()
    return place


def test_a_color_is_shared_out_among_its_neighbors_by_a_gaussian():
    nearest, shares = soft_bins(flat(3, 0))
    assert nearest.shape == shares.shape == (1, 2, 2, 5)
    assert nearest[0, 0, 0, 0] == square(0, 0)
    # Squares at distances 3, 7, sqrt(109) twice, and 13: of the center, then right, above, below, left.
    weights = [math.exp(-distance / 50) for distance in (9, 49, 109, 109, 149)]
    for place, weight in zip([(0, 0), (10, 0), (0, 10), (0, -10)], weights, strict=False):
        share = shares[nearest == square(*place)]
        torch.testing.assert_close(share, torch.full((4,), weight / sum(weights)), atol=1e-4, rtol=1e-2)
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(1, 2, 2))


def test_places_are_averages_of_four_by_four_pixels_and_the_last_ones_of_what_is_left():
    ab = torch.zeros(1, 2, 5, 8)
    ab[:, 0, :4, :4] = torch.tensor([0.0, 40.0]).repeat(2)  # averages 20
    ab[:, 0, 4] = 50
    nearest, _ = soft_bins(ab)
    assert nearest.shape[:3] == (1, 2, 2)
    assert nearest[0, :, :, 0].tolist() == [[square(20, 0), square(0, 0)], [square(50, 0), square(50, 0)]]


def test_colors_out_of_reach_are_counted_with_the_nearest():
    nearest, shares = soft_bins(flat(-300, 300))
    assert shares.isfinite().all()
    assert (nearest < len(ab_bins())).all()


def test_loss_is_the_weighted_cross_entropy():
    torch.manual_seed(0)
    ab = 30 * torch.randn(2, 2, 8, 12)
    logits = torch.randn(2, len(ab_bins()), 2, 3, requires_grad=True)
    rarity = torch.rand(len(ab_bins()))
    nearest, shares = soft_bins(ab)
    by_hand = 0.0
    for i in range(2):
        for y in range(2):
            for x in range(3):
                logarithms = logits[i, :, y, x].log_softmax(dim=0)
                entropy = -sum(shares[i, y, x, k] * logarithms[nearest[i, y, x, k]] for k in range(5))
                by_hand += (rarity[nearest[i, y, x, 0]] * entropy).item() / 12
    loss = bins_loss(logits, ab, rarity)
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)
    loss.backward()
    assert (logits.grad.abs().sum(dim=1) > 0).all()


def test_rare_squares_weigh_more_up_to_the_cap_and_the_mean_over_the_data_is_one():
    ab = torch.zeros(1, 2, 40, 40)
    ab[:, 0, :4, :8] = 60  # two places in a hundred
    shares = bin_shares(ab)
    assert shares.sum().item() == pytest.approx(1)
    assert shares[square(0, 0)] > shares[square(60, 0)] > 0
    free = bin_rarity(shares, 0.5, math.inf)
    assert (shares * free).sum().item() == pytest.approx(1)
    mixed = 0.5 * shares + 0.5 / len(shares)
    expected = mixed[square(0, 0)] / mixed[square(60, 0)]
    assert (free[square(60, 0)] / free[square(0, 0)]).item() == pytest.approx(expected.item(), rel=1e-4)
    assert bin_rarity(shares, 0.5, 6.0).max().item() == pytest.approx(6)
    torch.testing.assert_close(bin_rarity(shares, 1.0, 6.0), torch.ones(len(shares)))
