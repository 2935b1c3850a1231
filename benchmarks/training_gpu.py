"""Training on a GPU: pictures per second, share of its peak, and how long it waits for data.

    CHROMAGAN_DATA=FOLDER python benchmarks/training_gpu.py [--recipe NAME] [--sizes 128 224] [--batch-size 64]

`train.py`'s own loop on Tiny ImageNet, every picture judged, data workers as the recipe has them. A teacher has random
weights here: they do not change its speed. The peak is that of a large matrix product in bfloat16, measured;
operations are counted by torch in the first step, of all networks in it. Runs on a CPU too, where it only shows that
it works: `benchmarks/training.py` is for CPUs.
"""

import argparse
import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

# Puts this checkout on the path, too.
from training import PHASES, Case, add_data_argument, make_recipe, make_trainer

from modeling_chromagan.training.step import Updates

WARM_UP = 5  # steps that do not count: kernels are chosen, data workers start


def synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def measure_peak(device: torch.device) -> float:
    """Operations a second of a matrix product in bfloat16, the best of twenty."""
    rows = 2048 if device.type == "cpu" else 8192
    a, b = (torch.randn(rows, rows, device=device).bfloat16() for _ in range(2))
    times = []
    for _ in range(20):
        synchronize(device)
        started = time.perf_counter()
        a @ b
        synchronize(device)
        times.append(time.perf_counter() - started)
    return 2 * rows**3 / min(times)


def measure_loop(case: Case, data: str, phase: int, steps: int, device: str) -> dict[str, float]:
    """Seconds of a step and of the waiting in it, both medians, and the operations of a step."""
    recipe = make_recipe(case, data, phase, WARM_UP + steps + 1, device=device)
    trainer = make_trainer(recipe, phase)
    place, update = trainer.accelerator.device, Updates.update
    begins, ends, operations = [], [], []

    def timed(*arguments):
        begins.append(time.perf_counter())
        if operations:
            losses = update(*arguments)
        else:
            with FlopCounterMode(display=False) as counter:
                losses = update(*arguments)
            operations.append(counter.get_total_flops())
        synchronize(place)
        ends.append(time.perf_counter())
        return losses

    Updates.update = timed
    try:
        trainer.run_phase(phase, trainer.step, {})
    finally:
        Updates.update = update
    whole = np.diff(ends)[WARM_UP:]
    waiting = (np.array(begins)[1:] - np.array(ends)[:-1])[WARM_UP:]
    return {"step": np.median(whole), "waiting": np.median(waiting), "operations": operations[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="chromagan_tiny224.yaml", help="of recipes/, ChromaGAN's (%(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 224], help="pixels a side")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40)
    add_data_argument(parser)
    options = parser.parse_args()
    device = "auto" if torch.accelerator.is_available() else "cpu"
    place = torch.accelerator.current_accelerator() if device == "auto" else torch.device("cpu")
    name = torch.cuda.get_device_name() if place.type == "cuda" else str(place)
    peak = measure_peak(place)
    print(f"{name}, torch {torch.__version__}: {peak / 1e12:.1f} TFLOP/s in bfloat16 matrix products")
    print(f"{options.recipe}, batches of {options.batch_size}")
    lines = ["| size | phase | pictures/s | share of the peak | waiting for data | memory (GiB) |"]
    lines.append("|---:|---|---:|---:|---:|---:|")
    for size in options.sizes:
        for phase, title, _ in PHASES:
            if place.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            case = Case(options.recipe, size, options.batch_size)
            found = measure_loop(case, options.data, phase, options.steps, device)
            memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if place.type == "cuda" else "-"
            lines.append(
                f"| {size} | {title} | {options.batch_size / found['step']:.1f} "
                f"| {100 * found['operations'] / found['step'] / peak:.0f} % "
                f"| {100 * found['waiting'] / found['step']:.0f} % | {memory} |"
            )
    print("\n".join(["", *lines]))


if __name__ == "__main__":
    main()
