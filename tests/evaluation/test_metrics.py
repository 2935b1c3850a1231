"""The metrics against scikit-image, and against formulas written out by hand."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from small_evaluation import as_batch, evaluate_data, photograph

from modeling_chromagan import ChromaGANGenerator
from modeling_chromagan.color import rgb8_to_lab
from modeling_chromagan.evaluation.measurement import evaluate_model
from modeling_chromagan.evaluation.metrics import (
    METRICS,
    Metric,
    ciede2000,
    colorfulness,
    psnr,
    ssim,
)
from modeling_chromagan.evaluation.protocols import PROTOCOLS


def test_psnr_is_scikit_images_for_every_picture(noisy_pictures):
    prediction, truth = noisy_pictures
    expected = [peak_signal_noise_ratio(t.numpy(), p.numpy()) for p, t in zip(prediction, truth, strict=True)]
    assert psnr(prediction, truth).tolist() == pytest.approx(expected, rel=1e-12)


def test_psnr_is_infinite_for_equal_pictures_and_zero_for_the_worst():
    black = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    assert psnr(black, black).item() == math.inf
    assert psnr(black, black + 255).item() == 0


def test_legacy_psnr_is_the_formula_by_hand(noisy_pictures):
    prediction, truth = noisy_pictures
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


def test_ssim_is_that_of_single_channels_and_falls_with_noise(noisy_pictures):
    prediction, truth = noisy_pictures
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


def test_ciede2000_is_scikit_images_however_tall_the_picture(monkeypatch, noisy_pictures):
    monkeypatch.setattr("modeling_chromagan.evaluation.metrics.CIEDE2000_ROWS", 5)  # of 12
    prediction, truth = noisy_pictures
    expected = [
        deltaE_ciede2000(*(rgb2lab(picture.permute(1, 2, 0).numpy()) for picture in pair)).mean()
        for pair in zip(truth, prediction, strict=True)
    ]
    assert ciede2000(rgb8_to_lab(prediction), rgb8_to_lab(truth)).tolist() == pytest.approx(expected, rel=1e-3)


def colorfulness_by_hand(rgb: np.ndarray) -> float:
    red, green, blue = (channel.astype(float).ravel() for channel in rgb)
    rg, yb = red - green, (red + green) / 2 - blue
    return math.hypot(np.std(rg), np.std(yb)) + 0.3 * math.hypot(np.mean(rg), np.mean(yb))


def test_colorfulness_is_the_published_formula(noisy_pictures):
    _, truth = noisy_pictures
    expected = [colorfulness_by_hand(picture.numpy()) for picture in truth]
    assert colorfulness(truth).tolist() == pytest.approx(expected, rel=1e-12)


def test_colorfulness_of_plain_pictures():
    gray = torch.full((1, 3, 8, 8), 90, dtype=torch.uint8)
    assert colorfulness(gray).item() == 0
    red = gray.clone()
    red[:, 0] = 190  # rg = 100, yb = 50 everywhere
    assert colorfulness(red).item() == pytest.approx(0.3 * math.hypot(100, 50))


def test_wrong_input_is_refused():
    picture = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"\(1, 3, 4, 4\) torch.float32.*accepted: uint8"):
        psnr(picture.float(), picture)
    with pytest.raises(ValueError, match="accepted: uint8 of one shape"):
        psnr(picture[:, :, :3], picture)
    with pytest.raises(ValueError, match=r"rgb has shape \(1, 1, 4, 4\)"):
        colorfulness(picture[:, :1])


def test_a_metric_is_one_function_and_one_line(small_model, small_data, tmp_path, capsys, monkeypatch):
    def redness(pictures):
        return pictures.prediction[:, 0].double().mean((1, 2))

    monkeypatch.setitem(METRICS, "redness", Metric("mean red", 1, redness, gain=True))
    printed = evaluate_data(capsys, "--model", small_model, "--data", small_data, "-o", tmp_path)
    grey, model = json.loads((tmp_path / "results.json").read_text())["rows"]
    low, high = model["intervals"]["redness"]
    assert low < model["figures"]["redness"] < high
    assert model["gain"]["redness"] == model["figures"]["redness"] - grey["figures"]["redness"]
    assert "redness" in model["gain_intervals"]
    figures, _, gains = (table.splitlines() for table in printed.split("\n\n")[1:6:2])
    for heading, _, *_, row in (figures, gains):
        assert heading.endswith("| mean red |")
        assert not row.endswith("| - |")
    with (tmp_path / f"{small_model.name}.csv").open() as file:
        of_pictures = [float(line["redness"]) for line in csv.DictReader(file)]
    assert np.mean(of_pictures) == pytest.approx(model["figures"]["redness"])
    generator = ChromaGANGenerator.from_pretrained(small_model)
    assert "redness" in evaluate_model(generator, [as_batch([photograph(0)])])["gain"]  # a training shows it, too
