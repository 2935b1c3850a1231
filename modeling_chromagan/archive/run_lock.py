"""One run at a time writes into a folder of results."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import SettingError, UserError
from .manifest import FOLDER

try:
    import fcntl
except ImportError:  # Windows: two runs at once are the user's to avoid
    fcntl = None  # type: ignore[assignment]

PATIENCE = 0.5  # seconds, in which `running` has looked


@contextlib.contextmanager
def lock_run(out: Path, *, shared: bool = False) -> Iterator[None]:
    """Inside it no other run writes into `out`; `shared` lets others be there that are shared too, as shards are.

    The operating system gives the lock back when the process ends, however it ends. Where the file system has no
    locks the run goes on without.

    Raises:
        SettingError: if another run is at it, or the folder of the manifest cannot be written.
    """
    path = out / FOLDER / "lock"

    def busy() -> SettingError:
        return SettingError(f"{out}: {_holder(path)} is writing into it; wait for its end, or choose another OUT")

    with locked_file(path, busy, shared=shared, patience=PATIENCE) as descriptor:
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(descriptor, 0)
            if not shared:
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield


@contextlib.contextmanager
def locked_file(path: Path, busy: Callable[[], UserError], *, shared: bool = False, patience: float) -> Iterator[int]:
    """The descriptor of a file, made if it is missing, that this process has locked, where the file system has locks.

    Raises:
        SettingError: if it cannot be written.
        UserError: what `busy` gives, if others have not given the lock back after `patience` seconds.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise SettingError(f"{path} cannot be written: {error.strerror}") from error
    try:
        end = time.monotonic() + patience
        while not take_lock(descriptor, shared):
            if time.monotonic() > end:
                raise busy()
            time.sleep(0.05)
        yield descriptor
    finally:
        with contextlib.suppress(OSError):  # a network share that is full says so now; the lock is given back
            os.close(descriptor)


def running(out: Path) -> str:
    """Who is writing into `out`, in words; "" if nobody is, or if that cannot be told."""
    path = out / FOLDER / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR)  # over NFS, a file opened to be read alone cannot be locked
    except OSError:
        return ""
    try:
        return "" if take_lock(descriptor, shared=False) else _holder(path)
    finally:
        os.close(descriptor)


def take_lock(descriptor: int, shared: bool) -> bool:
    """Whether the lock was free, or cannot be had on this file system."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        if name := path.read_text(encoding="utf-8", errors="replace"):
            return f"another run ({name})"
    return "another run"


__all__ = ["lock_run", "locked_file", "running"]
