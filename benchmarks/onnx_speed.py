"""Seconds of a pass of the packaged network in PyTorch and in ONNX Runtime, side by side in one run, on the CPU.

    python benchmarks/onnx_speed.py [--size 384 512] [--rounds 20]

They take turns, pass by pass, on as many threads: a shared machine is faster at one time than at another, but alike
for all. Printed are medians and how many times as fast as PyTorch each is. Exporting takes about a minute before that.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # of this checkout, installed or not

from compare_recipes import processor

from modeling_chromagan import PACKAGED_WEIGHTS
from modeling_chromagan.publishing.onnx_export import GrayToAb, export_graphs
from modeling_chromagan.sources.models import load_generator, usable_cores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(384, 512), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    threads = usable_cores()
    torch.set_num_threads(threads)
    module = GrayToAb(load_generator(PACKAGED_WEIGHTS).fold_batch_norms()).eval()
    gray = np.random.default_rng(0).random((1, 1, *options.size), dtype=np.float32)

    def in_torch() -> None:
        with torch.inference_mode():
            module(torch.from_numpy(gray))

    runs = {"PyTorch": in_torch}
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        for graph in export_graphs(PACKAGED_WEIGHTS, folder):
            session = onnxruntime.InferenceSession(graph.path, settings, providers=["CPUExecutionProvider"])
            runs[f"ONNX Runtime, {graph.precision}"] = lambda session=session: session.run(None, {"gray": gray})
    times = {name: [] for name in runs}
    for turn in range(options.rounds + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn >= 2:  # the first passes make buffers and choose kernels
                times[name].append(time.perf_counter() - start)
    print(f"{threads} cores of {processor()}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}")
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in medians.items():
        height, width = options.size
        print(f"{name}: {seconds:.3f} s at {height}x{width}, {medians['PyTorch'] / seconds:.2f} times as fast")
    return 0


if __name__ == "__main__":
    sys.exit(main())
