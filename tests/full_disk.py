"""Disks that are full: a limit on the size of files, to the byte, and a small file system that really is full."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    import resource
except ImportError:  # Windows has none
    resource = None


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Inside it, this process can make no file larger than `size` bytes: what crosses it is cut, then an error."""
    if resource is None:
        pytest.skip("the size of files cannot be limited here")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes at `place`; skips where mounting is not allowed."""
    place.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid():
        pytest.skip("mounting is for root on Linux")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def fill(folder: Path, left: int) -> Path:
    """Fills the file system of `folder` with a file until there are `left` bytes, or a little less."""
    filler = folder / "filler"
    status = os.statvfs(folder)
    with filler.open("wb") as file:
        file.write(bytes(max(0, status.f_bavail * status.f_frsize - left)))
    return filler
