"""Reports as a table."""

import csv
import os
from dataclasses import replace

import pytest
from archived_results import colorized, record_all

from modeling_chromagan.archive.local_store import LocalStore
from modeling_chromagan.archive.manifest import Output, Record, read_all
from modeling_chromagan.archive.report import check_report, write_report
from modeling_chromagan.archive.verification import verify
from modeling_chromagan.errors import SettingError, UserError


def rows_of(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_is_a_row(tmp_path):
    made = colorized(tmp_path, "a.png", "a.tif", notes=("first", "second"), settings={"depth": "8"})
    made = replace(made, outputs=(*made.outputs, Output("a.page-0002.png", "12")))
    out = record_all(tmp_path, made, Record("b.png", "failed", "in/b.png", reason="in/b.png: damaged"))
    write_report(read_all(out), tmp_path / "report.csv", out)
    first, second = rows_of(tmp_path / "report.csv")
    assert first == {
        "input": str(tmp_path / "in" / "a.tif"),
        "status": "colorized",
        "reason": "",
        "result": "a.png",
        "further_results": "a.page-0002.png",
        "input_bytes": str((tmp_path / "in" / "a.tif").stat().st_size),
        "result_bytes": str((out / "a.png").stat().st_size),
        "pictures": "1",
        "notes": "first\nsecond",
        "input_sha256": made.input_sha256,
        "result_sha256": made.outputs[0].sha256,
        "seconds": "1.5",
        "settings": '{"depth": "8"}',
        "model": "owner/model",
        "weights": "ab12",
        "software": "chromagan 1",
        "input_now": "",
        "result_now": "",
    }
    assert (second["status"], second["reason"], second["result_bytes"]) == ("failed", "in/b.png: damaged", "")
    write_report(read_all(out), tmp_path / "report.csv", out, lambda record: verify(record, LocalStore(out)))
    first, _ = rows_of(tmp_path / "report.csv")
    assert (first["input_now"], first["result_now"]) == ("unchanged", "whole\ngone")


@pytest.mark.parametrize("name", ["=1+1.png", "-a.png", "+a.png", "@a.png", "\ta.png"])
def test_no_name_is_a_formula(tmp_path, name):
    write_report([Record(name, "failed", name, reason=name)], tmp_path / "report.csv", tmp_path)
    (row,) = rows_of(tmp_path / "report.csv")
    assert row["input"] == row["result"] == row["reason"] == f"'{name}"


def test_odd_names_survive_and_the_table_is_utf_8(tmp_path):
    names = ['a"b, c;d.png', "two\nlines.png", "\u00e9t\u00e9 \U0001f4f7.png", "a\udcff.png"]
    write_report([Record(name, "failed", name) for name in names], tmp_path / "report.csv", tmp_path)
    assert [row["input"] for row in rows_of(tmp_path / "report.csv")] == [*names[:3], "a\\udcff.png"]


def test_a_report_that_cannot_be_written_leaves_what_was_there(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name in ("report.txt", "report", "folder.csv"):
        with pytest.raises(SettingError, match=f"--report {tmp_path / name}"):
            check_report(tmp_path / name)

    def stop():
        yield Record("a.png", "failed", "a.png")
        raise KeyboardInterrupt

    (tmp_path / "report.csv").write_text("before")
    with pytest.raises(KeyboardInterrupt):
        write_report(stop(), tmp_path / "report.csv", tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["folder.csv", "report.csv"]
    assert (tmp_path / "report.csv").read_text() == "before"
    with pytest.raises(UserError, match="cannot be written") as caught:
        write_report([], tmp_path / "report.csv" / "below.csv", tmp_path)
    assert caught.value.exit_code == 1  # the run before it is done, and was no wrong usage
