"""How many processes read pictures, and what one of them does with its memory."""

import os
import platform
import subprocess
import sys

import pytest
import torch
from accelerate import Accelerator
from conftest import ROOT

from modeling_chromagan.training.recipe import Data
from modeling_chromagan.training.run import processes as training_processes
from modeling_chromagan.training.run.processes import (
    MOST_DATA_WORKERS,
    count_data_workers,
    largest_over_processes,
    sum_over_processes,
)


@pytest.mark.parametrize(
    ("asked", "device", "remote", "processes", "cores", "expected"),
    [
        (None, "cpu", False, 1, 16, 0),  # the cores have the arithmetic to do
        (None, "cuda", False, 1, 16, MOST_DATA_WORKERS),
        (None, "cuda", False, 8, 16, 1),  # two cores a process, one of them the training's
        (None, "cuda", False, 1, 1, 1),
        (None, "cuda", True, 1, 16, 1),  # each worker downloads everything
        (6, "cuda", True, 1, 16, 6),
        (2, "cpu", False, 1, 16, 2),
        (0, "cuda", False, 1, 16, 0),
    ],
)
def test_a_gpu_has_its_pictures_read_for_it(asked, device, remote, processes, cores, expected, monkeypatch):
    monkeypatch.setattr(training_processes, "usable_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    settings = Data(sources={}, workers=asked)
    assert count_data_workers(settings, torch.device(device), remote) == expected


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_a_step_gets_the_memory_of_the_step_before():
    """And not new pages, each of which the kernel would have to clear."""
    code = """
import resource
import torch
from modeling_chromagan.training.run.processes import keep_freed_memory

keep_freed_memory()
faults = []
for step in range(8):
    activations = [torch.ones(2**23) for _ in range(4)]  # 32 MiB each
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    del activations
print(faults[-1] - faults[-3])  # where blocks lie settles in the first steps
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "THP_MEM_ALLOC_ENABLE": "0"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 4096  # 65,536 otherwise; kernels that reclaim pages of their own accord take hundreds


def test_one_process_counts_for_itself():
    accelerator = Accelerator(cpu=True)
    assert sum_over_processes(accelerator, {"broken": 2, "grayscale": 0}) == {"broken": 2, "grayscale": 0}
    assert largest_over_processes(accelerator, 15) == 15
