"""What arguments of the command line accept."""

import argparse

import pytest

from modeling_chromagan.commands.arguments import device_name, number, whole_number


@pytest.mark.parametrize(
    ("kind", "accepted", "refused", "reason"),
    [
        (whole_number(1), {"1": 1, "64": 64}, ("0", "-1", "1.5", "", "many"), "a whole number from 1 upwards"),
        (whole_number(16, 2048), {"16": 16, "2048": 2048}, ("15", "2049"), "a whole number from 16 to 2048"),
        (number(0, 2), {"0": 0, "1.25": 1.25, "2": 2}, ("-0.1", "2.1", "nan", "inf", "much"), "a number from 0 to 2"),
        (
            device_name,
            {name: name for name in ("auto", "cpu", "cuda", "cuda:1", "mps")},
            ("gpu", "cuda:", "cpu:0"),
            "auto, cpu, cuda, cuda:N, mps",
        ),
    ],
)
def test_what_is_accepted_and_how_the_rest_is_refused(kind, accepted, refused, reason):
    assert {text: kind(text) for text in accepted} == accepted
    for text in refused:
        with pytest.raises(argparse.ArgumentTypeError) as error:
            kind(text)
        assert str(error.value) == f"{text!r}; accepted: {reason}"
