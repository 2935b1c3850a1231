"""`chromagan colorize --plan`: options that go together, what is said, what is left to other commands."""

import os
import sys
from pathlib import Path

import pytest
from picture_files import is_colored, write_picture

from modeling_chromagan import cli
from modeling_chromagan.archive.run_settings import RunSettings
from modeling_chromagan.commands.arguments import worker_range
from modeling_chromagan.commands.planned import load_for_shards, make_work
from modeling_chromagan.errors import WeightsError
from modeling_chromagan.sources.models import find_model


@pytest.fixture
def out(tmp_path):
    """A folder with a plan of three pictures, a shard each."""
    for number in range(3):
        write_picture(tmp_path / "in" / f"{number}.png", seed=number)
    out = tmp_path / "out"
    assert cli.main(["plan", str(tmp_path / "in"), "-o", str(out), "--per-shard", "1", "--quiet"]) == 0
    return out


def test_a_plan_is_worked_off_by_shares(run, out, monkeypatch):
    monkeypatch.chdir(out.parent)
    assert run("--plan", "out", "--shards", "2/2") == (0, ["1 colorized, 0 kept, 0 failed, 0 not pictures"], [])
    assert run("--plan", "out") == (0, ["2 colorized, 1 kept, 0 failed, 0 not pictures"], [])
    assert all(is_colored(out / f"{number}.png") for number in range(3))
    code, lines, errors = run("--plan", out, "--json")
    assert (code, len(lines), errors) == (0, 3, ["0 colorized, 3 kept, 0 failed, 0 not pictures"])


def test_results_are_those_of_a_run_without_a_plan(run, out, tmp_path):
    assert run("--plan", out)[0] == 0
    assert run(tmp_path / "in", "-o", tmp_path / "other")[0] == 0
    for number in range(3):
        assert (out / f"{number}.png").read_bytes() == (tmp_path / "other" / f"{number}.png").read_bytes()


def test_a_file_that_fails_is_named_and_tried_again(run, out, tmp_path):
    (tmp_path / "in" / "1.png").write_bytes(b"no picture")
    code, lines, (error,) = run("--plan", out)
    assert (code, lines) == (1, ["2 colorized, 0 kept, 1 failed, 0 not pictures"])
    assert error.startswith(f"error: {tmp_path / 'in' / '1.png'}: ")
    write_picture(tmp_path / "in" / "1.png")
    assert run("--plan", out, "--retry-failed") == (0, ["1 colorized, 0 kept, 0 failed, 0 not pictures"], [])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.png"], "--plan names inputs and results by itself"),
        (["-o", "other"], "--plan names inputs and results by itself"),
        (["--format", "png"], "--format does not go with --plan: chromagan plan takes it"),
        (["--compare"], "--compare does not go with --plan: a plan has no names for comparisons"),
        (["--dry-run"], "--dry-run does not go with --plan: chromagan status says what is left"),
        (["--report", "r.csv"], "--report does not go with --plan: chromagan status writes it"),
        (["--shards", "3/2"], "--shards 3/2; accepted: I/N, with I from 1 to N"),
        (["--engine", "spark"], "invalid choice: 'spark'"),
        (["--address", "auto"], "--address goes with --engine ray"),
        (["--engine", "ray", "--address", "head"], "--address head; accepted: local, auto, or HOST:PORT"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "--address 127.0.0.1:1: there is no Ray cluster: "),
        (["--gpus-per-worker", "1"], "--gpus-per-worker goes with --engine ray"),
        (["--workers", "1:4"], "--workers 1:4 goes with --engine ray; accepted: N"),
        (["--workers", "4:1"], "'4:1'; accepted: N or MIN:MAX"),
    ],
)
def test_options_that_do_not_go_together_are_refused_in_one_line(run, out, no_model, arguments, reason):
    code, lines, (error,) = run("--plan", out, *arguments)
    assert (code, lines) == (2, [])
    assert reason in error
    assert not list(out.glob("*.png"))


@pytest.mark.parametrize("option", [["--shards", "1/2"], ["--engine", "ray"], ["--address", "auto"]])
def test_options_of_plans_need_one(run, tmp_path, no_model, option):
    code, lines, (error,) = run(tmp_path, "-o", tmp_path / "out", *option)
    assert (code, lines) == (2, [])
    assert f"{option[0]} goes with --plan" in error


def test_without_a_plan_or_the_extra_there_is_a_hint(run, tmp_path, no_model, monkeypatch):
    code, _, (error,) = run("--plan", tmp_path)
    assert (code, "there is no plan; make one with `chromagan plan SRC -o OUT`" in error) == (2, True)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "modeling_chromagan.scale.plan", raising=False)
    code, _, (error,) = run("--plan", tmp_path)
    assert (code, error.endswith('--plan needs pyarrow and fsspec: pip install "chromagan[scale]"')) == (2, True)


def test_a_worker_that_has_another_model_says_so(default_model):
    with pytest.raises(WeightsError, match=r"has other weights: .*, not 0123"):
        load_for_shards(None, None, find_model(None), "0123")


def test_workers_are_a_number_or_a_range():
    assert (worker_range("4"), worker_range("1:64")) == ((4, 4), (1, 64))


def test_workers_find_plan_and_model_from_any_folder(out, model_folder, monkeypatch):
    monkeypatch.chdir(Path(model_folder).parent)
    options = cli.build_parser("colorize").parse_args(
        ["colorize", "--plan", os.path.relpath(out), "--model", Path(model_folder).name, "--device", "cpu"]
    )
    work = make_work(options, RunSettings(), find_model(options.model))
    monkeypatch.chdir(out.parent)
    assert work.out == str(out)
    assert work.load().weights == work.weights
