"""Batches that do not fit into memory: refused beforehand where that is certain, one line where it turns out."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from ... import ChromaGANGenerator
from ...errors import SettingError, UserError, one_line
from ..recipe import Recipe

GIBIBYTE = 2**30
MEMINFO = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")  # Linux, version 2
USUAL_BYTES = 16 * 2**10  # more than a pixel takes in any generator of its usual width; looked at closely above it


class OutOfMemory(UserError):
    """A step needed more memory than there is."""

    def __init__(self, error: BaseException):
        super().__init__(f"out of memory: {one_line(error, 200)}; a smaller batch_size or a larger accumulation")


@contextmanager
def report_lack_of_memory() -> Iterator[None]:
    """Inside it, what says that memory cannot be had is raised as `OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        on_cpu = isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
        if on_cpu or isinstance(error, torch.OutOfMemoryError):
            raise OutOfMemory(error) from error
        raise


def refuse_oversized_batches(recipe: Recipe, device: torch.device, processes: int) -> None:
    """Compares the least that a step needs, the pictures and what the generator keeps for its gradient, with the
    memory that is free.

    Raises:
        SettingError: naming the first batch size that cannot fit, and both figures.
    """
    free = free_memory(device)
    if free is None:
        return
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if device.type == "cpu" else 1  # processes that share it
    for i, phase in enumerate(recipe.phases):
        for k, kind in enumerate(phase.batches):
            height, width = kind.shape
            if USUAL_BYTES * height * width * kind.batch_size <= free:
                continue
            # A part of a batch is taken at a time; a picture is three bytes a pixel all the while.
            each = 3 * height * width + least_bytes(recipe, height, width) // recipe.accumulation
            need = each * kind.batch_size * here // processes
            if need > free:
                raise SettingError(
                    f"phases.{i}.batches.{k}.batch_size is {kind.batch_size}: a step takes at least "
                    f"{need / GIBIBYTE:,.1f} GiB, {free / GIBIBYTE:,.1f} GiB are free; accepted: "
                    f"less than {free * processes // (here * each):,}, or more parts (accumulation)"
                )


def least_bytes(recipe: Recipe, height: int, width: int) -> int:
    """What a picture takes while its gradient is computed: encoded, and in the generator, without any arithmetic."""
    pixels = 4 * (1 + 2 + 2) * height * width  # luminance, true and predicted color in float32
    if recipe.compile:  # computes again what it would have to keep
        return pixels
    with torch.device("meta"):
        try:
            generator = ChromaGANGenerator(recipe.build_config()).eval()
        except ImportError:  # told by what builds the networks
            return pixels
        one, two = (bytes_kept(generator, torch.empty(count, 1, height, width)) for count in (1, 2))
    return pixels + (two - one) // (2 if recipe.precision == "bfloat16" else 1)  # at least


def bytes_kept(generator: ChromaGANGenerator, luminance: torch.Tensor) -> int:
    """Bytes of all tensors that a forward keeps for its gradient."""
    kept = {}

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[StorageWeakRef(storage).cdata] = storage
        return tensor

    with saved_tensors_hooks(remember, lambda tensor: tensor):
        generator(luminance)
    return sum(storage.nbytes() for storage in kept.values())


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on a device, swap space included; `None` if that is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    with suppress(OSError, ValueError, KeyError):  # not Linux
        lines = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
        free = sum(1024 * int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
        with suppress(OSError, ValueError):  # no container, or "max" for one without a limit
            files = dict(line.split() for line in (CONTAINER / "memory.stat").read_text().splitlines())["file"]
            used = int((CONTAINER / "memory.current").read_text()) - int(files)  # without what is only a copy of files
            free = min(free, int((CONTAINER / "memory.max").read_text()) - used)
        return free
    return None


__all__ = ["OutOfMemory", "refuse_oversized_batches", "report_lack_of_memory"]
