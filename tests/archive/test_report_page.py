"""Reports as a page."""

import itertools
import re
from html.parser import HTMLParser

import pytest
from archived_results import colorized, record_all

from modeling_chromagan.archive import report_page
from modeling_chromagan.archive.local_store import LocalStore
from modeling_chromagan.archive.manifest import Record, read_all
from modeling_chromagan.archive.report import write_report
from modeling_chromagan.archive.report_page import Sample
from modeling_chromagan.archive.verification import verify


class Page(HTMLParser):
    """What a reader sees: texts in order, and pictures."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.texts, self.pictures, self.open = [], [], [], []
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "img":
            self.pictures.append(dict(attributes))

    def handle_endtag(self, tag):
        while self.open.pop() != tag:  # ends of rows and items may be left out
            pass

    def handle_data(self, data):
        if data.strip() and "style" not in self.open:
            self.texts.append(data.strip())

    def after(self, text):
        """What stands behind a text."""
        return self.texts[self.texts.index(text) + 1 :]


def page_of(tmp_path, out, *look):
    write_report(read_all(out), tmp_path / "report.html", out, *look)
    return Page(tmp_path / "report.html")


def test_counts_come_first_then_what_failed_then_pictures_then_files(tmp_path):
    records = [colorized(tmp_path, f"{name}.png", notes=("IPTC is left out",)) for name in "ab"]
    records.append(Record("c.png", "failed", "in/c.png", reason="in/c.png: damaged"))
    records.append(Record("d.png", "already in color", "in/d.png"))
    out = record_all(tmp_path, *records)
    page = page_of(tmp_path, out)
    order = ["colorized", "failed", "in color already, left alone", "Not done", "What was left out or assumed"]
    places = [page.texts.index(text) for text in [*order, "Before and after", "All files"]]
    assert places == sorted(places)
    assert page.texts[places[0] - 1] == "2"
    assert page.after("Not done")[2:4] == ["in/c.png", "damaged"]
    assert page.after("What was left out or assumed")[2:4] == ["IPTC is left out", "2 files"]
    assert [picture["alt"] for picture in page.pictures] == ["before", "after"] * 2
    assert page.after("All files")[4:7] == [str(tmp_path / "in" / "a.png"), "a.png", "colorized"]


def test_the_page_asks_for_nothing_and_runs_nothing(tmp_path):
    out = record_all(tmp_path, colorized(tmp_path, "a.png"))
    page = page_of(tmp_path, out)
    assert not {"script", "link", "iframe", "object", "a"} & set(page.tags)
    assert all(picture["src"].startswith("data:image/jpeg;base64,") for picture in page.pictures)
    assert not re.search(r"url\(|@import|https?:", page.source)
    assert "default-src 'none'" in page.source


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>.png", "\"&lt;'.png", "two\nlines\u202e\udcff.png"])
def test_names_are_text(tmp_path, name):
    records = [Record(name, "failed", name, reason=f"{name}: {name}", notes=(name,))]
    write_report(records, tmp_path / "report.html", tmp_path)
    page = Page(tmp_path / "report.html")
    shown = name.replace("\n", "\\n").replace("\u202e", "\\u202e").replace("\udcff", "\\udcff")
    assert page.texts.count(shown) >= 4
    assert page.pictures == []


def test_what_was_found_is_counted_and_named(tmp_path):
    out = record_all(tmp_path, *(colorized(tmp_path, f"{name}.png") for name in "abc"))
    (out / "a.png").unlink()
    (tmp_path / "in" / "b.png").write_bytes(b"another")
    (tmp_path / "in" / "c.png").unlink()
    page = page_of(tmp_path, out, lambda record: verify(record, LocalStore(out)))
    for count, word in (
        ("2", "results whole"),
        ("1", "results gone"),
        ("1", "inputs changed"),
        ("1", "inputs not found"),
    ):
        assert page.texts[page.texts.index(word) - 1] == count
    assert page.after("No longer as recorded")[2:6] == ["a.png", "gone", str(tmp_path / "in" / "b.png"), "changed"]
    assert "not found" not in page.texts
    assert "a.png (result cannot be shown)" in page.texts
    assert "b.png (input cannot be shown)" in page.texts


def test_a_page_of_many_files_stays_small_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(report_page, "MOST_PAIRS", 3)
    monkeypatch.setattr(report_page, "MOST_ROWS", 2000)
    made = colorized(tmp_path, "a.png")
    records = [made] * 50 + [Record("b.png", "failed", "in/b.png", reason="damaged")] * 50
    write_report(records, tmp_path / "report.html", tmp_path / "out")
    page = Page(tmp_path / "report.html")
    assert len(page.pictures) == 6
    assert "3 of 50 results, spread evenly over all." in page.texts
    left_out = [int(text.split()[0]) for text in page.texts if "more: a report with the suffix .csv has all" in text]
    failed, files = page.source.count("<td class=bad>damaged"), page.source.count("<td>colorized</td>")
    assert left_out == [50 - failed, 100 - files]
    assert failed > 5
    assert files > 5


@pytest.mark.parametrize("many", [0, 1, 299, 300, 301, 600, 601, 5000, 100_000])
def test_a_sample_is_spread_evenly(many):
    sample = Sample()
    for number in range(many):
        sample.add(number)
    chosen = sample.chosen()
    assert len(chosen) == min(many, 300)
    assert chosen == sorted(set(chosen))
    if many:
        gaps = [after - before for before, after in itertools.pairwise([*chosen, many])]
        assert max(gaps) <= 3 * many / len(chosen)
