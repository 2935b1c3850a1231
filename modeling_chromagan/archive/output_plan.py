"""Which picture becomes which file; every clash is refused before any work is done.

No picture is opened here and torch is not imported, so a refusal takes no time.
"""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..errors import SettingError
from ..picture_formats import FORMAT_OF_SUFFIX, PICTURE_SUFFIXES, output_name
from .manifest import FOLDER

LONGEST_NAME = 255  # bytes, of a file or folder on all common file systems
SECOND_FILE = re.compile(r"(.+)\.(?:compare|page-\d{4,})")  # what `with_middle` makes of the name before the suffix


@dataclass(frozen=True)
class Task:
    """One picture, and the name of its result below the folder of the results, with slashes."""

    source: Path
    name: str


def compare_name(name: str) -> str:
    """What the comparison of the result `name` is called."""
    return with_middle(name, ".compare")


def page_name(name: str, number: int) -> str:
    """What page or frame `number` of the result `name` is called, in formats that hold one picture; the first is 1."""
    return name if number == 1 else with_middle(name, f".page-{number:04}")


def with_middle(name: str, middle: str) -> str:
    """The result `name` with `middle` before its suffix."""
    path = PurePosixPath(name)
    return str(path.with_name(fit_name(path.stem, f"{middle}{path.suffix}")))


def fit_name(stem: str, end: str, apart: str = "") -> str:
    """A file name, marked with a hash where it is too long and has to be cut, or is to be told `apart` from others."""
    if not apart and len(os.fsencode(stem + end)) <= LONGEST_NAME:
        return stem + end
    end = f"~{hashlib.sha256(os.fsencode(apart or stem)).hexdigest()[:8]}{end}"
    while len(os.fsencode(stem + end)) > LONGEST_NAME:
        stem = stem[:-1]
    return stem + end


@dataclass
class Plan:
    """Everything a run reads and writes, in order, and what was found on the way: failures, notes, and other files."""

    tasks: list[Task] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_pictures: int = 0


def make_plan(inputs: Sequence[Path], out: Path, output_format: str | None, compare: bool) -> Plan:
    """Decides what `inputs` become: nothing is written, and nothing is read but folders.

    A picture named in `inputs` comes to lie in `out` itself, one found in a folder at the same place as in that
    folder. Two that would share an output keep their suffixes ("a.jpg.png"). Those that still would, because case or
    the composition of accents does not count in `out`, get a mark made of their own name ("a~1b2c3d4e.png"), and so do
    those that are called as a page or the comparison of another.

    Raises:
        SettingError: if two pictures would still share an output, or an output would be an input.
    """
    if os.path.exists(out) and not os.path.isdir(out):
        raise SettingError(f"-o {out} is a file; accepted: a folder")
    if out.suffix.lower() in FORMAT_OF_SUFFIX and not os.path.isdir(out):
        raise SettingError(f"-o {out} is named like a picture; accepted: a folder, results keep their names in it")

    plan = Plan()
    places: dict[
        tuple[str, Path], Path
    ] = {}  # (real path, place below `out`) -> path as given; naming a picture twice makes no second output
    for path in inputs:
        if os.path.isdir(path):
            if os.path.isdir(out) and path.samefile(out):
                raise SettingError(f"{path} is both INPUT and OUT; choose another OUT")
            for picture in find_pictures(path, out, plan):
                places.setdefault((os.path.realpath(picture), picture.relative_to(path)), picture)
        elif os.path.exists(path):
            places.setdefault((os.path.realpath(path), Path(path.name)), path)
        else:
            plan.failures.append(f"{path}: there is no such file or folder")

    key = comparison_key(out)
    short = [result_name(place, output_format) for _, place in places]
    uses = Counter(map(key, short))
    names = [
        name if uses[key(name)] == 1 else result_name(place, output_format, keep_suffix=True)
        for (_, place), name in zip(places, short, strict=True)
    ]
    spellings: dict[str, set[Path]] = {}
    for name in names:
        spellings.setdefault(key(name), set()).add(name)
    for (_, place), plain, name, source in zip(places, short, names, places.values(), strict=True):
        if len(spellings[key(name)]) > 1 or is_called_as_another(name, spellings, key):
            name = name.with_name(fit_name(plain.stem, plain.suffix, apart=str(place)))
        plan.tasks.append(Task(source, name.as_posix()))

    read = {key(location): task.source for task in plan.tasks for location in locations(task.source)}
    written: dict[str, Path] = {}
    for task in plan.tasks:
        for output in [out / task.name, *([out / compare_name(task.name)] if compare else [])]:
            first = written.setdefault(key(output), task.source)
            if first is not task.source:
                raise SettingError(f"{first} and {task.source} would both become {output}; colorize them separately")
            for location in locations(output):
                if key(location) in read:
                    raise SettingError(f"{output} would replace the input {read[key(location)]}; choose another OUT")
    return plan


def result_name(place: Path, output_format: str | None, *, keep_suffix: bool = False) -> Path:
    """The place of the result of the picture at `place`."""
    name = Path(output_name(place.name, output_format, keep_suffix=keep_suffix))
    return place.with_name(fit_name(name.stem, name.suffix))


def is_called_as_another(name: Path, results: Mapping[str, object], key: Callable[[Path], str]) -> bool:
    """Whether a result is called as a page or the comparison of another one would be."""
    match = SECOND_FILE.fullmatch(name.stem)
    return match is not None and key(name.with_name(match[1] + name.suffix)) in results


def find_pictures(folder: Path, out: Path, plan: Plan, above: tuple[os.stat_result, ...] = ()) -> Iterator[Path]:
    """All pictures by name in `folder`, at any depth, sorted; `plan` notes what else is there.

    Hidden entries are skipped, and so are folders in it into which another run has written. Links to folders are
    followed, except to `out` or back up.
    """
    try:
        status = folder.stat()
        if os.path.isdir(out) and os.path.samestat(status, out.stat()):
            return
        if any(os.path.samestat(status, other) for other in above):
            return
        if above and os.path.isdir(folder / FOLDER):
            plan.notes.append(f"{folder}: holds results of another run, and is left out")
            return
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        plan.failures.append(f"{folder}: cannot be read: {error.strerror}")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if os.path.isdir(entry):  # unlike Path's, False where it cannot be told
            yield from find_pictures(entry, out, plan, (*above, status))
        elif entry.suffix.lower() in PICTURE_SUFFIXES:
            yield entry
        else:
            plan.not_pictures += 1


def locations(path: Path) -> set[Path]:
    """Where `path` itself lies once links to folders are followed, and where it leads if it is a link."""
    return {Path(os.path.realpath(path.parent)) / path.name, Path(os.path.realpath(path))}


def comparison_key(folder: Path) -> Callable[[Path], str]:
    """What makes two paths one file where `folder` is or will be: on many file systems case does not count."""
    for existing in (folder.absolute(), *folder.absolute().parents):
        twin = existing.with_name(existing.name.swapcase()) if existing.name else existing
        if os.path.isdir(existing) and twin != existing:
            ignores_case = os.path.isdir(twin) and twin.samefile(existing)
            return fold_case if ignores_case else str
    return str


def fold_case(path: Path) -> str:
    """Equal for paths that differ in case or in how accents are composed."""
    return unicodedata.normalize("NFC", str(path)).casefold()


__all__ = ["Plan", "Task", "compare_name", "make_plan", "page_name"]
