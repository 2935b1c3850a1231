"""A stand-in for the model, with which tests work off plans, in processes that they kill.

The first word of an input says what happens at it: "slow" takes a moment, "damaged" is not readable, "kill" ends the
process. Results are written as those of the model are; their pixels are the input's SHA-256.
"""

import functools
import os
import signal
import time
import traceback
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from modeling_chromagan.archive.engine import PICTURE_ERRORS  # noqa: F401  (loaded before time counts)
from modeling_chromagan.archive.manifest import Output
from modeling_chromagan.archive.pages import ColoredPage
from modeling_chromagan.archive.run_settings import RunSettings
from modeling_chromagan.errors import ImageLoadError
from modeling_chromagan.scale.shards import Work


class Painter:
    """Makes a picture of any file; `log` is a file that gets a line for every input that is begun."""

    def __init__(self, log: Path | None = None):
        self.log = log

    def colorize(self, source, *, called, output, compare, keep, write):
        word = source.content.split()[0]
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{output} {os.getpid()}\n")
        if word == b"damaged":
            raise ImageLoadError(called, "damaged")
        if word == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        digits = np.frombuffer(bytes.fromhex(source.sha256), np.uint8)
        page = ColoredPage(np.resize(digits, (40, 50, 3)))
        written = write(
            self.pages(page, 0.05 if word == b"slow" else 0), output, output_format="png", layout="single", profile=b""
        )
        return SimpleNamespace(outputs=(Output(output, written.sha256),), pictures=1, notes=written.notes)

    def pages(self, page, seconds):
        time.sleep(seconds)  # in the midst of writing
        yield page


def make_work(out: str, log: Path | None = None, **changes) -> Work:
    """What workers do, with the stand-in."""
    load = functools.partial(Painter, log)
    return Work(
        **{"out": str(out), "settings": RunSettings(), "model": "stand-in", "weights": "w", "load": load, **changes}
    )


def write_inputs(folder: Path, count: int, words: dict[int, str] | None = None, word: str = "quick") -> None:
    """Files of other contents each, the first word as said."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:03}.png").write_text(f"{(words or {}).get(number, word)} {number}")


def begin(function, *arguments) -> int:
    """Starts a process that calls a function, and says what goes wrong; gives its number."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            warnings.simplefilter("ignore")  # as in a program
            function(*arguments)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return process


def end(process: int) -> int:
    """Waits for a process; gives its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def has_ended(process: int) -> bool:
    """Whether `end` would not wait."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
