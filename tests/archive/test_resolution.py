"""Resolutions as files write them, and the numbers that people mean."""

from fractions import Fraction

import pytest

from modeling_chromagan.archive.metadata import Resolution
from modeling_chromagan.archive.resolution import in_unit, in_whole_numbers, is_plausible, per_meter, resolution_of


def test_every_whole_number_per_inch_comes_back_from_whole_numbers_per_meter():
    for number in range(1, 5000):
        stored = round(in_unit(Resolution(Fraction(number), Fraction(2 * number), "inch"), "meter")[0])
        read = per_meter(stored, round(Fraction(2 * number) * 10000 / 254))
        assert read == Resolution(Fraction(number), Fraction(2 * number), "inch")


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((1, 1, "none"), None),
        ((4, 4, "none"), None),
        ((0, 300, "inch"), None),
        ((2, 1, "none"), Resolution(Fraction(2), Fraction(1), "none")),
    ],
)
def test_numbers_that_say_nothing_are_no_resolution(numbers, expected):
    assert resolution_of(*numbers) == expected


@pytest.mark.parametrize(
    ("exact", "whole"),
    [
        (("300", "300", "inch"), (300, 300, "inch")),
        (("204", "98", "inch"), (204, 98, "inch")),
        (("118.11", "118.11", "centimeter"), (300, 300, "inch")),
        (("120", "120", "centimeter"), (120, 120, "centimeter")),
        (("299.6", "299.6", "inch"), (118, 118, "centimeter")),
        (("2.5", "1", "none"), (5, 2, "none")),
        (("1000000", "1", "none"), (65535, 1, "none")),
        (("70000", "70000", "inch"), (27559, 27559, "centimeter")),
    ],
)
def test_what_jfif_says_is_the_nearest_that_it_can(exact, whole):
    resolution = in_whole_numbers(Resolution(Fraction(exact[0]), Fraction(exact[1]), exact[2]))
    assert (resolution.x, resolution.y, resolution.unit) == whole


@pytest.mark.parametrize(
    ("stated", "plausible"),
    [
        (("300", "300", "inch"), True),
        (("0.5", "0.25", "none"), True),
        (("50000000", "50000000", "inch"), True),
        (("4000000000", "300", "inch"), False),
        (("0.001", "300", "centimeter"), False),
        (("70000", "1", "none"), False),
    ],
)
def test_only_what_every_container_can_say_is_plausible(stated, plausible):
    assert is_plausible(Resolution(Fraction(stated[0]), Fraction(stated[1]), stated[2])) is plausible
