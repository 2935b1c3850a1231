"""Errors that a user can mend: one line, whatever they hold."""

import pickle

from modeling_chromagan.errors import ImageLoadError


def test_the_message_is_one_line_whatever_the_name():
    error = ImageLoadError("a\nb\udce4.png", "reason")
    assert str(error) == r"a\nb\udce4.png: reason"
    str(error).encode()
    assert isinstance(error, ValueError)
    copied = pickle.loads(pickle.dumps(error))  # from a worker process
    assert (copied.name, copied.reason) == (error.name, error.reason)
