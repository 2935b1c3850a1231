"""`chromagan status` as users meet it."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from archived_results import colorized, record_all

from modeling_chromagan import cli
from modeling_chromagan.archive.manifest import Manifest, Record
from modeling_chromagan.archive.run_lock import lock_run


@pytest.fixture
def status(capsys):
    def status(*arguments):
        code = cli.main(["status", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return status


def test_a_run_that_is_done_is_two_lines(tmp_path, status):
    out = record_all(tmp_path, colorized(tmp_path, "a.png"), colorized(tmp_path, "b.png", pictures=3))
    counts = f"{out}: 2 colorized (4 pictures), 0 failed"
    assert status(out) == (0, [counts, "3 s of work, 1.5 s a file"], [])
    code, lines, err = status(out, "--verify")
    assert (code, err) == (0, [])
    assert lines[2:] == ["results: 2 whole", "inputs: 2 unchanged"]


def test_failures_are_a_line_each_with_how_to_go_on(tmp_path, status):
    name = str(tmp_path / "in" / "b\n.png")
    out = record_all(
        tmp_path,
        Record("a.png", "crashed", "in/a.png", reason="the program ended 5 times while at it"),
        Record("b.png", "failed", name, reason=f"{name}: damaged"),
        Record("c.png", "started", "in/c.png", tries=1),
    )
    code, lines, _ = status(out)
    assert code == 1
    assert lines == [
        "crashed: in/a.png: the program ended 5 times while at it",
        f"failed: {tmp_path}/in/b\\n.png: damaged",
        "unfinished: in/c.png: begun and not finished",
        f"{out}: 0 colorized, 1 failed, 1 crashed, 1 begun and not finished",
        "to go on: chromagan colorize --retry-failed tries again what failed or crashed, and nothing else",
        "to go on: the same chromagan colorize again makes what is unfinished, gone or no longer up to date",
    ]


def test_what_no_run_has_made_is_named_and_is_no_failure(tmp_path, status):
    made = colorized(tmp_path, "a.png")
    out = record_all(tmp_path, made, Record("b.png", "kept", "in/b.png", reason="was there before"))
    code, lines, _ = status(out, "--verify")
    assert code == 0
    assert lines[:2] == [f"kept: {out / 'b.png'}: was there before", f"{out}: 1 colorized, 0 failed, 1 kept as found"]
    assert lines[-1].startswith("what is kept as found: remove it")


def test_results_that_are_gone_or_edited_are_found_by_their_content(tmp_path, status):
    out = record_all(tmp_path, *(colorized(tmp_path, f"{name}.png") for name in "abcd"))
    (out / "a.png").unlink()
    (out / "b.png").write_bytes((out / "b.png").read_bytes() + b"edited")
    (tmp_path / "in" / "c.png").write_bytes(b"another")
    (tmp_path / "in" / "d.png").unlink()
    assert status(out)[0] == 0
    code, lines, _ = status(out, "--verify")
    assert code == 1
    assert lines[:3] == [f"gone: {out / 'a.png'}", f"edited: {out / 'b.png'}", f"changed: {tmp_path / 'in' / 'c.png'}"]
    assert "results: 2 whole, 1 edited, 1 gone" in lines
    assert "inputs: 2 unchanged, 1 changed, 1 not found" in lines
    assert lines[-1] == "edited results are kept; chromagan colorize --overwrite replaces them"


def test_a_result_whose_input_has_changed_is_no_longer_up_to_date(tmp_path, status):
    out = record_all(tmp_path, colorized(tmp_path, "a.png"))
    (tmp_path / "in" / "a.png").write_bytes(b"another")
    code, lines, _ = status(out, "--verify")
    assert code == 1
    assert lines[-1].startswith("to go on: the same chromagan colorize again")


def test_a_run_that_has_just_begun_is_no_missing_one(tmp_path, status):
    with lock_run(tmp_path / "out"):
        code, out, err = status(tmp_path / "out")
    assert (code, len(out), err) == (0, 2, [])
    assert out[0] == f"{tmp_path / 'out'}: 0 colorized, 0 failed"
    assert out[1].endswith("is writing into it")
    assert status(tmp_path / "out")[0] == 2


def test_a_run_that_goes_on_is_no_failure_of_what_it_is_at(tmp_path, status):
    out = record_all(tmp_path, colorized(tmp_path, "a.png"), Record("b.png", "started", "in/b.png", tries=1))
    with lock_run(out):
        code, lines, _ = status(out)
    assert code == 1
    assert lines[0] == f"{out}: 1 colorized, 0 failed, 1 begun and not finished"
    assert lines[-1].startswith("another run (process ")


def test_shards_count_with_what_was_made_without_a_plan(tmp_path, status):
    out = record_all(tmp_path, colorized(tmp_path, "a.png"))
    Manifest(out / ".chromagan" / "shards" / "00000.jsonl").add(colorized(tmp_path, "b.png"))
    assert status(out)[1][0] == f"{out}: 2 colorized, 0 failed"


def test_what_of_a_plan_is_not_begun_is_left(tmp_path, status, capsys):
    pytest.importorskip("pyarrow")
    colorized(tmp_path, "a.png", "plan/a.png")
    colorized(tmp_path, "b.png", "plan/b.png")
    out = record_all(tmp_path, colorized(tmp_path, "c.png"))
    assert cli.main(["plan", str(tmp_path / "in" / "plan"), "-o", str(out), "--quiet"]) == 0
    code, lines, _ = status(out)
    assert (code, lines[1]) == (1, "2 planned, 2 of them not begun")
    assert lines[-1] == f"to go on: chromagan colorize --plan {out} makes what of the plan is left"
    for number, name in enumerate(("a.png", "b.png")):
        Manifest(out / ".chromagan" / "shards" / f"{number:05}.jsonl").add(colorized(tmp_path, name, f"plan/{name}"))
        code, lines, _ = status(out)
        assert (code, lines[1]) == (1 - number, f"2 planned, {1 - number} of them not begun")
    assert json.loads(status(out, "--json")[1][0])["left"] == 0
    (tmp_path / "in" / "plan" / "a.png").unlink()
    colorized(tmp_path, "d.png", "plan/d.png")  # as many as before, and one of them not begun
    assert cli.main(["plan", str(tmp_path / "in" / "plan"), "-o", str(out), "--quiet"]) == 0
    code, lines, _ = status(out)
    assert (code, lines[1]) == (1, "2 planned, 1 of them not begun")
    Manifest(out / ".chromagan" / "shards" / "00001.jsonl").add(Record("b.png", "failed", "b.png", reason="damaged"))
    retry = f"chromagan colorize --plan {out} --retry-failed tries again what failed or crashed, and nothing else"
    assert f"to go on: {retry}" in status(out)[1]


def test_results_behind_a_url_are_counted_and_verified(tmp_path, status):
    memory = pytest.importorskip("fsspec").filesystem("memory")
    made = colorized(tmp_path, "a.png")
    memory.pipe_file("/status/out/a.png", (tmp_path / "out" / "a.png").read_bytes())
    gone = replace(made, name="b.png", outputs=(replace(made.outputs[0], name="b.png"),))
    lines = [made.to_line(), gone.to_line()]
    memory.pipe_file("/status/out/.chromagan/shards/00000.jsonl", "\n".join(lines).encode())
    code, lines, _ = status("memory://status/out", "--verify", "--report", tmp_path / "r.csv")
    assert (code, lines[0]) == (1, "gone: memory://status/out/b.png")
    assert lines[-3:-1] == ["results: 1 whole, 1 gone", "inputs: 2 unchanged"]
    assert status("memory://status/out", "--report", "r.html")[0] == 2
    assert status("memory://status/nothing")[0] == 2


def test_other_programs_get_one_object(tmp_path, status):
    made = colorized(tmp_path, "a.png")
    gone = replace(made, name="gone.png", outputs=(replace(made.outputs[0], name="gone.png"),))
    out = record_all(
        tmp_path, made, gone, Record("b.png", "failed", "in/b\udcff.png", reason="in/b\udcff.png: damaged")
    )
    code, (line,), err = status(out, "--json", "--verify")
    assert (code, err) == (1, [])
    assert json.loads(line) == {
        "colorized": 2,
        "already_in_color": 0,
        "kept": 0,
        "failed": 1,
        "crashed": 0,
        "started": 0,
        "unread": 0,
        "pictures": 2,
        "seconds": 3.0,
        "running": False,
        "problems": [
            {"file": str(out / "gone.png"), "state": "gone", "reason": ""},
            {"file": "in/b\udcff.png", "state": "failed", "reason": "damaged"},
        ],
        "results": {"whole": 1, "edited": 0, "gone": 1, "unreadable": 0},
        "inputs": {"unchanged": 2, "changed": 0, "not found": 0, "unreadable": 0},
    }


def test_a_report_is_written_on_the_way(tmp_path, status):
    out = record_all(tmp_path, colorized(tmp_path, "a.png"))
    for name, text in (("r.csv", "whole"), ("r.html", "results whole")):
        code, lines, _ = status(out, "--verify", "--report", tmp_path / name)
        assert (code, lines[-1]) == (0, "inputs: 1 unchanged")
        assert text in (tmp_path / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [["nowhere"], ["."], [".", "--report", "r.txt"]])
def test_a_folder_without_records_and_a_report_of_no_kind_are_refused(tmp_path, status, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, out, (line,) = status(*arguments)
    assert (code, out) == (2, [])
    assert line.startswith("chromagan status: error: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--report", "REPORT"]])
def test_a_reader_that_stops_ends_the_command_without_a_traceback(tmp_path, arguments):
    out = record_all(tmp_path, Record("a.png", "failed", "in/a.png", reason="damaged"))
    reading, writing = os.pipe()
    os.close(reading)
    arguments = [word.replace("REPORT", str(tmp_path / "r.csv")) for word in arguments]
    command = [sys.executable, "-m", "modeling_chromagan.cli", "status", out, *arguments]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")
