"""The command `export` before it exports; what it writes is tested in tests/publishing/test_onnx_export.py."""

import sys

import pytest

from modeling_chromagan import cli


@pytest.fixture
def no_export(monkeypatch):
    """For refusals that must come before any work."""
    monkeypatch.setattr(
        "modeling_chromagan.publishing.onnx_export.export_graphs", lambda *_: pytest.fail("it was exported")
    )


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_one_line_says_where_it_comes_from(package, tmp_path, monkeypatch, capsys):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None if name == package else sys)
    assert cli.main(["export", "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        f'chromagan export: error: {package} is missing; it comes with pip install "chromagan[onnx]"\n'
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_export")
def test_what_is_no_model_is_refused(tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    (tmp_path / "empty").mkdir()
    for model, message in [
        (tmp_path / "missing", "there is no such folder, and a Hub id has the form owner/name"),
        (tmp_path / "empty", "has no config.json"),
    ]:
        assert cli.main(["export", str(model), "-o", str(tmp_path / "out")]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"chromagan export: error: {model}")
        assert message in err
        assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_export", "default_model")
def test_a_place_that_cannot_be_written_is_refused(tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    (tmp_path / "file").touch()
    assert cli.main(["export", "-o", str(tmp_path / "file" / "out")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"chromagan export: error: -o {tmp_path / 'file' / 'out'} cannot be made: ")
    assert err.count("\n") == 1
