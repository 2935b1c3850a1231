"""Time and memory of full-size composition alone, on drawn pictures.

    python benchmarks/composition.py                  # 12 and 100 megapixels
    python benchmarks/composition.py 3000x4000 8x8    # HEIGHTxWIDTH

Prints wall and CPU seconds, and the memory beyond input and output at its peak (Linux only: it reads /proc).
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # of this checkout, installed or not

from modeling_chromagan.composition import compose


def memory(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at its peak since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) / 1024


def clouds(deviation: float, height: int, width: int) -> torch.Tensor:
    return F.interpolate(torch.randn(1, 1, 16, 16) * deviation, size=(height, width), mode="bilinear")[0, 0]


def measure(height: int, width: int) -> None:
    torch.manual_seed(0)
    gray = clouds(40.0, height, width).add_(128.0).clamp_(0.0, 240.0).byte().numpy()
    gray += np.random.default_rng(0).integers(0, 9, gray.shape, dtype=np.uint8)  # grain
    ab = torch.stack([clouds(20.0, 192, 256), clouds(20.0, 192, 256)])
    compose(gray[:64, :64], ab)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = memory("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    result = compose(gray, ab)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    temporaries = memory("VmHWM") - before - result.nbytes / 2**20
    print(
        f"{height}x{width}: {wall:.2f} s wall, {cpu:.2f} s CPU with {torch.get_num_threads()} threads, "
        f"{temporaries:.0f} MiB beyond input and output"
    )


if __name__ == "__main__":
    for size in sys.argv[1:] or ["3000x4000", "10000x10000"]:
        measure(*(int(side) for side in size.split("x")))
