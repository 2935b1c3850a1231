"""Squares of the ab plane: where they lie, and how often colors fall into them."""

import pytest
import torch

from modeling_chromagan.evaluation.ab_histogram import BINS_PER_AXIS, ab_histogram, ab_squares


def test_squares_are_centered_on_multiples_of_ten():
    ab = torch.tensor([[0.0, 4.9, -5.1, 500.0], [0.0, -4.9, 0.0, -500.0]]).view(1, 2, 1, 4)
    middle = BINS_PER_AXIS // 2
    gray = middle * BINS_PER_AXIS + middle
    assert ab_squares(ab).flatten().tolist() == [gray, gray, gray - BINS_PER_AXIS, (BINS_PER_AXIS - 1) * BINS_PER_AXIS]


def test_a_histogram_holds_shares():
    ab = torch.zeros(1, 2, 2, 2)
    ab[0, 0, 0, 0] = 50
    histogram = ab_histogram(ab)
    assert histogram.shape == (BINS_PER_AXIS**2,)
    assert sorted(histogram[histogram > 0].tolist()) == pytest.approx([0.25, 0.75])
