"""The command `convert` before it converts; what it does is tested with Keras files in tests/keras_import."""

import sys

import pytest

from modeling_chromagan import cli


def run(*arguments) -> int:
    """`chromagan` with arguments."""
    return cli.main([str(argument) for argument in arguments])


def test_wrong_usage_is_one_line_and_code_2(tmp_path, monkeypatch, capsys):
    pytest.importorskip("h5py", reason="h5py is not installed: nothing is converted")
    weights = tmp_path / "weights.h5"
    weights.touch()
    occupied, current = tmp_path / "occupied", tmp_path / "current"
    occupied.mkdir()
    (occupied / "file").touch()
    current.mkdir()
    monkeypatch.chdir(current)
    for source, folder, message in [
        (tmp_path / "missing.h5", tmp_path / "model", f"{tmp_path / 'missing.h5'}: no such file"),
        (tmp_path, tmp_path / "model", f"{tmp_path}: not a file; accepted: an HDF5 file"),
        (weights, occupied, f"-o {occupied} exists; accepted: a new folder, or an empty one that is not the curr"),
        (weights, current, f"-o {current} exists; accepted: a new folder, or an empty one that is not the curr"),
        (weights, weights / "model", f"-o {weights / 'model'} cannot be made in {weights}; accepted: a p"),
    ]:
        assert run("convert", source, "-o", folder) == 2
        err = capsys.readouterr().err
        assert err.startswith(f"chromagan convert: error: {message}")
        assert err.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_without_h5py_one_line_says_where_it_comes_from(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert run("convert", tmp_path / "a.h5", "-o", tmp_path / "model") == 2
    assert capsys.readouterr().err == (
        'chromagan convert: error: h5py is missing; it comes with pip install "chromagan[convert]"\n'
    )
