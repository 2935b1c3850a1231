"""Signals as wishes: the first one has a run finish its step, save and stop, a later one ends it at once."""

import os
import signal
import threading
import time
from collections.abc import Callable

from ...errors import UserError

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
ONE_WISH_SECONDS = 1.0  # signals this close are one: a launcher passes on what its processes have received already


class Interruption:
    """While it is entered, SIGINT and SIGTERM are noted; a second or more after the first, another ends the process.

    `received` is the first signal, `None` while nobody asked. Once somebody did and the run is left, signals stay
    without effect: another one must not spoil the exit code. To be entered in the main thread.

    Args:
        what_stands: says what a run that ends at once leaves behind, in one line.
        report: whether this process prints; the others of a distributed run leave it to the first.
    """

    def __init__(self, what_stands: Callable[[], str], report: bool = True):
        self.received: signal.Signals | None = None
        self.what_stands, self.report = what_stands, report

    def __enter__(self) -> "Interruption":
        # Python calls handlers when the main thread is back from C code, which in a large step takes minutes. The
        # number of a signal is in the pipe at once, for a thread that waits for nothing else.
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.write_end, False)
        self.previous_end = signal.set_wakeup_fd(self.write_end, warn_on_full_buffer=False)
        self.previous = {number: signal.signal(number, lambda *_: None) for number in EXIT_CODES}
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, signal.SIG_IGN if self.received else handler)
        signal.set_wakeup_fd(self.previous_end)
        os.write(self.write_end, b"\0")  # no signal has this number; data workers may hold the pipe open
        self.thread.join()
        os.close(self.write_end)
        os.close(self.read_end)

    def watch(self) -> None:
        """Until a zero is read: notes the first signal, and ends the process at a later one."""
        while number := os.read(self.read_end, 1)[0]:
            if number not in EXIT_CODES:
                continue
            now, name = time.monotonic(), signal.Signals(number).name
            if self.received is None:
                self.received, first = signal.Signals(number), now
                self.say(f"{name}: stops when this step is done and saved; once more ends at once")
            elif now - first >= ONE_WISH_SECONDS:
                try:
                    self.say(f"ended at once by {name}; {self.what_stands()}")
                finally:
                    os._exit(EXIT_CODES[number])

    def say(self, text: str) -> None:
        if self.report:
            os.write(2, f"train.py: {text}\n".encode())  # the main thread may hold sys.stderr


def leave_signals_to_the_parent(_: int) -> None:
    """For data workers: a signal to the process group is the training process' to answer, which ends them itself."""
    for number in EXIT_CODES:
        signal.signal(number, signal.SIG_IGN)


class Interrupted(UserError):
    """The run was asked to stop, and has; `exit_code` is the shell's convention for the signal."""

    def __init__(self, number: signal.Signals):
        super().__init__(f"stopped by {number.name}, the same command goes on")
        self.exit_code = EXIT_CODES[number]


__all__ = ["Interrupted", "Interruption", "leave_signals_to_the_parent"]
