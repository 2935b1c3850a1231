"""Counts of a folder of results."""

import pytest

from modeling_chromagan.archive.manifest import Record
from modeling_chromagan.archive.summary import Summary, duration, reason_of


def summary(*records):
    counted = Summary()
    for record in records:
        counted.add(record)
    return counted


def test_files_are_counted_by_what_became_of_them():
    counted = summary(
        Record("a.png", "colorized", "a.png", pictures=3, seconds=2.5),
        Record("b.png", "colorized", "b.png", pictures=1, seconds=1),
        Record("c.png", "already in color", "c.png"),
        Record("d.png", "kept", "d.png"),
    )
    assert counted.is_done
    assert counted.in_words() == "2 colorized (4 pictures), 0 failed, 1 already in color, 1 kept as found"
    for status, words in {
        "failed": "1 failed",
        "crashed": "0 failed, 1 crashed",
        "started": "0 failed, 1 begun and not finished",
        "unread": "0 failed, 1 could not be read",
    }.items():
        counted = summary(Record("a.png", status, "a.png"))
        assert not counted.is_done
        assert counted.in_words() == f"0 colorized, {words}"
        assert counted.as_values() == {
            "colorized": 0,
            "already_in_color": 0,
            "kept": 0,
            "failed": 0,
            "crashed": 0,
            "unread": 0,
            "pictures": 0,
            "seconds": 0,
            "started": 0,
            status: 1,
        }


@pytest.mark.parametrize("name", ["in/a.png", "in/a\udcff\n.png"])
def test_a_reason_is_told_without_the_name(name):
    from modeling_chromagan.errors import ImageLoadError

    for reason in (f"{name}: damaged", str(ImageLoadError(name, "damaged"))):
        assert reason_of(Record("a.png", "failed", name, reason=reason)) == "damaged"
    assert reason_of(Record("a.png", "started", name, tries=3)) == "begun 3 times"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (3 * 3600 + 600, "3 h 10 min"),
        (86_400 * 2 + 7_200, "2 d 2 h"),
    ],
)
def test_times_are_told_in_two_units(seconds, text):
    assert duration(seconds) == text
