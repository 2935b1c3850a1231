"""What an evaluation leaves behind: its tables, and the same bytes from equal runs."""

import csv
import json

import numpy as np
import pytest
import torch
from small_evaluation import (
    CLASS_NAMES,
    as_batch,
    evaluate_data,
    photograph,
)

from modeling_chromagan import ChromaGANGenerator
from modeling_chromagan.evaluation.colorizers import GREY
from modeling_chromagan.evaluation.measurement import evaluate_model


def test_command_measures_the_saved_model(small_model, small_data, tmp_path, capsys):
    arguments = ["--model", small_model, "--data", small_data, "--batch-size", "4", "--output", tmp_path / "out"]
    printed = evaluate_data(capsys, *arguments)
    assert "Pictures: 4 measured of 6 (2 nearly gray left out, 0 skipped as unreadable)." in printed

    pictures = [photograph(seed) for seed in (0, 1, 3, 5)]
    labels = torch.tensor([0, 1, 0, 2])
    generator = ChromaGANGenerator.from_pretrained(small_model)
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


def test_two_runs_write_the_same_bytes(small_model, small_data, tmp_path, capsys):
    for folder in ("one", "two"):
        evaluate_data(capsys, "--model", small_model, small_model, "--data", small_data, "-o", tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    stem = small_model.name
    pictures = ["comparison.png", "contact_sheet.png"]
    assert names == sorted([*pictures, "results.json", "results.md", f"{stem}.csv", f"{stem}-2.csv"])
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    rows = json.loads((tmp_path / "one" / "results.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [GREY, stem, f"{stem}-2"]
    assert rows[1]["figures"] == rows[2]["figures"]
    assert rows[1]["gain_intervals"] == rows[2]["gain_intervals"]


def test_legacy_counts_gray_pictures_too(small_model, small_data, capsys):
    arguments = ["--model", small_model, "--data", small_data, "--batch-size", "4", "--protocol", "legacy-tiny224"]
    printed = evaluate_data(capsys, *arguments)
    assert "Pictures: 6 measured of 6 (0 nearly gray" in printed
    assert "PSNR is averaged within batches of 4, then over batches." in printed
