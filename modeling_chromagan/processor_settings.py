"""What the settings of the image processor accept, without torch, so that a command can refuse them at once."""

from collections.abc import Collection, Mapping
from typing import Any

from .errors import SettingError

CHOICES: dict[str, tuple[str | bool, ...]] = {
    "borders": ("auto", "keep"),
    "do_convert_rgb": (True, False),
    "do_resize": (True, False),
    "do_rescale": (True,),
    "do_normalize": (True,),
}
# Shortest edges begin at the generator's minimum and end where a mistyped number would take all memory.
RANGES: dict[str, tuple[Any, Any]] = {
    "shortest_edge": (16, 2048),
    "resample": (0, 5),
    "saturation": (0.0, 2.0),
    "max_pixels": (1, 10**11),
}
LONGEST_TO_SHORTEST = 64


def check_names(names: Collection[str], accepted: Collection[str]) -> None:
    """Raises TypeError naming what is no setting, and what is."""
    if unknown := [name for name in names if name not in accepted]:
        raise TypeError(f"{', '.join(unknown)} is unknown; accepted: {', '.join(accepted)}")


def check_settings(**settings: Any) -> None:
    """Raises SettingError naming the first wrong setting, what was given and what is accepted."""
    for name, value in settings.items():
        if name == "size":
            complete_size(value, replaced={"shortest_edge": 1, "longest_edge": 1})
        elif name in CHOICES:
            check_choice(name, value, CHOICES[name])
        else:
            least, most = RANGES[name]
            if not _is_number(value, type(most)) or not least <= value <= most:
                number = "a whole number" if isinstance(most, int) else "a number"
                raise SettingError(f"{name} is {value!r}; accepted: {number} from {least} to {most}")


def check_choice(name: str, value: Any, accepted: Collection[str | bool]) -> None:
    """Raises SettingError naming the setting, its value and what is accepted."""
    if not any(type(value) is type(choice) and value == choice for choice in accepted):
        raise SettingError(f"{name} is {value!r}; accepted: {', '.join(map(str, accepted))}")


def complete_size(size: Any, replaced: Mapping[str, int]) -> dict[str, int]:
    """A size as `{"shortest_edge": ..., "longest_edge": ...}`, in pixels.

    Args:
        size: such a mapping, one without the longest edge, or the shortest edge alone.
        replaced: the size that it replaces; a longest edge that was not given keeps this one's proportion.

    Raises:
        SettingError: naming what was given and what is accepted.
    """
    given = dict(size) if hasattr(size, "get") else {"shortest_edge": size}  # SizeDict is no Mapping
    shortest: Any = given.get("shortest_edge")
    longest: Any = given.get("longest_edge")
    least, most = RANGES["shortest_edge"]
    if given.keys() <= {"shortest_edge", "longest_edge"} and _is_number(shortest, int) and least <= shortest <= most:
        if longest is None:
            longest = round(shortest * (replaced["longest_edge"] / replaced["shortest_edge"]))
        if _is_number(longest, int) and shortest <= longest <= LONGEST_TO_SHORTEST * shortest:
            return {"shortest_edge": shortest, "longest_edge": longest}
    raise SettingError(
        f"size is {size!r}; accepted: shortest_edge, a whole number from {least} to {most}, alone or with "
        f"longest_edge, 1 to {LONGEST_TO_SHORTEST} times as many pixels"
    )


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, (int, kind)) and not isinstance(value, bool)


__all__ = ["CHOICES", "RANGES", "check_choice", "check_names", "check_settings", "complete_size"]
