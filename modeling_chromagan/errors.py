"""Errors that a user can mend: one line that names the file or setting, what was found and what is accepted."""

import re

LINE_END = re.compile(r"\s*[\r\n]\s*")


class UserError(Exception):
    """Something that whoever runs a command can mend; `str` is one line, and commands end with `exit_code`."""

    exit_code = 1


class SettingError(UserError, ValueError):
    """A setting of a recipe or of the command line that is not accepted, found before any work is done."""

    exit_code = 2


class WeightsError(UserError, OSError):
    """A model's weights, or its config, that are not read."""


class ImageLoadError(UserError, ValueError):
    """A picture that cannot be used; `str` is one line, "NAME: reason"."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return printable(f"{self.name}: {self.reason}")


def printable(text: str) -> str:
    """A text on one line that any terminal shows: what is not to be seen (line ends, lone bytes) as its number."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def one_line(error: object, length: int | None = None) -> str:
    """All that an error or a text says, on one line, shortened to `length` characters; an error's type if nothing."""
    text = LINE_END.sub(" ", str(error).strip())  # other spaces stay: names may hold several
    if isinstance(error, BaseException):
        text = text.rstrip(".") or type(error).__name__
    if isinstance(error, KeyError):  # of tensors by their names
        text = f"has no tensor {text}"
    return text if length is None or len(text) <= length else text[: length - 3] + "..."


def first_line(error: BaseException) -> str:
    """What an error says first; libraries go on with advice for programmers."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


__all__ = ["ImageLoadError", "SettingError", "UserError", "WeightsError", "first_line", "one_line", "printable"]
