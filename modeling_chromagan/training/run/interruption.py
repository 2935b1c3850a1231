"""Signals as wishes: a run that is asked to stop finishes its step, saves, and says by its exit code who asked."""

import signal
from types import FrameType

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Interruption:
    """While it is entered, SIGINT and SIGTERM are noted instead of obeyed; the second one changes nothing.

    `received` is the first signal, `None` while nobody asked. Once somebody did the process is on its way out, and
    signals stay without effect also after the end: another one must not spoil the exit code.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self.previous = {}

    def __enter__(self) -> "Interruption":
        self.previous = {number: signal.signal(number, self.note) for number in EXIT_CODES}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, signal.SIG_IGN if self.received else handler)

    def note(self, number: int, _: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)


def leave_signals_to_the_parent(_: int) -> None:
    """For data workers: a signal to the process group is the training process' to answer, which ends them itself."""
    for number in EXIT_CODES:
        signal.signal(number, signal.SIG_IGN)


class Interrupted(Exception):
    """The run was asked to stop and has saved its state; `exit_code` is the shell's convention for the signal."""

    def __init__(self, number: signal.Signals):
        super().__init__(f"stopped by {number.name}")
        self.exit_code = EXIT_CODES[number]
