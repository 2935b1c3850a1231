"""A report on a folder of results, for people: a table, or a page with pictures."""

import codecs
import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..durable_files import replacing
from ..errors import SettingError, UserError
from .manifest import Record
from .verification import Finding

COLUMNS = (
    "input",
    "status",
    "reason",
    "result",
    "further_results",
    "input_bytes",
    "result_bytes",
    "pictures",
    "notes",
    "input_sha256",
    "result_sha256",
    "seconds",
    "settings",
    "model",
    "weights",
    "software",
    "input_now",
    "result_now",
)

# What a cell begins with that spreadsheets take for a formula; behind an apostrophe they take it for text.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def write_report(
    records: Iterable[Record], path: Path, out: Path, look: Callable[[Record], Finding] = Finding
) -> None:
    """Writes a report on the results in `out`; if it cannot be written, `path` is as it was before.

    Its suffix says which: `.csv` a table with a row for every record, `.html` a page with the counts, what failed, and
    some of the pictures.

    Args:
        look: what is found of the files of a record; it is called once for each.

    Raises:
        SettingError: for another suffix.
        UserError: if it cannot be written; by then the run is over, and that is no wrong usage.
    """
    check_report(path)
    findings = map(look, records)
    try:
        with replacing(path) as file:
            if path.suffix.lower() == ".csv":
                write_table(findings, file, out)
            else:
                from .report_page import write_page  # here: it imports torch

                write_page(findings, file, out)
    except BrokenPipeError:  # of what `look` prints
        raise
    except OSError as error:
        raise UserError(f"--report {path} cannot be written: {error.strerror or error}") from error


def check_report(path: Path) -> None:
    """Raises SettingError for a report that is neither CSV nor HTML; before a run, not after it."""
    if path.suffix.lower() not in (".csv", ".html", ".htm"):
        raise SettingError(f"--report {path}; accepted: a name that ends in .csv or .html")
    if os.path.isdir(path):
        raise SettingError(f"--report {path} is a folder; accepted: the name of a file")


def write_table(findings: Iterable[Finding], file: BinaryIO, out: Path) -> None:
    """A row for every record, as UTF-8 with the mark by which spreadsheets know it."""
    line = io.StringIO(newline="")
    table = csv.writer(line)
    table.writerow(COLUMNS)
    file.write(codecs.BOM_UTF8)
    for finding in findings:
        table.writerow([guarded(cell) for cell in row(finding, out)])
        file.write(line.getvalue().encode("utf-8", "backslashreplace"))
        line.seek(0)
        line.truncate()
    file.write(line.getvalue().encode())


def row(finding: Finding, out: Path) -> Iterator[object]:
    """The cells of a record, by `COLUMNS`."""
    record = finding.record
    result = next((output for output in record.outputs if output.name == record.name), None)
    yield record.input
    yield record.status if record.status != "started" else "begun and not finished"
    yield record.reason
    yield record.name
    yield "\n".join(output.name for output in record.outputs if output is not result)
    yield size(Path(record.input))
    yield size(out / record.name)
    yield record.pictures or ""
    yield "\n".join(record.notes)
    yield record.input_sha256
    yield result.sha256 if result else ""
    yield record.seconds or ""
    yield json.dumps(record.settings) if record.settings else ""
    yield record.model
    yield record.weights
    yield record.software
    yield finding.source
    yield "\n".join(dict.fromkeys(finding.results.values()))


def guarded(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def size(path: Path) -> int | str:
    """Bytes of a file; "" where there is none."""
    try:
        return path.stat().st_size if path.is_file() else ""
    except (OSError, ValueError):
        return ""


__all__ = ["COLUMNS", "check_report", "write_report"]
