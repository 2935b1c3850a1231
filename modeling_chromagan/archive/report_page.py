"""A report as one page that opens offline: no scripts, nothing from elsewhere, pictures inside."""

import base64
import datetime
import html
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .. import __version__
from ..errors import printable
from .manifest import PROBLEMS, Record
from .summary import Summary, duration, reason_of
from .thumbnails import thumbnail_after, thumbnail_before
from .verification import INPUT_STATES, RESULT_STATES, Finding

# A page beyond 20 MB is slow to open: so many pairs of pictures (some 10 kB each), and bytes of rows in either table.
MOST_PAIRS = 300
MOST_ROWS = 7 << 20
MOST_NOTES = 100  # different ones

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1d1d1f; --soft: #5f6368; --line: #d9dadd; --panel: #f4f4f6;
  --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ground: #17181a; --text: #e8e8ea; --soft: #a2a5ab; --line: #3a3c40;
  --panel: #222326; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 4rem; background: var(--ground); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
p { margin: .5rem 0; max-width: 46rem; }
.soft { color: var(--soft); overflow-wrap: anywhere; }
.counts { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .75rem; list-style: none;
  margin: 1.5rem 0; padding: 0; }
.counts li { background: var(--panel); border-radius: .5rem; padding: .75rem 1rem; line-height: 1.3; }
.counts b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.bad b, td.bad { color: var(--bad); }
table { border-collapse: collapse; width: 100%; font-size: .875rem; table-layout: fixed; }
th, td { border-bottom: 1px solid var(--line); overflow-wrap: anywhere; padding: .4rem 1rem .4rem 0; text-align: left;
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr)); gap: 1.25rem 1rem; }
figure { margin: 0; min-width: 0; }
figure div { display: flex; gap: 2px; align-items: flex-end; }
figure img { display: block; height: auto; max-width: calc(50% - 1px); }
figcaption { color: var(--soft); font-size: .8rem; line-height: 1.35; margin-top: .35rem; overflow-wrap: anywhere; }
@media (max-width: 40rem) { table, tbody, tr, td { display: block; } thead { display: none; }
  tr { border-bottom: 1px solid var(--line); padding: .4rem 0; } td { border: 0; padding: 0; } }
@media print { body { max-width: none; padding: 0; } figure, tr, .counts li { break-inside: avoid; }
  h2 { break-after: avoid; } .counts li { border: 1px solid var(--line); } }
"""


@dataclass
class Rows:
    """Rows of a table, as many as fit."""

    lines: list[str] = field(default_factory=list)
    length: int = 0
    left_out: int = 0

    def add(self, *cells: str, bad: bool = False) -> None:
        """Adds a row of texts."""
        first, *others = map(escape, cells)
        line = f"<tr><td>{first}</td>" + "".join(f"<td{' class=bad' if bad else ''}>{cell}</td>" for cell in others)
        if self.left_out or self.length + len(line) > MOST_ROWS:
            self.left_out += 1
        else:
            self.lines.append(line)
            self.length += len(line)

    def render(self, *heads: str) -> Iterator[str]:
        """The table."""
        yield f"<table><thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead><tbody>"
        yield from self.lines
        yield "</tbody></table>"
        if self.left_out:
            yield f"<p class=soft>{self.left_out:,} more: a report with the suffix .csv has all.</p>"


@dataclass
class Sample:
    """At most twice `MOST_PAIRS` records, spread evenly over all that were added."""

    records: list[Record] = field(default_factory=list)
    step: int = 1
    added: int = 0

    def add(self, record: Record) -> None:
        """Takes a record, or leaves it out."""
        if self.added % self.step == 0:
            self.records.append(record)
        self.added += 1
        if len(self.records) > 2 * MOST_PAIRS:
            del self.records[1::2]
            self.step *= 2

    def chosen(self) -> list[Record]:
        """At most `MOST_PAIRS` of them."""
        many, few = len(self.records), min(len(self.records), MOST_PAIRS)
        return [self.records[place * many // few] for place in range(few)]


def write_page(findings: Iterable[Finding], file: BinaryIO, out: Path) -> None:
    """Writes the page; what it takes of memory does not grow with the number of records."""
    summary, sample, failures, changes, files = Summary(), Sample(), Rows(), Rows(), Rows()
    notes: Counter[str] = Counter()
    results: Counter[str] = Counter()
    inputs: Counter[str] = Counter()
    for finding in findings:
        record = finding.record
        summary.add(record)
        if record.status in PROBLEMS:
            failures.add(record.input, reason_of(record), bad=True)
        if record.status == "kept":
            failures.add(record.input, f"{record.name} {record.reason}, and is kept")
        if record.status == "colorized":
            sample.add(record)
        results.update(finding.results.values())
        inputs.update(filter(None, [finding.source]))
        for name, state in [*finding.results.items(), (record.input, finding.source)]:
            if state not in ("whole", "unchanged", "not found", ""):  # a drive of inputs is unplugged
                changes.add(name, state, bad=True)
        for note in record.notes:
            if note in notes or len(notes) < MOST_NOTES:
                notes[note] += 1
        files.add(record.input, record.name if record.outputs else "", record.status, "; ".join(record.notes))
    page = itertools.chain(
        render_head(summary, out, results, inputs),
        render_tables(failures, changes, notes),
        render_pairs(sample, out),
        ["<h2>All files</h2>"],
        files.render("Input", "Result", "What became of it", "Notes"),
        ["</body></html>"],
    )
    for part in page:
        file.write(f"{part}\n".encode())


def render_head(summary: Summary, out: Path, results: Counter[str], inputs: Counter[str]) -> Iterator[str]:
    """Title and counts."""
    name = escape(out.absolute().name)
    now = datetime.datetime.now().astimezone()
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer"><meta http-equiv="Content-Security-Policy" '
    yield "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
    yield f"<title>Colorized: {name}</title><style>{STYLE}</style></head><body>"
    yield f"<h1>Colorized: {name}</h1><p class=soft>{escape(str(out.absolute()))}<br>"
    yield f"chromagan {__version__}, {now:%Y-%m-%d %H:%M %Z}</p><ul class=counts>"
    yield count(summary.counts["colorized"], "colorized")
    if summary.pictures != summary.counts["colorized"]:
        yield count(summary.pictures, "pages and frames in them")
    for status, word in {
        "failed": "failed",
        "crashed": "crashed the program",
        "started": "begun and not finished",
        "already in color": "in color already, left alone",
        "kept": "kept as found",
        "unread": "could not be read",
    }.items():
        if summary.counts[status] or status == "failed":
            yield count(summary.counts[status], word, bad=status in PROBLEMS)
    for state in RESULT_STATES:
        if results[state] or (state == "whole" and results):
            yield count(results[state], f"results {state}", bad=state != "whole")
    for state in INPUT_STATES:
        if inputs[state]:
            yield count(inputs[state], f"inputs {state}", bad=state in ("changed", "unreadable"))
    yield "</ul>"
    if summary.seconds:
        each = summary.seconds / summary.counts["colorized"]
        yield f"<p class=soft>{duration(summary.seconds)} of work, {each:.1f} s a file, several at once.</p>"
    yield "<p>Brightness is that of the inputs; the colors are invented by a network, no record of what was.</p>"


def count(number: int, word: str, *, bad: bool = False) -> str:
    """One of the counts."""
    return f"<li{' class=bad' if bad and number else ''}><b>{number:,}</b>{word}</li>"


def render_tables(failures: Rows, changes: Rows, notes: Counter[str]) -> Iterator[str]:
    """What failed, what is no longer as it was, and what results do not carry."""
    if failures.lines:
        yield "<h2>Not done</h2>"
        yield from failures.render("Input", "Reason")
    if changes.lines:
        yield "<h2>No longer as recorded</h2>"
        yield from changes.render("File", "Found")
    if notes:
        table = Rows()
        for note, number in notes.most_common():
            table.add(note, f"{number:,} file{'s' if number > 1 else ''}")
        yield "<h2>What was left out or assumed</h2>"
        yield from table.render("Note", "Files")
        if len(notes) == MOST_NOTES:
            yield "<p class=soft>There may be other notes: a report with the suffix .csv has all.</p>"


def render_pairs(sample: Sample, out: Path) -> Iterator[str]:
    """Small pictures before and after."""
    chosen = sample.chosen()
    if not chosen:
        return
    yield "<h2>Before and after</h2>"
    if len(chosen) < sample.added:
        yield f"<p class=soft>{len(chosen):,} of {sample.added:,} results, spread evenly over all.</p>"
    yield "<div class=pairs>"
    with ThreadPoolExecutor(4) as pool:
        befores = pool.map(thumbnail_before, [Path(record.input) for record in chosen])
        afters = pool.map(thumbnail_after, [out / record.name for record in chosen])
        for record, before, after in zip(chosen, befores, afters, strict=True):
            pictures = [picture(small, word) for small, word in ((before, "before"), (after, "after")) if small]
            missing = [word for small, word in ((before, "input"), (after, "result")) if not small]
            remark = f" ({' and '.join(missing)} cannot be shown)" if missing else ""
            caption = f"<figcaption>{escape(record.name)}{remark}</figcaption>"
            yield f"<figure><div>{''.join(pictures)}</div>{caption}</figure>"
    yield "</div>"


def picture(small: bytes, word: str) -> str:
    """A picture inside the page."""
    return f'<img alt="{word}" src="data:image/jpeg;base64,{base64.b64encode(small).decode()}">'


def escape(text: str) -> str:
    """A text for the page."""
    return html.escape(printable(text))


__all__ = ["write_page"]
