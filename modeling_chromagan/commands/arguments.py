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


def device_name(text: str) -> str:
    """An argparse type: the name of a device, which may or may not exist here."""
    if re.sub(r"^cuda:\d+$", "cuda:N", text) not in DEVICES.split(", ") or text == "cuda:N":
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: {DEVICES}")
    return text
