"""What a classifier recognizes in pictures: its input, its percentages, the distance of its features."""

import csv
import importlib.metadata
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.linalg import sqrtm
from small_evaluation import as_batch, evaluate_data, photograph

from modeling_chromagan import ChromaGANGenerator
from modeling_chromagan.color import rgb8_to_lab
from modeling_chromagan.errors import SettingError
from modeling_chromagan.evaluation.bootstrap import interval
from modeling_chromagan.evaluation.colorizers import colorize
from modeling_chromagan.evaluation.pictures import open_source, read_pictures
from modeling_chromagan.evaluation.protocols import PROTOCOLS
from modeling_chromagan.evaluation.recognition import (
    FeatureStatistics,
    RecognitionMetrics,
    Recognized,
    Recognizer,
    fit_classifier,
    frechet_distance,
    load_recognizer,
)
from modeling_chromagan.sources.weight_packages import LITE2_PACKAGE
from modeling_chromagan.trunk_efficientnet_lite import EfficientNetLiteClassifier, normalize_picture


def covariance(seed: int, rank: int, width: int = 6) -> torch.Tensor:
    samples = torch.randn(width, rank, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return samples @ samples.T


def trace_term(one: np.ndarray, two: np.ndarray) -> float:
    return np.trace(one + two - 2 * sqrtm(one @ two).real)


def test_the_distance_of_gaussians_whose_axes_agree_is_known():
    mean = torch.zeros(2, dtype=torch.float64)
    one, two = torch.diag(torch.tensor([4.0, 9.0])).double(), torch.diag(torch.tensor([1.0, 25.0])).double()
    assert frechet_distance(mean, one, mean + 3, two) == pytest.approx(2 * 3**2 + (2 - 1) ** 2 + (3 - 5) ** 2)
    assert frechet_distance(mean, one, mean, one) == pytest.approx(0, abs=1e-6)


def test_the_distance_of_any_gaussians_is_that_of_a_general_matrix_root():
    means = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    one, two = covariance(2, rank=6), covariance(3, rank=6)
    apart = (means[0] - means[1]).square().sum().item()
    expected = apart + trace_term(one.numpy(), two.numpy())
    assert frechet_distance(means[0], one, means[1], two) == pytest.approx(expected, rel=1e-9)


def test_the_distance_survives_covariances_that_are_not_of_full_rank():
    mean = torch.zeros(6, dtype=torch.float64)
    one, two = covariance(4, rank=2), covariance(5, rank=3)
    # The limit from full rank, where the general root can be trusted.
    expected = trace_term(*(matrix.numpy() + 1e-10 * np.eye(6) for matrix in (one, two)))
    assert frechet_distance(mean, one, mean, two) == pytest.approx(expected, abs=1e-3)
    assert frechet_distance(mean, one, mean, one) == pytest.approx(0, abs=1e-6)


def test_statistics_do_not_depend_on_the_batches():
    features = torch.rand(600, 8, generator=torch.Generator().manual_seed(0)) * 3 + 5
    for size in (1, 250, 600):
        statistics = FeatureStatistics()
        for part in features.split(size):
            statistics.update(part)
        mean, matrix = statistics.mean_and_covariance()
        assert mean.numpy() == pytest.approx(features.double().mean(0).numpy(), rel=1e-12)
        assert matrix.numpy() == pytest.approx(np.cov(features.double().numpy(), rowvar=False), rel=1e-9)


@pytest.mark.parametrize(
    ("size", "seen"),
    [((64, 64), (224, 224)), ((300, 400), (224, 288)), ((800, 600), (288, 224)), ((16, 5000), (224, 448))],
)
def test_the_classifier_sees_the_middle_of_a_picture(size, seen):
    height, width = size
    rows = torch.linspace(0, 255, height)[:, None].expand(size)
    columns = torch.linspace(0, 255, width).expand(size)
    fitted = fit_classifier(torch.stack((rows, columns, torch.full(size, 80.0))).round().byte())
    assert fitted.shape == (3, *seen)
    assert fitted.dtype == torch.uint8
    assert fitted[0].float().mean().item() == pytest.approx(127.5, abs=2)
    assert fitted[1].float().mean().item() == pytest.approx(127.5, abs=2)
    # What is cut off: along the long side only, and as much as the shape says.
    shares = [seen[axis] / 224 * min(size) / size[axis] for axis in (0, 1)]
    for channel, axis in ((0, 0), (1, 1)):
        line = fitted[channel].float().mean(1 - axis)
        assert (line[-1] - line[0]).item() == pytest.approx(255 * shares[axis], abs=12)


def test_recognizing_is_the_classifier_on_normalized_pictures():
    torch.manual_seed(0)
    classifier = EfficientNetLiteClassifier("lite0", 1000).eval()
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    pictures = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)  # of a size that stays as it is
    with torch.no_grad():
        picture = normalize_picture(pictures / 255)
        logits, features = classifier(picture), classifier.features(picture)
    seen = Recognizer(classifier).recognize(pictures)
    torch.testing.assert_close(seen.features, features, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(seen.logits, logits, rtol=1e-3, atol=1e-4)


def answers(*classes: int) -> Recognized:
    return Recognized(torch.eye(1000)[list(classes)], torch.rand(len(classes), 5))


def test_agreement_and_top1_are_counted():
    metrics, of_truth = RecognitionMetrics(torch.tensor([1, 25, 30])), RecognitionMetrics()
    in_truth, seen = answers(1, 25, 30, 700), answers(1, 700, 30, 700)
    labels = torch.tensor([0, 1, 1, -1])
    of_truth.update(in_truth, in_truth, None)
    values = metrics.update(seen, in_truth, labels)
    # The second picture shows none of the three classes: the first of equal answers among them is taken, a wrong one.
    assert values == {"lite2_agrees": [1, 0, 1, 1], "lite2_label_is_right": [1, 0, 0, ""]}
    result = metrics.result(of_truth)
    assert result["lite2_agreement"] == 75
    assert result["lite2_top1"] == pytest.approx(100 / 3)
    replicates = metrics.replicates()
    assert replicates.keys() == {"lite2_agreement", "lite2_top1"}
    low, high = interval(replicates["lite2_agreement"])
    assert low < 75 < high <= 100
    assert of_truth.result(of_truth).keys() == {"lite2_agreement", "fd_lite2"}
    assert of_truth.result(of_truth)["fd_lite2"] == pytest.approx(0, abs=1e-4)


def test_one_picture_has_no_covariance():
    metrics = RecognitionMetrics()
    metrics.update(answers(3), answers(4), torch.tensor([-1]))
    assert metrics.result(metrics) == {"lite2_agreement": 0}


def test_only_lite2_is_called_so(tmp_path):
    weights = EfficientNetLiteClassifier("lite0", 1000).state_dict()
    save_file(
        {name.removeprefix("trunk."): tensor for name, tensor in weights.items()}, tmp_path / "model.safetensors"
    )
    with pytest.raises(SettingError, match=r"--classifier: .* is lite0 with 1,000 classes; accepted: lite2"):
        load_recognizer(str(tmp_path))
    with pytest.raises(SettingError, match=r"--classifier: .*model\.safetensors"):
        load_recognizer(str(tmp_path / "none"))


class ChannelRecognizer:
    """Recognizes goldfish where red is the brightest channel, else salamanders; its features are the mean channels."""

    def recognize(self, rgb: torch.Tensor) -> Recognized:
        means = rgb.double().flatten(2).mean(2)  # (B, 3)
        logits = torch.zeros(len(rgb), 1000)
        logits[:, 999] = 100  # what is none of the data set's classes is not chosen for top-1
        logits[:, 1] = means[:, 0] - means[:, 1:].amax(1)
        return Recognized(logits, means)


def test_command_shows_what_a_classifier_recognizes(small_model, small_data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "modeling_chromagan.evaluation.recognition.load_recognizer", lambda where, device: ChannelRecognizer()
    )
    arguments = ["--model", small_model, "--data", small_data, "--saturation", "0", "1", "--classifier", "any"]
    printed = evaluate_data(capsys, *arguments, "-o", tmp_path)
    written = json.loads((tmp_path / "results.json").read_text())
    grey, desaturated, model = (row["figures"] for row in written["rows"])

    numbers, labels = (0, 1, 3, 5), torch.tensor([0, 1, 0, 2])
    truth = as_batch([photograph(number) for number in numbers])["rgb"]
    red = truth.double().flatten(2).mean(2).argmax(1) == 0
    right = torch.where(red, 0, 1) == labels
    assert written["truth"]["figures"]["lite2_top1"] == 100 * right.double().mean()
    assert f"Its top-1 on the photographs themselves: {100 * right.double().mean():.1f} % (" in printed
    assert grey["lite2_top1"] == desaturated["lite2_top1"] == 25  # without a brightest channel: salamanders
    assert grey["lite2_agreement"] == 100  # of all classes it takes another, the same for all

    lab = rgb8_to_lab(truth)
    colored, _ = colorize(ChromaGANGenerator.from_pretrained(small_model).eval(), lab[:, :1])
    means = [pictures.double().flatten(2).mean(2).numpy() for pictures in (truth, colored)]
    one, two = (np.cov(of, rowvar=False) for of in means)
    expected = np.square(means[0].mean(0) - means[1].mean(0)).sum() + np.trace(one + two - 2 * sqrtm(one @ two).real)
    assert model["fd_lite2"] == pytest.approx(expected, rel=1e-4)
    assert "fd_lite2" not in written["rows"][2]["intervals"]
    low, high = written["rows"][2]["gain_intervals"]["lite2_top1"]
    assert low <= written["rows"][2]["gain"]["lite2_top1"] == model["lite2_top1"] - grey["lite2_top1"] <= high

    heading, *_, row = printed.split("color at each saturation")[1].split("\n\n")[1].splitlines()
    assert heading.endswith("| Lite2 top-1 (%) | Lite2 agreement (%) | FD-Lite2 |")
    assert row.endswith(f"| {model['lite2_top1']:.1f} | {model['lite2_agreement']:.1f} | {model['fd_lite2']:.2f} |")
    assert "here they are 4, too few for covariances of full rank" in printed
    with (tmp_path / f"{small_model.name} x 1.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert np.mean([int(line["lite2_label_is_right"]) for line in lines]) == model["lite2_top1"] / 100
    assert np.mean([int(line["lite2_agrees"]) for line in lines]) == model["lite2_agreement"] / 100


@pytest.mark.slow
def test_lite2_recognizes_photographs_better_in_color_than_in_gray(data_root):
    try:
        importlib.metadata.version(LITE2_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{LITE2_PACKAGE} is not installed")
    with (data_root / "imagenet1k_classes.csv").open(encoding="utf-8", newline="") as file:
        label_of = {row["wnid"]: int(row["label"]) for row in csv.DictReader(file)}
    recognizer = load_recognizer(LITE2_PACKAGE)
    right, right_in_gray = [], []
    for picture in read_pictures(open_source(str(data_root / "photos" / "imagenet"), "valid"), PROTOCOLS["native"]):
        label = label_of[picture.name.partition("_")[0]]
        gray = Image.fromarray(picture.rgb.permute(1, 2, 0).numpy()).convert("L").convert("RGB")
        gray = torch.from_numpy(np.array(gray)).permute(2, 0, 1)
        for pictures, answers_right in ((picture.rgb, right), (gray, right_in_gray)):
            answers_right.append(recognizer.recognize(pictures[None]).logits.argmax().item() == label)
    assert np.mean(right) > 0.85
    assert np.mean(right_in_gray) < np.mean(right)
