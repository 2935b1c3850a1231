"""Memory of the process that has Ray work off a plan, by the number of shards.

    python benchmarks/ray_memory.py 1000
    python benchmarks/ray_memory.py 100000

The two workers do nothing.
"""

import argparse
import os
import pickle
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # of this checkout, installed or not

from modeling_chromagan.archive.run_settings import RunSettings
from modeling_chromagan.scale.ray_engine import run_on_ray
from modeling_chromagan.scale.shards import Work


class Idle:
    """A worker for which every shard is done at once, in half a kilobyte of words."""

    def __init__(self, work: Work):
        pass

    def __call__(self, batch: dict) -> dict:
        return {"done": [pickle.dumps([os.urandom(500)]) for _ in batch["item"]]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=int)
    shards = parser.parse_args().shards
    begun = time.monotonic()
    work = Work(out="", settings=RunSettings(), model="", weights="", load=dict)
    done = run_on_ray(work, range(shards), address="local", workers=(2, 2), gpus_per_worker=0, worker=Idle)
    count = sum(1 for _ in done)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    size, seconds = pages * os.sysconf("SC_PAGE_SIZE") / 1e6, time.monotonic() - begun
    print(f"{count:,} shards: {size:.0f} MB, {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
