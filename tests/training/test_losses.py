"""The formulas of the terms by hand."""

import math

import pytest
import torch

from modeling_chromagan.evaluation.ab_histogram import BINS_PER_AXIS, ab_histogram, ab_squares
from modeling_chromagan.training.losses import (
    chroma_weights,
    class_distribution_loss,
    label_loss,
    rebalancing_weights,
)


def test_class_loss_is_the_divergence_of_two_distributions():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])
    teacher = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    student = logits.softmax(dim=1)
    by_hand = sum(
        float(teacher[i, k]) * math.log(float(teacher[i, k]) / float(student[i, k]))
        for i in range(2)
        for k in range(3)
    )
    assert class_distribution_loss(logits, teacher).item() == pytest.approx(by_hand / 2, rel=1e-5)
    # Zero where both agree, which neither raw logits nor probabilities in the place of logarithms give.
    assert class_distribution_loss(teacher.log() + 5, teacher).item() == pytest.approx(0, abs=1e-6)


def test_class_loss_pulls_towards_the_teacher():
    logits = torch.zeros(1, 3, requires_grad=True)
    teacher = torch.tensor([[0.7, 0.2, 0.1]])
    class_distribution_loss(logits, teacher).backward()
    # Down the gradient: the student's probabilities, a third each, go to the teacher's.
    torch.testing.assert_close(-logits.grad, teacher - 1 / 3)


def test_label_loss_is_smoothed_by_a_tenth():
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    logarithms = logits.log_softmax(dim=1)[0]
    by_hand = -(0.9 * logarithms[0] + 0.1 * logarithms.mean())
    assert label_loss(logits, torch.tensor([0])).item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_unlabeled_pictures_add_no_class_loss():
    logits = torch.randn(4, 5)
    labels = torch.tensor([1, -1, 3, -1])
    expected = label_loss(logits[[0, 2]], labels[[0, 2]])
    assert label_loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)
    assert label_loss(logits, torch.full((4,), -1)).item() == 0


def test_emphasis_weighs_saturated_pixels_more_and_keeps_the_mean():
    ab = torch.zeros(1, 2, 2, 2)
    ab[:, 0, 0] = 60
    weights = chroma_weights(ab, 1.5)
    assert weights.mean().item() == pytest.approx(1)
    assert (weights[0, 0, 0, 0] / weights[0, 0, 1, 0]).item() == pytest.approx(1.9)
    squared = chroma_weights(ab, 25, power=2)
    assert (squared[0, 0, 0, 0] / squared[0, 0, 1, 0]).item() == pytest.approx(1 + 25 * 0.6**2)
    assert torch.equal(chroma_weights(ab, 0), torch.ones(1, 1, 2, 2))


def test_rebalancing_weights_are_of_a_gaussian_of_five_lab_units():
    """All pixels in one square: what its neighbors weigh shows the kernel, whose steps are 10 Lab units."""
    ab = torch.zeros(1, 2, 4, 4)
    weights = rebalancing_weights(ab_histogram(ab), 0.5).double().view(BINS_PER_AXIS, BINS_PER_AXIS)
    bell = [math.exp(-((10 * k) ** 2) / (2 * 5**2)) for k in range(-3, 4)]
    middle = BINS_PER_AXIS // 2
    for row, column in ((0, 0), (0, 1), (1, 1), (2, 0), (3, 3), (5, 0)):
        share = [bell[3 + k] / sum(bell) if k <= 3 else 0 for k in (row, column)]
        unscaled = 1 / (0.5 * share[0] * share[1] + 0.5)
        own = 1 / (0.5 * (bell[3] / sum(bell)) ** 2 + 0.5)  # the weight that the data has, scaled to 1
        assert weights[middle + row, middle + column].item() == pytest.approx(unscaled / own, rel=1e-6)


def test_rare_colors_weigh_more_and_the_mean_over_the_data_stays():
    ab = torch.zeros(1, 2, 10, 10)
    ab[:, 0, 0, :5] = 60  # five red pixels among ninety-five gray ones, squares that the kernel does not mix
    by_pixel = rebalancing_weights(ab_histogram(ab), 0.5)[ab_squares(ab)]
    assert by_pixel.mean().item() == pytest.approx(1, rel=1e-5)
    # Two squares occur; what is left in them by the kernel, mixed with an even half.
    bell = [math.exp(-((10 * k) ** 2) / (2 * 5**2)) for k in range(-3, 4)]
    kept = (bell[3] / sum(bell)) ** 2
    expected = (0.5 * 0.95 * kept + 0.25) / (0.5 * 0.05 * kept + 0.25)
    assert (by_pixel[0, 0, 0] / by_pixel[0, 5, 5]).item() == pytest.approx(expected, rel=1e-5)
    even = rebalancing_weights(ab_histogram(ab), 1.0)[ab_squares(ab)]
    torch.testing.assert_close(even, torch.ones(1, 10, 10))
