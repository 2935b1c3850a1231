"""The measures against scikit-image, against formulas written out by hand, and against a brute-force curve."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from modeling_chromagan.color import rgb8_to_lab
from modeling_chromagan.evaluation.auc import AucAccumulator
from modeling_chromagan.evaluation.bootstrap import RESAMPLINGS, Bootstrap, interval
from modeling_chromagan.evaluation.color_metrics import ColorMetrics
from modeling_chromagan.evaluation.metrics import (
    ciede2000,
    colorfulness,
    psnr,
    ssim,
)
from modeling_chromagan.evaluation.protocols import PROTOCOLS


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Five noisy predictions and their truths, (5, 3, 12, 17), of all brightnesses."""
    random = torch.Generator().manual_seed(5)
    truth = torch.randint(0, 256, (5, 3, 12, 17), generator=random)
    noise = torch.randint(-60, 61, truth.shape, generator=random) * torch.tensor([0.02, 0.1, 0.5, 1, 4]).view(
        5, 1, 1, 1
    )
    return (truth + noise.int()).clamp(0, 255).to(torch.uint8), truth.to(torch.uint8)


def test_psnr_is_scikit_images_for_every_picture(pictures):
    prediction, truth = pictures
    expected = [peak_signal_noise_ratio(t.numpy(), p.numpy()) for p, t in zip(prediction, truth, strict=True)]
    assert psnr(prediction, truth).tolist() == pytest.approx(expected, rel=1e-12)


def test_psnr_is_infinite_for_equal_pictures_and_zero_for_the_worst():
    black = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    assert psnr(black, black).item() == math.inf
    assert psnr(black, black + 255).item() == 0


def test_legacy_psnr_is_the_formula_by_hand(pictures):
    prediction, truth = pictures
    truth = truth.clone()
    truth[3] //= 2  # a dark picture, whose peak is 127
    prediction = prediction.clone()
    prediction[4] = truth[4]  # an exact one
    p, t = prediction.double() / 255, truth.double() / 255
    by_hand = [
        10 * math.log10(t[i].max() ** 2 / ((p[i] - t[i]).square().mean().item() or 1e-10)) for i in range(len(t))
    ]
    assert by_hand[3] < 10
    assert by_hand[4] == pytest.approx(100, abs=0.1)
    legacy = PROTOCOLS["legacy-tiny224"]
    measured = psnr(prediction, truth, legacy.peak, legacy.least_mean_square)
    assert measured.tolist() == pytest.approx(by_hand, rel=1e-9)

    metrics = ColorMetrics(legacy)
    metrics.update(prediction[:3], truth[:3])
    metrics.update(prediction[3:], truth[3:])
    assert metrics.result()["psnr_mean"] == pytest.approx((np.mean(by_hand[:3]) + np.mean(by_hand[3:])) / 2)


def test_ssim_is_that_of_single_channels_and_falls_with_noise(pictures):
    prediction, truth = pictures
    prediction, truth = prediction.repeat(1, 1, 2, 2), truth.repeat(1, 1, 2, 2)
    values = ssim(prediction, truth)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    by_channel = [
        np.mean([structural_similarity(t, p, **settings) for t, p in zip(t3, p3, strict=True)])
        for t3, p3 in zip(truth.numpy(), prediction.numpy(), strict=True)
    ]
    assert values.tolist() == pytest.approx(by_channel, rel=1e-9)
    assert ssim(truth, truth).tolist() == [1] * 5
    assert values[0] > values[2] > values[4]


def test_ciede2000_is_scikit_images_however_tall_the_picture(monkeypatch, pictures):
    monkeypatch.setattr("modeling_chromagan.evaluation.metrics.CIEDE2000_ROWS", 5)  # of 12
    prediction, truth = pictures
    expected = [
        deltaE_ciede2000(*(rgb2lab(picture.permute(1, 2, 0).numpy()) for picture in pair)).mean()
        for pair in zip(truth, prediction, strict=True)
    ]
    assert ciede2000(rgb8_to_lab(prediction), rgb8_to_lab(truth)).tolist() == pytest.approx(expected, rel=1e-3)


def colorfulness_by_hand(rgb: np.ndarray) -> float:
    red, green, blue = (channel.astype(float).ravel() for channel in rgb)
    rg, yb = red - green, (red + green) / 2 - blue
    return math.hypot(np.std(rg), np.std(yb)) + 0.3 * math.hypot(np.mean(rg), np.mean(yb))


def test_colorfulness_is_the_published_formula(pictures):
    _, truth = pictures
    expected = [colorfulness_by_hand(picture.numpy()) for picture in truth]
    assert colorfulness(truth).tolist() == pytest.approx(expected, rel=1e-12)


def test_colorfulness_of_plain_pictures():
    gray = torch.full((1, 3, 8, 8), 90, dtype=torch.uint8)
    assert colorfulness(gray).item() == 0
    red = gray.clone()
    red[:, 0] = 190  # rg = 100, yb = 50 everywhere
    assert colorfulness(red).item() == pytest.approx(0.3 * math.hypot(100, 50))


def auc_by_brute_force(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    errors = np.linalg.norm(prediction - truth, axis=1).ravel()
    bins = [tuple(pair) for pair in np.rint(truth / 10).astype(int).transpose(0, 2, 3, 1).reshape(-1, 2).tolist()]
    occurrences = Counter(bins)
    weights = np.array([len(bins) / occurrences[pair] for pair in bins])
    within = [errors <= threshold for threshold in range(151)]
    plain = np.mean([share.mean() for share in within])
    rebalanced = np.mean([(weights * share).sum() / weights.sum() for share in within])
    return 100 * plain, 100 * rebalanced


def test_auc_is_the_brute_force_curve_however_the_pixels_are_batched():
    random = np.random.default_rng(8)
    truth = random.normal(0, 25, (6, 2, 9, 11)).clip(-105, 95)
    prediction = truth + random.normal(0, 60, truth.shape)  # some errors are beyond 150
    prediction[0] = truth[0]  # and some are none
    expected = auc_by_brute_force(prediction, truth)
    for batch_size in (1, 4, 6):
        accumulator = AucAccumulator()
        for start in range(0, 6, batch_size):
            batch = slice(start, start + batch_size)
            accumulator.update(torch.from_numpy(prediction[batch]), torch.from_numpy(truth[batch]))
        assert accumulator.result() == pytest.approx(expected, rel=1e-12)


def test_rebalancing_does_not_reward_gray():
    # 99 pixels are gray, one is red; the answer "gray everywhere" is right for 99 % of the pixels, half of the bins.
    truth = torch.zeros(1, 2, 10, 10)
    truth[0, 0, 0, 0] = 75.5
    accumulator = AucAccumulator()
    accumulator.update(torch.zeros_like(truth), truth)
    plain, rebalanced = accumulator.result()
    red = 75 / 151  # thresholds 76 to 150 of 0 to 150
    assert plain == pytest.approx(100 * (0.99 + 0.01 * red))
    assert rebalanced == pytest.approx(100 * (1 + red) / 2)


def test_color_metrics_gather_batches(pictures):
    prediction, truth = pictures
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


def test_equal_pictures_score_full_marks(pictures):
    _, truth = pictures
    metrics = ColorMetrics()
    metrics.update(truth, truth)
    result = metrics.result()
    assert result["auc"] == result["rebalanced_auc"] == pytest.approx(100)
    assert result["colorfulness_ratio"] == 1
    assert result["psnr_mean"] == result["psnr_median"] == math.inf


def test_wrong_input_is_refused():
    picture = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"\(1, 3, 4, 4\) torch.float32.*accepted: uint8"):
        psnr(picture.float(), picture)
    with pytest.raises(ValueError, match="accepted: uint8 of one shape"):
        psnr(picture[:, :, :3], picture)
    with pytest.raises(ValueError, match=r"rgb has shape \(1, 1, 4, 4\)"):
        colorfulness(picture[:, :1])
    with pytest.raises(ValueError, match=r"accepted: \(B, 2, H, W\) twice"):
        AucAccumulator().update(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 5))
    with pytest.raises(ValueError, match="no pictures were added"):
        ColorMetrics().result()
    with pytest.raises(ValueError, match="no pixels were added"):
        AucAccumulator().result()
