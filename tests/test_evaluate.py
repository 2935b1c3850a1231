"""The evaluation command and its pieces on small data sets written for the purpose."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from modeling_chromagan import ChromaGANConfig, ChromaGANGenerator
from modeling_chromagan.color import encode_ab, rgb_to_lab
from modeling_chromagan.modeling_chromagan import ColorizationOutput
from modeling_chromagan.training import evaluate
from modeling_chromagan.training.metrics import ColorMetrics, lab_from_rgb8

CLASS_NAMES = ["n01443537", "n01629819", "n01641577"]  # goldfish, salamander, bullfrog: 1, 25 and 30 in ImageNet-1k


def tiny_config(**options) -> ChromaGANConfig:
    return ChromaGANConfig(
        **{
            "image_size": 32,
            "width_multiplier": 1 / 64,
            "global_hidden_sizes": [4],
            "class_hidden_sizes": [4],
            "trunk_batch_norm": True,
            "id2label": dict(enumerate(CLASS_NAMES)),
            **options,
        }
    )


def photograph(seed: int, size: int = 32) -> Image.Image:
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
    generator = PromptedGenerator(tiny_config(encoding=encoding)).prompt(torch.zeros(4, 2, 32, 32))
    result = evaluate.evaluate_model(generator, [batch])
    # unit8 stores 0 as 128/255, which comes back as some 1e-6: nothing that 8 bits or a whole threshold would show.
    assert result["model"] == pytest.approx(result["grey"], rel=1e-3, abs=0.05)
    assert result["grey"]["colorfulness_ratio"] == pytest.approx(0, abs=1e-3)
    assert result["grey"]["psnr_mean"] < 25
    assert result["gain"]["psnr_mean"] == result["model"]["psnr_mean"] - result["grey"]["psnr_mean"]


@pytest.mark.parametrize("encoding", ["unit8", "symmetric"])
def test_the_true_chroma_is_the_photograph(encoding):
    batch = as_batch([photograph(seed) for seed in range(4)])
    truth = lab_from_rgb8(batch["rgb"])
    generator = PromptedGenerator(tiny_config(encoding=encoding)).prompt(truth[:, 1:])
    result = evaluate.evaluate_model(generator, [batch])
    assert result["model"]["psnr_mean"] > 50  # what is left is rounding
    assert result["model"]["colorfulness_ratio"] == pytest.approx(1, abs=0.01)
    assert result["model"]["rebalanced_auc"] > 99


def test_impossible_chroma_loses_chroma_not_lightness():
    batch = as_batch([photograph(seed) for seed in range(2)])
    generator = PromptedGenerator(tiny_config()).prompt(torch.full((2, 2, 32, 32), 100.0))
    lightness = lab_from_rgb8(batch["rgb"])[:, :1]
    rgb, _ = evaluate.colorize(generator, lightness)
    assert rgb.dtype == torch.uint8
    assert (rgb_to_lab(rgb / 255)[:, :1] - lightness).abs().max() < 1


def test_gray_pictures_are_counted_but_not_measured():
    pictures = [photograph(seed) for seed in range(4)]
    pictures[1] = pictures[1].convert("L")
    batch = as_batch(pictures, label=torch.tensor([0, 1, 2, -1]))
    logits = torch.eye(3)[[0, 0, 0]]
    generator = PromptedGenerator(tiny_config()).prompt(torch.zeros(3, 2, 32, 32), logits)
    result = evaluate.evaluate_model(generator, [batch], label_mapping=torch.arange(3))
    assert result["counts"] == {"pictures": 3, "pictures_seen": 4}
    assert result["classes"] == {"top1": 50, "pictures": 2}  # labels 0 and 2; 1 is gray, -1 is none
    expected = ColorMetrics()
    color = batch["rgb"][[0, 2, 3]]
    expected.update(color, color)
    assert result["model"]["colorfulness_truth"] == pytest.approx(expected.result()["colorfulness"])
    with pytest.raises(evaluate.EvaluationError, match="none of 1 pictures has a colorfulness of 12 or more"):
        evaluate.evaluate_model(generator, [as_batch(pictures[1:2])])


def test_evaluation_leaves_the_generator_as_it_was():
    generator = ChromaGANGenerator(tiny_config()).train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    evaluate.evaluate_model(generator, [as_batch([photograph(0), photograph(1)])])
    assert generator.training
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_classes_are_matched_by_name():
    mapping, said = evaluate.match_classes(tiny_config(), CLASS_NAMES)
    assert mapping.tolist() == [0, 1, 2]
    assert said == "among the 3 classes of the data set"
    mapping, said = evaluate.match_classes(tiny_config(id2label=None, num_labels=1000), CLASS_NAMES)
    assert mapping.tolist() == [1, 25, 30]
    assert "1,000 classes of ImageNet-1k" in said
    # Without names the order has to be taken on trust; with other names it is known to be wrong.
    assert evaluate.match_classes(tiny_config(id2label=None, num_labels=3), CLASS_NAMES)[0].tolist() == [0, 1, 2]
    mapping, said = evaluate.match_classes(tiny_config(), CLASS_NAMES[::-1])
    assert mapping is None
    assert said == "its 3 classes are not the 3 labels of the data set"
    assert evaluate.match_classes(tiny_config(class_head=False), CLASS_NAMES)[0] is None
    assert evaluate.match_classes(tiny_config(), None)[0] is None


def test_samples_come_from_the_whole_split():
    assert evaluate.evenly_spaced(range(10), 4) == [0, 2, 5, 7]
    assert evaluate.evenly_spaced(range(3), 9) == [0, 1, 2]


def test_grid_places_every_picture():
    shades = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    sheet = np.asarray(evaluate.picture_grid((shades, shades + 10), columns=2, enlarge=3, gap=1))
    assert sheet.shape == (1 + 2 * 7, 1 + 2 * 13, 3)
    assert np.unique(sheet[1:7, 1:7]).tolist() == [0]
    assert np.unique(sheet[1:7, 7:13]).tolist() == [10]
    assert np.unique(sheet[1:7, 14:20]).tolist() == [1]
    assert np.unique(sheet[8:14, 1:7]).tolist() == [2]
    assert np.unique(sheet[8:14, 14:]).tolist() == [255]
    assert np.unique(sheet[7]).tolist() == [255]


def test_command_measures_the_saved_model(model_folder, data_folder, tmp_path, capsys):
    arguments = ["--model", str(model_folder), "--data", str(data_folder), "--batch-size", "4"]
    assert evaluate.main([*arguments, "--json", str(tmp_path / "r.json"), "--grid", str(tmp_path / "g.png")]) == 0
    printed = capsys.readouterr().out
    assert "6 pictures\n" in printed
    assert "color pictures measured: 4 (colorfulness of the truth >= 12)" in printed

    pictures = [photograph(seed) for seed in (0, 1, 3, 5)]
    labels = torch.tensor([0, 1, 0, 2])
    generator = ChromaGANGenerator.from_pretrained(model_folder)
    expected = evaluate.evaluate_model(generator, [as_batch(pictures, label=labels)], label_mapping=torch.arange(3))
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["settings"]["split"] == "valid"
    for row in ("grey", "model", "gain", "classes"):
        assert written[row] == pytest.approx(expected[row], rel=1e-3)
    for row, name in (("grey", "grey (ab = 0)"), ("model", "model")):
        assert f"| {name} | {written[row]['psnr_mean']:.2f} | {written[row]['psnr_median']:.2f} |" in printed
    assert f"class head: {expected['classes']['top1']:.2f} % among the 3 classes of the data set" in printed

    with Image.open(tmp_path / "g.png") as grid:
        truth = np.asarray(grid.crop((4 + 128, 4, 4 + 192, 4 + 64)).resize((32, 32), Image.Resampling.NEAREST))
        assert np.array_equal(truth, np.array(photograph(0)))


def test_command_takes_some_of_the_pictures(model_folder, data_folder, capsys):
    assert evaluate.main(["--model", str(model_folder), "--data", str(data_folder), "--samples", "2"]) == 0
    assert "color pictures measured: 2 " in capsys.readouterr().out  # the first and the fourth


def refuse(capsys, *arguments) -> str:
    """The one line that the command writes when it cannot go on."""
    capsys.readouterr()  # forgets the progress bars of writing the data
    assert evaluate.main([str(argument) for argument in arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_bad_requests_are_refused_in_one_line(model_folder, data_folder, tmp_path, capsys):
    model, data = ("--model", model_folder), ("--data", data_folder)
    assert f"{tmp_path / 'none'}" in refuse(capsys, *model, "--data", tmp_path / "none")
    assert f"{data_folder}: Bad split: test" in refuse(capsys, *model, *data, "--split", "test")
    assert f"{tmp_path / 'none'}: there is no such folder" in refuse(capsys, "--model", tmp_path / "none", *data)
    assert "--samples is 0; accepted: 1 or more" in refuse(capsys, *model, *data, "--samples", 0)
    assert "--batch-size is -1" in refuse(capsys, *model, *data, "--batch-size", -1)
    assert "there is no folder" in refuse(capsys, *model, *data, "--json", tmp_path / "none" / "r.json")
    assert "ends in .png" in refuse(capsys, *model, *data, "--grid", tmp_path / "g.jpg")


def test_bad_data_is_refused_in_one_line(model_folder, tmp_path, capsys):
    def refuse_data(name, pictures) -> str:
        return refuse(capsys, "--model", model_folder, "--data", write_data(tmp_path / name, pictures))

    assert "none of 1 pictures" in refuse_data("gray", [photograph(0).convert("L")])
    assert "picture 1 is 48x48 and the first 32x32" in refuse_data("sizes", [photograph(0), photograph(0, 48)])
    assert "at least 16 pixels a side" in refuse_data("small", [photograph(0, 8)])
    assert "picture 0 cannot be decoded" in refuse_data("broken", [{"bytes": b"no picture", "path": None}])

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
    pictures = evaluate.load_rows(str(data_root / "tiny-imagenet"), "valid")
    generator = ChromaGANGenerator(tiny_config(image_size=64))
    result = evaluate.evaluate_model(generator, evaluate.read_batches(pictures, 64))
    assert result["counts"] == {"pictures": 9235, "pictures_seen": 10000}
    assert result["grey"]["psnr_mean"] == pytest.approx(22.07, abs=0.02)
    assert result["grey"]["psnr_median"] == pytest.approx(22.03, abs=0.02)
    assert result["grey"]["rebalanced_auc"] == pytest.approx(58.0, abs=0.1)
