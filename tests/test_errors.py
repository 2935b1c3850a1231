"""Errors that a user can mend: one line, whatever they hold."""

import pickle

import pytest

from modeling_chromagan.errors import ImageLoadError, SettingError, UserError, WeightsError, first_line, one_line


def test_the_message_is_one_line_whatever_the_name():
    error = ImageLoadError("a\nb\udce4.png", "reason")
    assert str(error) == r"a\nb\udce4.png: reason"
    str(error).encode()
    assert isinstance(error, ValueError)
    copied = pickle.loads(pickle.dumps(error))  # from a worker process
    assert (copied.name, copied.reason) == (error.name, error.reason)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("disk\n  is full.\n"), "disk is full"),
        (ValueError("..."), "ValueError"),
        ("two  spaces", "two  spaces"),
        (RuntimeError(), "RuntimeError"),
        (KeyError("conv1.weight"), "has no tensor 'conv1.weight'"),
        ("a text.", "a text."),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
    ],
)
def test_an_error_becomes_one_line(error, line):
    assert one_line(error) == line


def test_a_long_line_is_shortened_to_its_limit():
    assert one_line("x" * 10, 10) == "x" * 10
    assert one_line("x" * 11, 10) == "x" * 7 + "..."


def test_advice_of_libraries_is_left_out():
    assert first_line(OSError("no such model\nPlease log in")) == "no such model"
    assert first_line(OSError("\n")) == "OSError"


def test_errors_of_settings_end_with_two_and_all_are_caught_as_what_they_were():
    assert (UserError.exit_code, WeightsError.exit_code, SettingError.exit_code) == (1, 1, 2)
    assert issubclass(SettingError, ValueError)
    assert issubclass(WeightsError, OSError)  # what transformers raises of weights
    assert all(issubclass(kind, UserError) for kind in (SettingError, WeightsError, ImageLoadError))
