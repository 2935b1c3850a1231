"""Areas under the curve of ab errors against brute force."""

from collections import Counter

import numpy as np
import pytest
import torch

from modeling_chromagan.evaluation.auc import AucAccumulator


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


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"accepted: \(B, 2, H, W\) twice"):
        AucAccumulator().update(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 5))
    with pytest.raises(ValueError, match="no pixels were added"):
        AucAccumulator().result()
