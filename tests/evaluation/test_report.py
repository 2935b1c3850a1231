"""What an evaluation leaves behind: its tables, and the same bytes from equal runs."""

import csv
import json
from pathlib import Path

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
from modeling_chromagan.evaluation.metrics import METRICS
from modeling_chromagan.evaluation.report import PictureTable, csv_columns, markdown_report


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


def test_columns_of_pictures_stay_as_they_are():
    columns = [
        *("row", "picture", "label", "psnr", "psnr_grey", "ssim", "ciede2000", "colorfulness", "colorfulness_truth"),
        *("auc", "own_loss", "predicted_label_is_right", "lite2_label_is_right", "lite2_agrees"),
    ]
    assert [column for column in csv_columns() if column in columns] == columns  # a further metric stands among them


def test_tables_stay_as_they_are(monkeypatch):
    names = ["psnr_mean", "psnr_median", "ssim", "ciede2000", "colorfulness", "colorfulness_truth"]
    names += ["colorfulness_ratio", "colorfulness_difference_of_means", "colorfulness_mean_difference"]
    names += ["rebalanced_auc", "auc", "lpips", "fid", "lite2_top1", "lite2_agreement", "fd_lite2", "top1", "own_loss"]
    further = [name for name in METRICS if name not in names]
    for name in further:
        monkeypatch.delitem(METRICS, name)
    assert set(METRICS) == set(names)
    figures = {"pictures": 7} | {name: number + 0.123456 for number, name in enumerate(names)}
    grey = {name: value for name, value in figures.items() if name not in ("top1", "own_loss")}
    intervals = {name: (value - 0.5, value + 0.5) for name, value in grey.items() if name in names[:11]}
    gains = ["psnr_mean", "psnr_median", "ssim", "ciede2000", "rebalanced_auc", "auc", "lite2_top1", "lite2_agreement"]
    model = {"model": "m", "place": "p", "parameters": 1234, "stored_dtype": "float16", "dtype": "float32"}
    model |= {"class_head": "none", "working_size": None, "own_loss_of": "RGB in 0..1", "saturation": 0.5}
    model |= {"name": "m x 0.5", "figures": figures, "intervals": intervals, "gain": dict.fromkeys(gains, 0.25)}
    results = {
        "protocol": {"name": "tiny64", "summary": "as they are", "averaging": "pictures"},
        "data": "here",
        "counts": {"measured": 7, "seen": 9, "near_gray": 1, "broken": 1},
        "rows": [
            {"name": GREY, "figures": grey, "intervals": intervals},
            model | {"gain_intervals": dict.fromkeys(gains[:6], (-0.5, 1))},
        ],
        "truth": {},
    }
    assert markdown_report(results) == Path(__file__).with_name("expected_report.md").read_text(encoding="utf-8")


def test_a_table_that_is_not_complete_has_no_name(tmp_path):
    def write(lines: int, failure: BaseException | None = None) -> None:
        with PictureTable.open(tmp_path / "model.csv") as table:
            for number in range(lines):
                table.write(picture=f"{number}.jpg")
            if failure:
                raise failure

    with pytest.raises(KeyboardInterrupt):
        write(3, KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []
    write(2)
    with (tmp_path / "model.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
