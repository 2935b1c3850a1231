"""Lines for other programs."""

import json
from pathlib import Path

import pytest

from modeling_chromagan.archive.decision import Decision
from modeling_chromagan.archive.engine import Done
from modeling_chromagan.archive.json_lines import json_line
from modeling_chromagan.archive.manifest import Output, Record
from modeling_chromagan.archive.output_plan import Task

KEYS = ["input", "output", "status", "reason", "input_sha256", "outputs", "pictures", "notes", "seconds"]
MADE = Record(
    "deep/a.png",
    "colorized",
    "in/a\udcff.tif",
    input_sha256="12",
    outputs=(Output("deep/a.png", "34"),),
    notes=("IPTC is left out",),
    pictures=2,
    seconds=1.25,
)
TASK = Task(Path("in/a\udcff.tif"), "deep/a.png")


def line(decision, record):
    text = json_line(Done(TASK, decision, record))
    assert text.isascii()
    assert "\n" not in text
    values = json.loads(text)
    assert list(values) == KEYS
    return values


def test_a_result_that_was_made_is_told_with_its_hashes():
    assert line(Decision(True, "new", remark="b.png was edited"), MADE) == {
        "input": "in/a\udcff.tif",
        "output": "deep/a.png",
        "status": "colorized",
        "reason": "new",
        "input_sha256": "12",
        "outputs": [{"name": "deep/a.png", "sha256": "34"}],
        "pictures": 2,
        "notes": ["b.png was edited", "IPTC is left out"],
        "seconds": 1.25,
    }


def test_a_result_that_was_kept_took_no_time():
    kept = line(Decision(False, "same as before"), MADE)
    assert (kept["status"], kept["reason"], kept["seconds"]) == ("kept", "same as before", 0)
    unknown = line(Decision(False, "was there before"), None)
    assert (unknown["status"], unknown["input"], unknown["outputs"]) == ("kept", "in/a\udcff.tif", [])


@pytest.mark.parametrize("status", ["failed", "crashed", "already in color"])
def test_what_was_not_made_is_told_with_its_reason(status):
    reason = "" if status == "already in color" else "in/a.tif: damaged"
    values = line(Decision(True, "new"), Record("deep/a.png", status, "in/a.tif", reason=reason))
    assert (values["status"], values["reason"]) == (status, reason or "new")
