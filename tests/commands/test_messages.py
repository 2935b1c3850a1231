"""What a command says: notes, errors, progress, and nothing that libraries say."""

import errno
import io
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from picture_files import write_picture
from PIL import Image

from modeling_chromagan.archive.decision import Decision
from modeling_chromagan.archive.engine import Done
from modeling_chromagan.archive.forecast import Forecast
from modeling_chromagan.archive.manifest import Record
from modeling_chromagan.archive.output_plan import Task
from modeling_chromagan.commands.messages import Progress, Report, print_line
from modeling_chromagan.errors import UserError


def test_notes_are_one_line_each_and_quiet_has_none(run, tmp_path):
    bands = [Image.fromarray(write_picture(tmp_path / "unused.png", seed=seed)) for seed in (0, 1)]
    for number in range(5):
        Image.merge("LA", bands).save(tmp_path / f"{number}.png")
    sources = [tmp_path / f"{number}.png" for number in range(5)]
    arguments = (*sources, "--format", "jpeg", "--overwrite", "-o", tmp_path / "out")
    code, out, err = run(*arguments)
    assert (code, len(out), len(err)) == (0, 1, 4)
    for source, line in zip(sources, err[:3], strict=False):
        assert line.startswith(f"note: {source}: JPEG has no transparency")
    assert err[3].startswith("note: 2 more: JPEG has no transparency")
    assert run(*arguments, "--quiet") == (0, [], [])
    code, out, err = run(tmp_path / "missing.png", "-o", tmp_path / "out", "--quiet")
    assert (code, out, len(err)) == (1, [], 1)


def test_a_terminal_gets_a_progress_bar(run, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name)
    (tmp_path / "in" / "c.png").touch()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    code, _, err = run(tmp_path / "in", "-o", tmp_path / "out")
    assert code == 1
    assert "3 of 3 pictures, 00:00 left" in err[-1]
    assert sum("error: " in line for line in err) == 1
    assert not any("Loading" in line for line in err)  # of weights, by transformers
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--overwrite", "--quiet")[2] == [
        line for line in err if line.startswith("error: ")
    ]


def test_libraries_talk_as_before_once_the_command_is_done(run, tmp_path):
    from transformers.utils import logging

    write_picture(tmp_path / "a.png")
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    assert run(tmp_path / "a.png", "-o", tmp_path / "out")[0] == 0
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_a_log_gets_a_line_now_and_then_with_the_time_left(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for quiet in (True, False):
        progress = Progress(50_000, "pictures", quiet=quiet)
        for _ in range(1201):  # the first one ends what is no measure, such as a model's loading
            now += 0.5
            progress.advance()
        for _ in range(600):  # the rate is that of the last minutes
            now += 2
            progress.advance()
        progress.close()
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == (0 if quiet else 30)
    assert lines[9] == "1,201 of 50,000 pictures, 6 h 46 min left"
    assert lines[-1] == "1,801 of 50,000 pictures, 1 d 2 h left"
    last = Progress(1, "pictures", quiet=False)
    now += 3600
    last.advance()
    assert capsys.readouterr().err == "", "what is done has no time left"


def done(status, **what):
    record = Record("a.png", status, "in/a.png", **what)
    return Done(Task(Path("in/a.png"), "a.png"), Decision(True, "new", remark=what.pop("remark", "")), record)


KEPT = Done(
    Task(Path("in/b.png"), "b.png"), Decision(False, "same as before"), Record("b.png", "colorized", "in/b.png")
)
ENDS = [
    done("colorized", notes=("IPTC is left out",)),
    KEPT,
    done("failed", reason="in/a.png: damaged"),
    done("already in color"),
    done("crashed", reason="the program ended 5 times while at it"),
    replace(KEPT, decision=Decision(False, "was edited since it was made", remark="b.png was edited, and is kept")),
]


def test_what_became_of_a_file_is_counted_and_said(capsys):
    report = Report(quiet=False)
    for end in ENDS:
        report.add(end)
    report.summarize(not_pictures=2)
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "note: in/a.png: IPTC is left out",
        "error: in/a.png: damaged",
        "note: in/a.png: is in color already, and left alone",
        "error: in/a.png: the program ended 5 times while at it; --retry-failed tries it once more",
        "note: in/b.png: b.png was edited, and is kept",
    ]
    assert captured.out == "1 colorized, 2 kept, 1 failed, 2 not pictures, 1 already in color, 1 crashed\n"
    assert report.failed == 2


def test_other_programs_get_a_line_for_every_file_and_nothing_else(capsys):
    report = Report(quiet=False, as_json=True)
    for end in ENDS:
        report.add(end)
    report.fail("in/gone.png: there is no such file or folder")
    report.summarize(not_pictures=0)
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    statuses = ["colorized", "kept", "failed", "already in color", "crashed", "kept", "failed"]
    assert [line["status"] for line in lines] == statuses
    assert (lines[-1]["input"], lines[-1]["reason"]) == ("", "in/gone.png: there is no such file or folder")
    assert (
        captured.err.splitlines()[-1] == "1 colorized, 2 kept, 2 failed, 0 not pictures, 1 already in color, 1 crashed"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_any_name_can_be_printed_anywhere(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_line("a\udcff\x1b[31m  \n\u65e5.png", stream)
    shown = "\u65e5" if encoding == "utf-8" else "\\u65e5"
    assert stream.buffer.getvalue().decode(encoding) == f"a\\udcff\\x1b[31m  \\n{shown}.png\n"


def test_a_disk_that_does_not_take_what_is_said_is_one_line():
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        print_line("a line", Full())


@pytest.mark.parametrize("as_json", [False, True])
def test_a_dry_run_says_what_would_become_of_each_file(capsys, as_json):
    report = Report(quiet=False, as_json=as_json)
    for status, reason in (("would colorize", "new"), ("kept", "same as before"), ("refused", "damaged")):
        report.foretell(Forecast(Task(Path("in/a\n.png"), "a.png"), status, reason))
    report.summarize(not_pictures=0)
    captured = capsys.readouterr()
    counts = "1 would colorize, 1 kept, 0 failed, 0 not pictures, 1 refused"
    if as_json:
        lines = [json.loads(line) for line in captured.out.splitlines()]
        assert [line["status"] for line in lines] == ["would colorize", "kept", "refused"]
        assert (lines[0]["input"], lines[0]["output"], lines[0]["reason"]) == ("in/a\n.png", "a.png", "new")
        assert captured.err == f"{counts}\n"
    else:
        first, *_, last = captured.out.splitlines()
        assert (first, last) == ("in/a\\n.png -> a.png: would colorize: new", counts)
    assert report.failed == 1
