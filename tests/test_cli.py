"""The command line before any command runs: what it imports, its version, and how errors end it."""

import importlib.metadata
import signal
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT

import modeling_chromagan
from modeling_chromagan import cli
from modeling_chromagan.commands import colorize
from modeling_chromagan.errors import SettingError, UserError

WHAT_IS_IMPORTED = """
import sys
from modeling_chromagan import cli
try:
    code = cli.main(sys.argv[1:])
except SystemExit as error:
    code = error.code
heavy = ("torch", "transformers", "numpy", "PIL", "huggingface_hub", "datasets")
print(code, *(name for name in heavy if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["colorize", "--help"], 0),
        (["convert", "--help"], 0),
        ([], 2),
        (["colorise"], 2),
        (["colorize", "--unknown"], 2),
        (["colorize", "a.png"], 2),
        (["colorize", "a.png", "-o", "out", "--saturation", "3"], 2),
        (["colorize", "1/a.png", "2/a.png", "-o", "out"], 2),
        (["colorize", "missing.png", "-o", "out"], 1),
        (["colorize", "1/a.png", "-o", "out", "--model", "nowhere"], 1),
        (["convert", "missing.h5", "-o", "out"], 2),
    ],
)
def test_help_and_usage_errors_import_neither_torch_nor_transformers(tmp_path, arguments, code):
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    command = [sys.executable, "-c", WHAT_IS_IMPORTED, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == str(code), done.stderr


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"chromagan {modeling_chromagan.__version__}\n"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "modeling_chromagan.__version__"}
    assert importlib.metadata.version("chromagan") == modeling_chromagan.__version__


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("a: is\nbroken."), 1, "chromagan colorize: error: a: is broken"),
        (SettingError("--b is 1; accepted: 2"), 2, "chromagan colorize: error: --b is 1; accepted: 2"),
        (KeyboardInterrupt(), 130, "chromagan colorize: interrupted"),
    ],
)
def test_what_a_command_raises_becomes_a_line_and_an_exit_code(monkeypatch, capsys, error, code, line):
    def fail(options):
        raise error

    monkeypatch.setattr(colorize, "run_colorize", fail)
    assert cli.main(["colorize", "a.png", "-o", "out"]) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_sigterm_ends_a_command_as_cleanly_as_an_interruption(monkeypatch, capsys):
    cleaned = []

    def wait(options):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            cleaned.append(True)

    monkeypatch.setattr(colorize, "run_colorize", wait)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        assert cli.main(["colorize", "a.png", "-o", "out"]) == 143
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert cleaned
    assert capsys.readouterr().err == "chromagan colorize: ended by SIGTERM\n"


def test_mistakes_of_the_program_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(colorize, "run_colorize", lambda options: {}["key"])
    with pytest.raises(KeyError):
        cli.main(["colorize", "a.png", "-o", "out"])
