"""Intervals as wide as theory says."""

import math

import numpy as np
import pytest
import torch

from modeling_chromagan.evaluation.bootstrap import RESAMPLINGS, Bootstrap, interval


def test_bootstrap_intervals_are_as_wide_as_theory_says():
    random = np.random.default_rng(3)
    values = torch.from_numpy(random.normal(5, 2, (400, 1)))
    whole, in_parts = Bootstrap(), Bootstrap()
    whole.update(values)
    for part in values.split(7):
        in_parts.update(part)
    means = whole.means()[:, 0]
    assert np.allclose(means, in_parts.means()[:, 0], rtol=1e-12)
    low, high = interval(means)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 2 / math.sqrt(400), rel=0.15)
    low, high = interval(whole.medians(values[:, 0].numpy()))
    assert high - low == pytest.approx(2 * 1.96 * 2 / math.sqrt(400) * math.sqrt(math.pi / 2), rel=0.3)
    assert interval(np.full(RESAMPLINGS, math.inf)) is None
