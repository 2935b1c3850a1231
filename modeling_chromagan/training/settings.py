"""Nested settings: a YAML file with `key=value` over it, checked, every refusal in one line."""

import copy
import reprlib
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

from ..errors import SettingError, one_line

LARGEST = 2**32  # whole numbers are below it: numpy takes no larger seed, and no count comes near it
YAML_ERRORS = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError)  # tags raise them


SHOWN = reprlib.Repr()  # bounded: YAML's aliases can make a small file hold a billion values
SHOWN.maxlevel, SHOWN.maxlist, SHOWN.maxdict, SHOWN.maxstring, SHOWN.maxother = 2, 4, 4, 80, 80


def short(value: Any) -> str:
    """A value as it is shown in a refusal."""
    return SHOWN.repr(value)


def check_choice(value: str, accepted: Any) -> str:
    """`value`, if it is among the accepted names; a ValueError that lists them otherwise."""
    if value not in accepted:
        raise ValueError(f"is {short(value)}; accepted: {', '.join(accepted)}")
    return value


def check_file_name(name: str) -> str:
    if not name or name.startswith(".") or len(name) > 100 or not name.isprintable() or {"/", "\\"} & set(name):
        raise ValueError(f"is {short(name)}; accepted: a name that a folder can have, without slashes")
    return name


FileName = Annotated[str, AfterValidator(check_file_name)]


class Section(BaseModel):
    """A group of settings: those it names and no others, and nothing that is not finite."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def check_names(cls, values: Any) -> Any:
        if isinstance(values, cls):
            return values
        if not isinstance(values, dict):
            raise ValueError(f"is {short(values)}; accepted: settings as `key: value`")
        for name in values:
            if name not in cls.model_fields:
                raise ValueError(f"has no setting {short(name)}; accepted: {', '.join(cls.model_fields)}")
        return values

    @field_validator("*", mode="before")
    @classmethod
    def check_value(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses what Python would take for something else, or cannot hold."""
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(each, int) and abs(each) >= LARGEST:
                raise ValueError(f"is {short(value)}; accepted: numbers below 2**32")
            if isinstance(each, str) and "\0" in each:
                raise ValueError(f"is {short(value)}; accepted: text without NUL")
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError(f"is {str(value).lower()}; accepted: no truth value")
        return value


SectionType = TypeVar("SectionType", bound=Section)


class StrictLoader(yaml.SafeLoader):
    """Plain YAML in which a key stands once: of two, the first would be ignored in silence."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        checked = self.__dict__.setdefault("checked", set())
        if id(node) not in checked:  # it comes again with what `<<` merged into it
            checked.add(id(node))
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and names.count(key.value) > 1:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {short(key.value)} stands twice", key.start_mark
                    )
        super().flatten_mapping(node)


def refuse(text: str) -> SettingError:
    """The error of a refusal, its text on one line of printable characters."""
    return SettingError("".join(char if char.isprintable() else ascii(char)[1:-1] for char in one_line(text)))


def set_by_path(tree: dict, path: str, value: Any) -> None:
    """Puts `value` at a dotted path into nested dictionaries and lists, making dictionaries on the way.

    What is on the way is copied, so that a section which YAML's aliases share with others changes in its place only.

    Raises:
        SettingError: where the path runs through something that holds no settings, or past a list's end.
    """
    keys = path.split(".")
    for depth, key in enumerate(keys):
        if isinstance(tree, list):
            if not key.isdecimal() or len(key) > 9 or int(key) >= len(tree):
                raise refuse(f"{path}: {short(key)} is no place in this list; accepted: 0 to {len(tree) - 1}")
            key = int(key)
        elif not isinstance(tree, dict):
            raise refuse(f"{path}: {'.'.join(keys[:depth])} is a single value and has no {short(key)}")
        if depth == len(keys) - 1:
            tree[key] = value
        else:
            tree[key] = copy.copy(tree[key]) if isinstance(tree, list) or key in tree else {}
            tree = tree[key]


def describe(error: dict) -> str:
    """One of pydantic's errors as a line: setting, what was found, what is accepted."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{where} is missing; accepted: a value for it"
    if error["type"] == "value_error":
        reason = str(error["ctx"]["error"])  # one that begins with a dot goes on with the setting's name
        return f"{where}{reason}" if reason.startswith(".") else f"{where} {reason}".strip()
    return f"{where} is {short(error['input'])}; {error['msg'].replace('Input should be', 'accepted:')}"


def load_settings(
    kind: type[SectionType], path: str | Path, overrides: list[str] | tuple[str, ...], **defaults: Any
) -> SectionType:
    """Reads a YAML file, applies `key=value` settings (dotted paths, YAML values) and checks the result.

    Args:
        kind: the section that the whole file is.
        path: of the file.
        overrides: `key=value` each.
        defaults: taken where the file says nothing.

    Raises:
        SettingError: one line naming the file or setting, what was found and what is accepted.
    """
    try:
        tree = yaml.load(Path(path).read_text(encoding="utf-8"), StrictLoader)
    except OSError as error:
        raise refuse(f"{path}: {error.strerror or error}; accepted: a YAML file") from error
    except YAML_ERRORS as error:
        raise refuse(f"{path}: not YAML: {one_line(error, 300)}; accepted: a YAML file") from error
    if not isinstance(tree, dict):
        raise refuse(f"{path}: holds {type(tree).__name__}; accepted: settings as `key: value`")
    tree = defaults | tree
    for setting in overrides:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise refuse(f"{short(setting)} is no setting; accepted: key=value")
        try:
            value = yaml.load(value, StrictLoader)
        except YAML_ERRORS as error:
            raise refuse(f"{short(setting)}: not a YAML value: {one_line(error, 300)}") from error
        set_by_path(tree, key, value)
    try:
        return kind.model_validate(tree)
    except ValidationError as failure:
        raise refuse(f"{path}: {describe(failure.errors()[0])}") from failure


__all__ = ["FileName", "Section", "check_choice", "load_settings", "set_by_path", "short"]
