"""Metrics gathered over batches, and their intervals."""

import math

import numpy as np
import pytest
import torch

from modeling_chromagan.color import rgb8_to_lab
from modeling_chromagan.evaluation.auc import AucAccumulator
from modeling_chromagan.evaluation.bootstrap import interval
from modeling_chromagan.evaluation.color_metrics import ColorMetrics
from modeling_chromagan.evaluation.metrics import (
    colorfulness,
    psnr,
)
from modeling_chromagan.evaluation.protocols import PROTOCOLS


def test_color_metrics_gather_batches(noisy_pictures):
    prediction, truth = noisy_pictures
    metrics = ColorMetrics()
    metrics.update(prediction[:2], truth[:2])
    metrics.update(prediction[2:], truth[2:], rgb8_to_lab(truth[2:]))
    result = metrics.result()
    assert result["pictures"] == 5
    assert result["psnr_mean"] == pytest.approx(psnr(prediction, truth).mean().item())
    assert result["psnr_median"] == psnr(prediction, truth).sort().values[2].item()
    assert result["colorfulness"] == pytest.approx(colorfulness(prediction).mean().item())
    assert result["colorfulness_ratio"] == pytest.approx(colorfulness(prediction).mean() / colorfulness(truth).mean())
    auc = AucAccumulator()
    auc.update(rgb8_to_lab(prediction)[:, 1:], rgb8_to_lab(truth)[:, 1:])
    assert (result["auc"], result["rebalanced_auc"]) == pytest.approx(auc.result())


def test_both_readings_of_the_difference_in_colorfulness():
    truth = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    truth[0, 0] = 100  # one red, one black
    prediction = truth.flip(0)  # the other way round
    metrics = ColorMetrics()
    metrics.update(prediction, truth)
    result = metrics.result()
    of_red = colorfulness(truth)[0].item()
    assert result["colorfulness_difference_of_means"] == 0
    assert result["colorfulness_mean_difference"] == pytest.approx(of_red)
    assert result["colorfulness_ratio"] == 1  # of the means; picture by picture it would be infinite


def test_intervals_surround_the_figures_and_differences_are_paired():
    random = torch.Generator().manual_seed(1)
    truth = torch.randint(0, 256, (60, 3, 12, 12), generator=random).to(torch.uint8)
    noise = torch.randint(-40, 41, truth.shape, generator=random) * torch.rand(60, 1, 1, 1, generator=random)
    near = (truth + noise).clamp(0, 255).to(torch.uint8)
    far = (near // 2 + 64).to(torch.uint8)
    one, other = ColorMetrics(full=True), ColorMetrics(full=True)
    for batch in (slice(0, 32), slice(32, 60)):
        one.update(near[batch], truth[batch])
        other.update(far[batch], truth[batch])
    result, replicates = one.result(), one.replicates()
    assert set(replicates) == set(result) - {"pictures"}
    for name, values in replicates.items():
        low, high = interval(values)
        assert low <= result[name] <= high, name
    gain = interval(replicates["ssim"] - other.replicates()["ssim"])
    apart = np.subtract(interval(replicates["ssim"]), interval(other.replicates()["ssim"])[::-1])
    assert gain[1] - gain[0] < 0.9 * (apart[1] - apart[0])


def test_equal_pictures_score_full_marks(noisy_pictures):
    _, truth = noisy_pictures
    metrics = ColorMetrics()
    metrics.update(truth, truth)
    result = metrics.result()
    assert result["auc"] == result["rebalanced_auc"] == pytest.approx(100)
    assert result["colorfulness_ratio"] == 1
    assert result["psnr_mean"] == result["psnr_median"] == math.inf


def test_the_legacy_protocol_averages_within_batches(noisy_pictures):
    prediction, truth = noisy_pictures
    legacy = PROTOCOLS["legacy-tiny224"]
    metrics = ColorMetrics(legacy)
    metrics.update(prediction[:3], truth[:3])
    metrics.update(prediction[3:], truth[3:])
    values = psnr(prediction, truth, legacy.peak, legacy.least_mean_square).tolist()
    assert metrics.result()["psnr_mean"] == pytest.approx((np.mean(values[:3]) + np.mean(values[3:])) / 2)


def test_no_pictures_have_no_figures():
    with pytest.raises(ValueError, match="no pictures were added"):
        ColorMetrics().result()
