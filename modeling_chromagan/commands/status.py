"""`chromagan status`: what has become of the files of a run, now or while it goes on."""

import argparse
import json
import sys
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from ..archive.manifest import FOLDER, PROBLEMS, Record
from ..archive.output_plan import digest
from ..archive.report import check_report, write_report
from ..archive.run_lock import running
from ..archive.summary import Summary, duration, reason_of
from ..archive.verification import INPUT_STATES, RESULT_STATES, Finding, verify
from ..errors import SettingError, first_line, printable
from ..scale.store import RemoteStore, Store, open_store
from .messages import Progress, print_line


def add_status_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `chromagan status`."""
    parser.description = (
        "Counts what has become of the files of a run, and names what failed. Nothing is changed, and the run may be "
        "going on."
    )
    parser.epilog = (
        "Exit code: 0 all that was begun or planned is done, and with --verify whole; 1 something failed, was not "
        "finished, is gone or edited; 2 wrong usage, or no run has written into OUT; 130 interrupted."
    )
    add = parser.add_argument
    add("out", metavar="OUT", help="folder of the results, a path or a URL")
    add("--verify", action="store_true", help="read all results, and inputs that are there, and compare their SHA-256")
    add("--report", type=Path, metavar="FILE", help="write a report: FILE.csv, or FILE.html with small pictures")
    add("--json", action="store_true", help="print one JSON object instead of lines")


def run_status(options: argparse.Namespace) -> int:
    """Runs `chromagan status` and returns its exit code."""
    if options.report is not None:
        check_report(options.report)
    store = open_store(options.out)
    if options.report is not None and isinstance(store, RemoteStore) and options.report.suffix.lower() != ".csv":
        raise SettingError(f"--report {options.report} of results behind a URL; accepted: a name that ends in .csv")
    try:
        planned = count_planned(store)
        status = Status(options, store, planned)
        if planned is None and not status.running and next(store.read_all(), None) is None:
            raise SettingError(f"{options.out}: no run has written into it; {store.path(FOLDER)} has no records")
        if options.report is not None:
            write_report(store.read_all(), options.report, store.out, status.look)
        else:
            for record in store.read_all():
                status.look(record)
    except BrokenPipeError:  # of what is printed
        raise
    except OSError as error:
        raise SettingError(f"{options.out} cannot be read: {error.strerror or first_line(error)}") from error
    status.end()
    return 0 if status.is_whole else 1


def count_planned(store: Store) -> int | None:
    """How many pictures the plan in `store` has; None if there is none, or nothing here to read it with."""
    with suppress(ImportError):
        from ..scale.plan import count_pictures

        return count_pictures(store)
    return None


class Status:
    """Counts records one by one, and prints what is the matter with them."""

    def __init__(self, options: argparse.Namespace, store: Store, planned: int | None):
        self.out, self.verify, self.as_json = options.out, options.verify, options.json
        self.store, self.planned = store, planned
        self.running = "" if isinstance(store, RemoteStore) else running(store.out)
        self.summary = Summary()
        self.results: Counter[str] = Counter()
        self.inputs: Counter[str] = Counter()
        self.problems: list[dict[str, str]] = []
        self.begun = array("Q")  # digests of names, where there is a plan
        many = sum(1 for _ in store.read_all()) if options.verify else 0
        self.progress = Progress(many, "files", quiet=not options.verify)

    def look(self, record: Record) -> Finding:
        """Counts a record, and what is found of its files."""
        self.summary.add(record)
        if self.planned is not None:
            self.begun.append(digest(record.name))
        if record.status in PROBLEMS and not (record.status == "started" and self.running):
            self.say("unfinished" if record.status == "started" else record.status, record.input, reason_of(record))
        if record.status == "kept":
            self.say("kept", str(self.store.path(record.name)), record.reason)
        finding = verify(record, self.store) if self.verify else Finding(record)
        for name, state in finding.results.items():
            self.results[state] += 1
            if state != "whole":
                self.say(state, str(self.store.path(name)))
        if finding.source:
            self.inputs[finding.source] += 1
            if finding.source in ("changed", "unreadable"):
                self.say(finding.source, record.input)
        self.progress.advance()
        return finding

    def say(self, state: str, name: str, reason: str = "") -> None:
        """Says what is the matter with a file."""
        if self.as_json:
            self.problems.append({"file": name, "state": state, "reason": reason})
        else:
            self.progress.say(": ".join(filter(None, (state, printable(name), reason))), sys.stdout)

    @property
    def is_whole(self) -> bool:
        """Whether there is nothing to do again."""
        edited = self.results.total() - self.results["whole"]
        return self.summary.is_done and not (self.left or edited or self.inputs["changed"])

    @cached_property
    def left(self) -> int:
        """How many pictures of a plan were not begun."""
        if self.planned is None:
            return 0
        from ..scale.plan import count_left

        return count_left(self.store, self.begun)

    def end(self) -> None:
        """Prints the counts, and how to go on."""
        self.progress.close()
        if self.as_json:
            print_line(json.dumps(self.as_values()))
            return
        summary = self.summary
        print_line(f"{self.out}: {summary.in_words()}")
        if self.planned is not None:
            print_line(f"{self.planned:,} planned, {self.left:,} of them not begun")
        if summary.seconds:
            each = summary.seconds / summary.counts["colorized"]
            print_line(f"{duration(summary.seconds)} of work, {each:.1f} s a file")
        if self.verify:
            print_line(f"results: {in_words(self.results, RESULT_STATES)}")
            print_line(f"inputs: {in_words(self.inputs, INPUT_STATES)}")
        if self.running:
            print_line(f"{self.running} is writing into it")
        for line in self.advice():
            print_line(line)

    def advice(self) -> Iterator[str]:
        """How to go on."""
        counts = self.summary.counts
        if counts["failed"] or counts["crashed"]:
            retry = "--retry-failed" if self.planned is None else f"--plan {self.out} --retry-failed"
            yield f"to go on: chromagan colorize {retry} tries again what failed or crashed, and nothing else"
        if (counts["started"] and not self.running) or self.results["gone"] or self.inputs["changed"]:
            yield "to go on: the same chromagan colorize again makes what is unfinished, gone or no longer up to date"
        if counts["unread"]:
            yield "to go on: the same chromagan colorize or chromagan plan again, once what is unread can be read"
        if self.left and not self.running:
            yield f"to go on: chromagan colorize --plan {self.out} makes what of the plan is left"
        if counts["kept"]:
            yield "what is kept as found: remove it, and the same chromagan colorize again makes the result"
        if self.results["edited"]:
            yield "edited results are kept; chromagan colorize --overwrite replaces them"

    def as_values(self) -> dict[str, Any]:
        """All of it for other programs."""
        values = {**self.summary.as_values(), "running": bool(self.running), "problems": self.problems}
        if self.planned is not None:
            values |= {"planned": self.planned, "left": self.left}
        if self.verify:
            values["results"] = {state: self.results[state] for state in RESULT_STATES}
            values["inputs"] = {state: self.inputs[state] for state in INPUT_STATES}
        return values


def in_words(counts: Counter[str], states: tuple[str, ...]) -> str:
    """Counts on one line, without those that are zero but the first."""
    return ", ".join(f"{counts[state]:,} {state}" for state in states if counts[state] or state == states[0])
