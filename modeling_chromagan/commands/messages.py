"""What commands say: errors of one line, notes, progress; and what they keep libraries from saying."""

import contextlib
import sys
import warnings
from collections.abc import Iterator

from ..errors import one_line


class Report:
    """What the user sees of a run: errors, notes, a progress bar on terminals, and one line at the end."""

    def __init__(self, quiet: bool):
        self.quiet = quiet
        self.colorized = 0
        self.failed = 0
        self.bar = None

    @contextlib.contextmanager
    def progress(self, total: int) -> Iterator[None]:
        """Inside it, a progress bar on stderr, if that is a terminal."""
        if self.quiet or not sys.stderr.isatty():
            yield
            return
        from tqdm import tqdm

        with tqdm(total=total, unit=" pictures") as self.bar:
            yield
        self.bar = None

    def fail(self, line: str) -> None:
        """Counts a failure and names it."""
        self.failed += 1
        self._print(f"error: {line}")
        self._advance()

    def note(self, line: str) -> None:
        """Says something about a picture that is no failure."""
        if not self.quiet:
            self._print(f"note: {line}")

    def finish(self) -> None:
        """Counts a picture that is colorized and written."""
        self.colorized += 1
        self._advance()

    def summarize(self, kept: int, not_pictures: int) -> None:
        """Prints the counts, to stdout."""
        if not self.quiet:
            print(f"{self.colorized} colorized, {kept} kept, {self.failed} failed, {not_pictures} not pictures")

    def _advance(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def _print(self, line: str) -> None:
        if self.bar is None:
            print(one_line(line), file=sys.stderr, flush=True)
        else:
            self.bar.write(one_line(line), file=sys.stderr)


@contextlib.contextmanager
def only_own_output(quiet: bool) -> Iterator[None]:
    """Inside it, libraries print nothing but (on terminals) the progress of a download, and warn of nothing."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    verbosity, hub_verbosity, bars = (
        logging.get_verbosity(),
        hub_logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
    )
    for library in (logging, hub_logging):  # errors too: they arrive as exceptions, and we say them in our words
        library.set_verbosity(logging.CRITICAL)
    if quiet or not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if bars:
            logging.enable_progress_bar()
