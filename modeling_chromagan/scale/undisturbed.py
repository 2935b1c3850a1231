"""What libraries that start other programs do to this process is undone."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Inside it nothing comes out of standard error, neither of code that is not Python's; SIGTERM stays as it was.

    Ray answers that by printing a stack and aborting, and while it starts by SystemExit.
    """
    answer, error = signal.getsignal(signal.SIGTERM), os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with contextlib.suppress(SystemExit):
            yield
            return
    finally:
        os.dup2(error, 2)
        os.close(error)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, answer)
    signal.raise_signal(signal.SIGTERM)


__all__ = ["undisturbed"]
