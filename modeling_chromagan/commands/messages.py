"""What commands say: errors of one line, notes, progress; and what they keep libraries from saying."""

import contextlib
import sys
import time
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from ..archive.summary import duration
from ..errors import UserError, printable

if TYPE_CHECKING:
    from ..archive.engine import Done
    from ..archive.forecast import Forecast

SAME_NOTES = 3  # pictures that are named with the same note; further ones are counted
LINE_EVERY = 60  # seconds between two lines of progress where there is no terminal


class Progress:
    """How far something has come: a bar with the time left on a terminal, a line now and then elsewhere; on stderr."""

    def __init__(self, total: int, unit: str, *, quiet: bool):
        self.total, self.unit, self.quiet = total, unit, quiet
        self.done = 0
        self.bar = None
        self.points: deque[tuple[float, int]] = deque(maxlen=10)  # when a line was due, and what was done by then
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            layout = "{percentage:3.0f} % |{bar}| {n:,} of {total:,} {unit}, {remaining} left"
            self.bar = tqdm(total=total, unit=unit, bar_format=layout, dynamic_ncols=True, smoothing=0.05)

    def advance(self) -> None:
        """Counts one more."""
        self.done += 1
        if self.bar is not None:
            self.bar.update()
        elif self.quiet or self.done >= self.total:
            return
        elif not self.points:  # what went before, such as a model's loading, is no measure of the rest
            self.points.append((time.monotonic(), self.done))
        elif (now := time.monotonic()) - self.points[-1][0] >= LINE_EVERY:
            began, before = self.points[0]
            left = (now - began) / (self.done - before) * (self.total - self.done)
            self.points.append((now, self.done))
            self.say(f"{self.done:,} of {self.total:,} {self.unit}, {duration(left)} left")

    def say(self, line: str, file: TextIO | None = None) -> None:
        """Prints a line above the bar; to stderr if no file is named."""
        if self.bar is None:
            print_line(line, file or sys.stderr)
        else:
            with self.bar.external_write_mode(file or sys.stderr):
                print_line(line, file or sys.stderr)

    def close(self) -> None:
        """Leaves the bar as it is."""
        if self.bar is not None:
            self.bar.close()


class Report:
    """What the user sees of a run: errors, notes, progress, and one line at the end.

    With `as_json` there is a line of JSON for every file on stdout instead, and errors and progress on stderr.
    """

    def __init__(self, quiet: bool, as_json: bool = False):
        self.quiet, self.as_json = quiet, as_json
        self.is_dry = False
        self.counts: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self._progress = Progress(0, "", quiet=True)

    @property
    def failed(self) -> int:
        """How many files have no result because of an error, or would have none."""
        return self.counts["failed"] + self.counts["crashed"] + self.counts["refused"]

    @contextlib.contextmanager
    def progress(self, total: int) -> Iterator[None]:
        """Inside it, the progress is shown on stderr."""
        self._progress = Progress(total, "pictures", quiet=self.quiet)
        try:
            yield
        finally:
            self._progress.close()
            self._progress = Progress(0, "", quiet=True)

    def add(self, done: "Done") -> None:
        """Counts what became of a file, and says what the user has to know of it."""
        self.counts[done.status] += 1
        source, record = done.task.source, done.record
        if self.as_json:
            from ..archive.json_lines import json_line

            print_line(json_line(done))
        if record is not None and done.status == "failed":
            self._progress.say(f"error: {record.reason}")
        elif record is not None and done.status == "crashed":
            self._progress.say(f"error: {source}: {record.reason}; --retry-failed tries it once more")
        elif not self.as_json:
            if done.decision.remark:
                self.note(f"{source}: {done.decision.remark}")
            if done.decision.work:
                self._add_notes(done)
        self._progress.advance()

    def _add_notes(self, done: "Done") -> None:
        in_color = ("is in color already, and left alone",) if done.status == "already in color" else ()
        for note in (*in_color, *(done.record.notes if done.record is not None else ())):
            self.notes[note] += 1
            if self.notes[note] <= SAME_NOTES:
                self.note(f"{done.task.source}: {note}")

    def foretell(self, forecast: "Forecast") -> None:
        """Counts and prints what would become of a file, and why, to stdout."""
        self.is_dry = True
        self.counts[forecast.status] += 1
        if self.as_json:
            print_line(forecast.json_line())
        else:
            self._progress.say(str(forecast), sys.stdout)
        self._progress.advance()

    def fail(self, line: str) -> None:
        """Counts a failure and names it."""
        self.counts["failed"] += 1
        if self.as_json:
            from ..archive.json_lines import failure_line

            print_line(failure_line(line))
        self._progress.say(f"error: {line}")
        self._progress.advance()

    def note(self, line: str) -> None:
        """Says something about a picture that is no failure."""
        if not self.quiet:
            self._progress.say(f"note: {line}")

    def summarize(self, *, not_pictures: int) -> None:
        """Prints the counts, to stdout; beside JSON to stderr."""
        if self.quiet:
            return
        for note, count in self.notes.items():
            if count > SAME_NOTES:
                self.note(f"{count - SAME_NOTES:,} more: {note}")
        first = "would colorize" if self.is_dry else "colorized"
        line = ", ".join(f"{self.counts[status]} {status}" for status in (first, "kept", "failed"))
        line += f", {not_pictures} not pictures"
        for status in ("already in color", "crashed", "refused"):
            line += f", {self.counts[status]} {status}" if self.counts[status] else ""
        print_line(line, sys.stderr if self.as_json else sys.stdout)


def print_line(line: str, file: TextIO | None = None) -> None:
    """Prints a text as one line that any terminal shows; what its encoding lacks, as a number."""
    file = file or sys.stdout
    encoding = getattr(file, "encoding", None) or "utf-8"
    text = printable(line).encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(text, file=file, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"what is said cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def only_own_output(quiet: bool) -> Iterator[None]:
    """Inside it, libraries print nothing but (on terminals) the progress of a download, and warn of nothing."""
    from huggingface_hub.utils import enable_progress_bars
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    verbosity, hub_verbosity, bars = (
        logging.get_verbosity(),
        hub_logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
    )
    for library in (logging, hub_logging):  # errors too: they arrive as exceptions, and we say them in our words
        library.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()  # of weights that are put in place, and of downloads
    if not quiet and sys.stderr.isatty():
        enable_progress_bars()  # of downloads alone
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if bars:
            logging.enable_progress_bar()
