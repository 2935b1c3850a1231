"""The measures against scikit-image, against formulas written out by hand, and against a brute-force curve."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from modeling_chromagan.training.metrics import AucAccumulator, ColorMetrics, colorfulness, lab_from_rgb8, psnr


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
    metrics.update(prediction[2:], truth[2:], lab_from_rgb8(truth[2:])[:, 1:])
    result = metrics.result()
    assert result["pictures"] == 5
    assert result["psnr_mean"] == pytest.approx(psnr(prediction, truth).mean().item())
    assert result["psnr_median"] == psnr(prediction, truth).sort().values[2].item()
    assert result["colorfulness"] == pytest.approx(colorfulness(prediction).mean().item())
    assert result["colorfulness_ratio"] == pytest.approx(colorfulness(prediction).mean() / colorfulness(truth).mean())
    auc = AucAccumulator()
    auc.update(lab_from_rgb8(prediction)[:, 1:], lab_from_rgb8(truth)[:, 1:])
    assert (result["auc"], result["rebalanced_auc"]) == pytest.approx(auc.result())


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
