"""Resolutions as files write them, and the numbers that people mean."""

from fractions import Fraction

from .metadata import Resolution

INCH = Fraction(254, 10_000)  # meters
UNITS = {1: "none", 2: "inch", 3: "centimeter"}  # of TIFF and EXIF


def resolution_of(x: Fraction | int, y: Fraction | int, unit: str) -> Resolution | None:
    """The two numbers as a resolution; None where they say nothing: zero, less, or "none" of square pixels."""
    x, y = Fraction(x), Fraction(y)
    if x <= 0 or y <= 0 or (unit == "none" and x == y):
        return None
    return Resolution(x, y, unit)


def per_meter(x: Fraction | int, y: Fraction | int) -> Resolution | None:
    """A resolution that was stored per meter, in whole numbers: per inch where that was meant, else per centimeter.

    300 per inch are 11,811.02 per meter: 11,811 means 300, not 299.9994.
    """
    x, y = Fraction(x), Fraction(y)
    inches = [Fraction(round(number * INCH)) for number in (x, y)]
    meant = all(abs(inch / INCH - number) <= Fraction(1, 2) for inch, number in zip(inches, (x, y), strict=True))
    if meant and all(inches):
        return resolution_of(inches[0], inches[1], "inch")
    return resolution_of(x / 100, y / 100, "centimeter")


def is_plausible(resolution: Resolution) -> bool:
    """Whether every container can say it: from a pixel per meter to two million per millimeter, or an aspect."""
    if resolution.unit == "none":
        return 1 / 0xFFFF <= resolution.x / resolution.y <= 0xFFFF
    return all(1 <= number <= 2_000_000_000 for number in in_unit(resolution, "meter"))


def in_unit(resolution: Resolution, unit: str) -> tuple[Fraction, Fraction]:
    """Across and down, per "inch", "centimeter" or "meter"; of a resolution that has a unit."""
    lengths = {"inch": INCH, "centimeter": Fraction(1, 100), "meter": Fraction(1)}
    factor = lengths[unit] / lengths[resolution.unit]
    return resolution.x * factor, resolution.y * factor


def in_whole_numbers(resolution: Resolution) -> Resolution:
    """What is nearest in the whole numbers of 16 bits that JFIF has, per inch or centimeter, or as an aspect."""
    if resolution.unit == "none":
        return Resolution(*_aspect(resolution), "none")
    choices = []
    for unit in (resolution.unit, "inch", "centimeter"):
        exact = in_unit(resolution, unit)
        whole = [Fraction(min(max(round(number), 1), 0xFFFF)) for number in exact]
        error = max(abs(number / wanted - 1) for number, wanted in zip(whole, exact, strict=True))
        choices.append((error, Resolution(whole[0], whole[1], unit)))
    return min(choices, key=lambda choice: choice[0])[1]


def _aspect(resolution: Resolution) -> tuple[Fraction, Fraction]:
    ratio = (resolution.x / resolution.y).limit_denominator(0xFFFF)
    if ratio > 0xFFFF:
        return Fraction(0xFFFF), Fraction(1)
    if ratio.numerator > 0xFFFF:
        ratio = ratio.limit_denominator(max(1, int(0xFFFF / ratio)))
    return Fraction(max(ratio.numerator, 1)), Fraction(ratio.denominator)


__all__ = ["in_unit", "in_whole_numbers", "is_plausible", "per_meter", "resolution_of"]
