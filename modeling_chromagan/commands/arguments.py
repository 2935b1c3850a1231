"""Types of command-line arguments: what is wrong with one is said before any work."""

import argparse
import contextlib
import re
from collections.abc import Callable

DEVICES = "auto, cpu, cuda, cuda:N, mps"


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """An argparse type: a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        accepted = f"a whole number from {least} " + (f"to {most}" if most else "upwards")
        with contextlib.suppress(ValueError):
            number = int(text)
            if number >= least and (most is None or number <= most):
                return number
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: {accepted}")

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """An argparse type: a number from `least` to `most`."""

    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            value = float(text)
            if least <= value <= most:  # so written, NaN is refused too
                return value
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: a number from {least:g} to {most:g}")

    return parse


def worker_range(text: str) -> tuple[int, int]:
    """An argparse type: how many workers there are, as N, or at least and at most, as MIN:MAX."""
    numbers = [int(part) for part in text.split(":")] if re.fullmatch(r"\d+(:\d+)?", text) else []
    if not numbers or not 1 <= numbers[0] <= numbers[-1] <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: N or MIN:MAX, from 1 to 10000")
    return numbers[0], numbers[-1]


def device_name(text: str) -> str:
    """An argparse type: the name of a device, which may or may not exist here."""
    if re.sub(r"^cuda:\d+$", "cuda:N", text) not in DEVICES.split(", ") or text == "cuda:N":
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: {DEVICES}")
    return text
