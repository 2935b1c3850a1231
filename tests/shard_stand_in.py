"""A stand-in for the model, and a program that works off a plan with it, to be killed by tests.

The first word of an input says what happens at it: "slow" takes a moment, "damaged" is not readable, "kill" ends the
process. Results are written as those of the model are; their pixels are the input's SHA-256.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from modeling_chromagan.archive.engine import PICTURE_ERRORS  # noqa: F401  (loaded before time counts)
from modeling_chromagan.archive.manifest import Output
from modeling_chromagan.archive.pages import ColoredPage
from modeling_chromagan.archive.run_settings import RunSettings
from modeling_chromagan.errors import ImageLoadError, UserError
from modeling_chromagan.scale.shards import Work, run_shards, select_shards

LOG = "SHARD_STAND_IN_LOG"  # names a file that gets a line for every input that is begun


class Painter:
    """Makes a picture of any file."""

    def colorize(self, source, *, called, output, compare, keep, write):
        word = source.content.split()[0]
        if log := os.environ.get(LOG):
            with open(log, "a") as file:
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


def make_work(out: str, **changes) -> Work:
    """What workers do, with the stand-in."""
    return Work(
        **{"out": str(out), "settings": RunSettings(), "model": "stand-in", "weights": "w", "load": Painter, **changes}
    )


def write_inputs(folder: Path, count: int, words: dict[int, str] | None = None, word: str = "quick") -> None:
    """Files of other contents each, the first word as said."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:03}.png").write_text(f"{(words or {}).get(number, word)} {number}")


def main() -> int:
    """OUT, and a share I/N or "ray": prints what became of each picture."""
    out, share = sys.argv[1:]
    try:
        if share == "ray":
            from modeling_chromagan.scale.ray_engine import run_on_ray

            indices = select_shards(out)
            results = run_on_ray(make_work(out), indices, address="local", workers=(2, 2), gpus_per_worker=0)
        else:
            results = run_shards(make_work(out), select_shards(out, share))
        for done in results:
            print(f"{done.task.name}: {done.status}" if hasattr(done, "task") else f"left: {done}", flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
