"""Trainings of seconds with the debug recipe, on drawn pictures."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
RECIPE = str(ROOT / "recipes" / "debug.yaml")


def draw_pictures(folder: Path) -> None:
    folder.mkdir()
    for i in range(12):
        colors = np.random.default_rng(i).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(colors).resize((64, 56), Image.Resampling.BICUBIC).save(folder / f"{i:02}.png")


def arguments(pictures: Path, output: Path, *settings: str) -> list[str]:
    """The command line of `train.py`."""
    return [RECIPE, f"data.sources.pictures.path={pictures}", f"output={output}", "threads=1", *settings]


def run(pictures: Path, output: Path, *settings: str) -> int:
    """The exit code of `train.py`, in this process."""
    import train

    return train.main(arguments(pictures, output, *settings))


@contextmanager
def endless_training(pictures: Path, output: Path, *settings: str) -> Iterator[subprocess.Popen]:
    """`train.py` in a process group of its own, which ends with the `with` at the latest."""
    endless = ["phases.0.steps=100000", "checkpoint_every=100000", "sample_every=100000"]
    with subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments(pictures, output, *endless, *settings)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as training:
        try:
            yield training
        finally:
            with suppress(ProcessLookupError):
                os.killpg(training.pid, signal.SIGKILL)


def wait_for_steps(output: Path, count: int) -> None:
    """Until so many steps are in the log of a training.

    Raises:
        TimeoutError: after two minutes.
    """
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        log = output / "log.jsonl"
        if log.is_file() and len(log.read_text().splitlines()) >= count:
            return
        time.sleep(0.05)
    raise TimeoutError("the training did not get going")


def losses_of(folder: Path) -> dict[int, dict]:
    """The logged losses of a run by step."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["step"]: line for line in lines if "total" in line}
