"""What a library does to the process while it starts."""

import os
import signal

from modeling_chromagan.scale.undisturbed import undisturbed


def test_nothing_is_said_and_sigterm_stays_as_it_was(capfd):
    before = signal.getsignal(signal.SIGTERM)
    with undisturbed():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(2, b"a message")
    assert signal.getsignal(signal.SIGTERM) == before
    os.write(2, b"ours")
    assert capfd.readouterr().err == "ours"
