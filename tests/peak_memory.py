"""The peak of a process's memory, measured in a process that does nothing else."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

needs_peaks = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read as Linux tells it")


def peak_memory(process: int | str = "self") -> int:
    """Bytes of the highest resident memory so far.

    Not getrusage's ru_maxrss: a new process begins with the peak of the one that started it.
    """
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


def measure_alone(script: str, *arguments: object) -> list[int]:
    """The numbers that `script` prints in a process of its own, which may import `peak_memory`."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    ended = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert ended.returncode == 0, ended.stderr
    return [*map(int, ended.stdout.split())]


__all__ = ["measure_alone", "needs_peaks", "peak_memory"]
