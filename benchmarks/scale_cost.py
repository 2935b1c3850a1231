"""What a picture costs a core of this machine, and from it, on paper, hours and cost of large collections.

    python benchmarks/scale_cost.py [--pictures 12] [--core-hour 0.04] [--gpu-hour 0.80] [--gpu-cores 8]

Measured is processor time, on one thread, of reading, network, composition and writing of gray JPEGs of 1 and 12
megapixels (the photographs in examples, enlarged), JPEG in and JPEG out: other work on the machine hardly changes it.
Everything else is assumed and printed beside the table: prices, and that shards keep all workers busy to the end.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # of this checkout, installed or not

import torch
from PIL import Image

from modeling_chromagan import PACKAGED_WEIGHTS
from modeling_chromagan.archive.colorizing import FileColorizer
from modeling_chromagan.archive.local_store import LocalStore
from modeling_chromagan.archive.run_settings import RunSettings
from modeling_chromagan.image_loading import load_color
from modeling_chromagan.sources.models import load_pipeline

COUNTS = (50_000, 5_000_000, 50_000_000)
MEGAPIXELS = (1, 12)
CORES = (2, 64, 1_024)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=12, help="of each size")
    parser.add_argument("--core-hour", type=float, default=0.04, help="price of a core for an hour")
    parser.add_argument("--gpu-hour", type=float, default=0.80, help="price of a machine with a GPU for an hour")
    parser.add_argument("--gpu-cores", type=int, default=8, help="cores of that machine")
    options = parser.parse_args()
    torch.set_num_threads(1)
    measured = {size: measure(size, options.pictures) for size in MEGAPIXELS}
    print("| picture | processor time | of it in the network |\n|---|---|---|")
    for size, (whole, network) in measured.items():
        print(f"| {size} MP | {whole:.2f} s | {network:.2f} s |")
    machines = "".join(f" {cores:,} cores |" for cores in CORES)
    print(f"\n| scans | core hours | cost |{machines} GPU and {options.gpu_cores} cores | cost |")
    print("|---|---|---|" + "---|" * (len(CORES) + 2))
    for count in COUNTS:
        for size, (whole, network) in measured.items():
            hours = count * whole / 3600
            on_gpu = count * (whole - network) / 3600 / options.gpu_cores
            cells = [f"{count:,} of {size} MP", f"{hours:,.0f}", money(hours * options.core_hour)]
            cells += [duration(hours / cores) for cores in CORES]
            cells += [duration(on_gpu), money(on_gpu * options.gpu_hour)]
            print(f"| {' | '.join(cells)} |")
    prices = f"{options.core_hour} a core and hour, {options.gpu_hour} an hour of a GPU machine"
    print(f"\nAssumed: {prices}; its cores do all but the network's work, and the GPU waits for them.")
    return 0


def measure(megapixels: int, pictures: int) -> tuple[float, float]:
    """Seconds of processor time of a picture, and those of them that its way through the network takes."""
    pipeline = load_pipeline(PACKAGED_WEIGHTS)
    spent = 0.0
    forward = pipeline.forward

    def timed(inputs: dict) -> dict:
        nonlocal spent
        began = time.process_time()
        outputs = forward(inputs)
        spent += time.process_time() - began
        return outputs

    pipeline.forward = timed
    colorizer = FileColorizer(pipeline, RunSettings(), "packaged", "0" * 64)
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(Path(folder, "out"))
        sources = enlarged(Path(folder), megapixels)
        for number in range(-1, pictures):  # the first one warms up
            if number == 0:
                began, spent = time.process_time(), 0.0
            source = store.read(sources[number % len(sources)])
            colorizer.colorize(
                source, called="a.jpg", output="a.jpg", compare=False, keep=frozenset(), write=store.write
            )
        return (time.process_time() - began) / pictures, spent / pictures


def enlarged(folder: Path, megapixels: int) -> list[Path]:
    """The examples in gray, with about that many pixels."""
    paths = []
    for path in sorted((ROOT / "examples").glob("*.jpg")):
        picture = load_color(path)
        scale = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
        size = (round(picture.width * scale), round(picture.height * scale))
        paths.append(folder / path.name)
        picture.convert("L").resize(size, Image.Resampling.LANCZOS).save(paths[-1], quality=90)
    return paths


def duration(hours: float) -> str:
    """Hours in words of two digits."""
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.1f} h" if hours < 72 else f"{hours / 24:,.0f} d"


def money(amount: float) -> str:
    """A price in words of two or three digits."""
    return f"${amount:,.2f}" if amount < 10 else f"${amount:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
