"""Pictures per second of `chromagan colorize` over many files against a plain loop, and its memory over very many.

    python benchmarks/throughput.py                          # about three minutes on two cores
    python benchmarks/throughput.py --before REVISION        # also the command of another revision of this repository
    python benchmarks/throughput.py --memory                 # peak memory of a run over 200 and over 20,000 inputs

Speed is measured on generated one-megapixel gray JPEGs. The plain loop takes one picture after the other through the
package's public parts (read, network, compose, write) with a thread of torch on every core, as the command did before
it had workers; its parts are this version's. Every way of working runs in processes of its own, over one picture and
over all: the difference is free of start-up. For memory the colorizer is a stub that answers at once; all else is the
command's.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 1155, 866
TURNS = 2  # of each way of working, of which the faster counts: other work disturbs
FEW, MANY = 200, 20_000  # inputs whose peaks of memory are compared


def make_pictures(folder: Path, count: int) -> None:
    """Shapes of all scales with edges, and film grain: neither smoother nor rougher than a scan."""
    folder.mkdir()
    for number in range(count):
        random = np.random.default_rng(number)
        gray = np.zeros((HEIGHT, WIDTH), np.float32)
        for cells, weight in ((4, 80), (32, 40), (256, 20)):
            shapes = Image.fromarray(random.uniform(-1, 1, (cells, cells)).astype(np.float32))
            smooth = np.asarray(shapes.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
            gray += weight * (np.tanh(8 * smooth) if cells == 32 else smooth)
        gray += random.standard_normal((HEIGHT, WIDTH), dtype=np.float32) * 3
        Image.fromarray(np.clip(gray + 120, 0, 255).astype(np.uint8)).save(folder / f"{number:03}.jpg", quality=92)


def run_plain_loop(out: Path, folder: Path) -> None:
    """One picture after the other, all cores at each."""
    import torch
    from transformers.utils import logging

    from modeling_chromagan import PACKAGED_WEIGHTS
    from modeling_chromagan.image_saving import save_image
    from modeling_chromagan.sources.models import load_pipeline, usable_cores

    logging.disable_progress_bar()
    torch.set_num_threads(usable_cores())
    pipeline = load_pipeline(PACKAGED_WEIGHTS)
    out.mkdir(parents=True)
    for path in sorted(folder.iterdir()):
        prepared = pipeline.preprocess(path)
        predicted = pipeline.forward(prepared)
        save_image(pipeline.postprocess(predicted), out / path.name)


def peak_of_stub_run(out: Path, inputs: Path) -> int:
    """Peak resident bytes of a run whose colorizer answers at once."""
    from modeling_chromagan.archive.engine import Run
    from modeling_chromagan.archive.local_store import LocalStore
    from modeling_chromagan.archive.manifest import Manifest
    from modeling_chromagan.archive.output_plan import make_plan
    from modeling_chromagan.archive.run_settings import RunSettings

    answer = SimpleNamespace(outputs=(), pictures=1, notes=())
    stub = SimpleNamespace(colorize=lambda source, **how: answer)
    store = LocalStore(out)
    plan = make_plan([inputs], out, None, compare=False)
    run = Run(store, Manifest(store.manifest()), RunSettings(), lambda: stub, model="stub", weights="none")
    done = sum(1 for result in run.work_off(plan.tasks, workers=2) if result.status == "colorized")
    if done != len(plan.tasks):
        raise RuntimeError(f"{done} of {len(plan.tasks)} inputs were colorized")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def seconds_of(command: list[str], source: Path) -> np.ndarray:
    """Seconds that a command takes which runs the package in `source`: of the clock, and of all cores together."""
    environment = {**os.environ, "PYTHONPATH": str(source)}
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=environment, cwd=source, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return np.array([time.perf_counter() - began, worked])


def other_revision(revision: str, folder: Path) -> Path:
    """The files of another revision of this repository."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x"], cwd=folder, check=True, input=archive)
    return folder


def measure_speed(folder: Path, count: int, before: str | None) -> dict[str, tuple[np.ndarray, float]]:
    """Of each way of working, what a picture takes without start-up, seconds and core seconds, and the start-up."""
    make_pictures(folder / "one", 1)
    make_pictures(folder / "all", count)
    loop = [sys.executable, __file__, "--plain-loop"]
    command = [sys.executable, "-m", "modeling_chromagan.cli", "colorize", "--quiet", "--out"]
    ways = {"the plain loop": (loop, ROOT), "chromagan colorize": (command, ROOT)}
    if before is not None:
        ways = {f"chromagan colorize of {before}": (command, other_revision(before, folder / "before"))} | ways
    turns: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    for turn in range(TURNS):
        for number, (name, (start, source)) in enumerate(ways.items()):
            for inputs in ("one", "all"):
                out = folder / f"{inputs}-{number}-{turn}"
                turns[name, inputs].append(seconds_of([*start, str(out), str(folder / inputs)], source))
            written = len(list(out.glob("*.jpg")))
            if written != count:
                raise RuntimeError(f"{name} wrote {written} of {count} pictures")
    least = {key: np.min(seconds, axis=0) for key, seconds in turns.items()}
    return {name: ((least[name, "all"] - least[name, "one"]) / (count - 1), least[name, "one"][0]) for name in ways}


def measure_memory(folder: Path) -> Iterator[tuple[int, int]]:
    """Numbers of inputs, and the peak resident bytes of a run over them."""
    make_pictures(folder / "picture", 1)
    for count in (FEW, MANY):
        inputs = folder / f"inputs-{count}"
        inputs.mkdir()
        for number in range(count):
            os.link(folder / "picture" / "000.jpg", inputs / f"{number:05}.jpg")
        command = [sys.executable, __file__, "--stub-run", str(folder / f"out-{count}"), str(inputs)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        printed = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE).stdout
        yield count, json.loads(printed)


def machine() -> str:
    """How many cores this process may use, and what they are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(os.sched_getaffinity(0))} cores of {names[0] if names else platform.processor()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--before", metavar="REVISION")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--plain-loop", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stub-run", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain_loop:
        run_plain_loop(*options.plain_loop)
        return
    if options.stub_run:
        print(json.dumps(peak_of_stub_run(*options.stub_run)))
        return
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        if options.memory:
            peaks = dict(measure_memory(Path(folder)))
            for count, peak in peaks.items():
                print(f"{count:>7,} inputs: {peak / 2**20:6.0f} MiB at most")
            print(f"{(peaks[MANY] - peaks[FEW]) / (MANY - FEW):.0f} bytes for each input more")
            return
        found = measure_speed(Path(folder), options.pictures, options.before)
        (slowest, _), _ = next(iter(found.values()))
        for name, ((taken, worked), start) in found.items():
            speed = f"{1 / taken:5.2f} pictures/s, {slowest / taken:4.2f} times"
            print(f"{speed}, {worked:4.2f} core seconds each; start-up and one picture {start:4.1f} s: {name}")


if __name__ == "__main__":
    main()
