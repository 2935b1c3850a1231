"""What a library does to the process while it starts."""

import os
import signal
import sys

import pytest

from modeling_chromagan.cli import Terminated, answering_sigterm
from modeling_chromagan.scale.undisturbed import undisturbed


def test_nothing_is_said_and_sigterm_stays_as_it_was(capfd):
    before = signal.getsignal(signal.SIGTERM)
    with undisturbed():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(2, b"a message")
    assert signal.getsignal(signal.SIGTERM) == before
    os.write(2, b"ours")
    assert capfd.readouterr().err == "ours"


def test_sigterm_that_a_library_answers_by_its_exit_is_answered_by_us():
    def start():
        with undisturbed():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
            signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with answering_sigterm(), pytest.raises(Terminated):
            start()
    finally:
        signal.signal(signal.SIGTERM, before)
