"""Which picture becomes which file; every clash is refused before any work is done.

No picture is opened here and torch is not imported, so a refusal takes no time.
"""

import functools
import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Container, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

from ..errors import SettingError
from ..picture_formats import FORMAT_OF_SUFFIX, PICTURE_SUFFIXES, output_name
from .manifest import FOLDER

LONGEST_NAME = 255  # bytes, of a file or folder on all common file systems
MISSING = "there is no such file or folder"
SECOND_FILE = re.compile(r"(.+)\.(?:compare|page-\d{4,})")  # what `with_middle` makes of the name before the suffix


@dataclass(frozen=True)
class Task:
    """One picture, a path or a URL, and the name of its result below the folder of the results, with slashes."""

    source: Path | str
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


@dataclass(frozen=True)
class Failure:
    """An input that is not there, or a folder that cannot be read: why nothing of it is among the tasks."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


@dataclass
class Plan:
    """Everything a run reads and writes, in order, and what was found on the way: failures, notes, and other files."""

    tasks: list[Task] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
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
    check_out(out)
    plan = Plan()
    found = list(find_places(inputs, out, plan))
    key = comparison_key(out)
    names = name_results([place for _, place in found], output_format, key)
    plan.tasks = [Task(source, name.as_posix()) for (source, _), name in zip(found, names, strict=True)]
    check_results(plan.tasks, lambda name: out / name, compare, key)
    return plan


def check_out(out: Path) -> None:
    """Raises SettingError if `out` is a file, or named like one."""
    if os.path.exists(out) and not os.path.isdir(out):
        raise SettingError(f"-o {out} is a file; accepted: a folder")
    if out.suffix.lower() in FORMAT_OF_SUFFIX and not os.path.isdir(out):
        raise SettingError(f"-o {out} is named like a picture; accepted: a folder, results keep their names in it")


def find_places(inputs: Sequence[Path], out: Path, plan: Plan) -> Iterator[tuple[Path, Path]]:
    """Each picture of `inputs` and the place of its result below `out`; `plan` notes what else is there.

    Naming a picture twice for one place makes no second output.

    Raises:
        SettingError: if `out` is among `inputs`.
    """
    locator = Locator()
    seen = set()  # digests: there may be millions
    for path in inputs:
        if os.path.isdir(path):
            if os.path.isdir(out) and path.samefile(out):
                raise SettingError(f"{path} is both INPUT and OUT; choose another OUT")
            found = ((picture, picture.relative_to(path)) for picture in find_pictures(path, out, plan))
        elif os.path.exists(path):
            found = iter([(path, Path(path.name))])
        else:
            plan.failures.append(Failure(str(path), MISSING))
            continue
        for picture, place in found:
            identity = digest(f"{locator.real(picture)}\0{place}")
            if identity not in seen:
                seen.add(identity)
                yield picture, place


def name_results(
    places: Collection[PurePath], output_format: str | None, key: Callable[[PurePath], Hashable]
) -> Iterator[PurePath]:
    """The name of the result of each place, as `make_plan` says; `key` is equal for names that are one file.

    `places` are gone through three times, and of each no more than its key is held: there may be millions.
    """
    uses = Counter(key(result_name(place, output_format)) for place in places)

    def told_apart(place: PurePath) -> PurePath:
        name = result_name(place, output_format)
        return name if uses[key(name)] == 1 else result_name(place, output_format, keep_suffix=True)

    spellings: dict[Hashable, int] = {}  # key -> digest of the name, 0 where there are several
    for name in map(told_apart, places):
        own = digest(name)
        if spellings.setdefault(key(name), own) != own:
            spellings[key(name)] = 0
    for place in places:
        name = told_apart(place)
        if not spellings[key(name)] or is_called_as_another(name, spellings, key):
            plain = result_name(place, output_format)
            name = name.with_name(fit_name(plain.stem, plain.suffix, apart=str(place)))
        yield name


def check_results(
    tasks: Collection[Task],
    target: Callable[[str], Path | str],
    compare: bool,
    key: Callable[[Path | str], Hashable],
) -> None:
    """Refuses outputs that are inputs, or outputs of two inputs.

    Args:
        tasks: all of the run.
        target: where a result lies, by its name.
        compare: whether there will be comparisons too.
        key: equal for paths that are one file.

    Raises:
        SettingError: naming them.
    """

    def outputs(task: Task) -> list[Path | str]:
        return [target(name) for name in (task.name, *([compare_name(task.name)] if compare else []))]

    locator = Locator()
    read = {key(location) for task in tasks for location in locator.both(task.source)}
    written = set()  # and no sources, which are looked for where they are named: there may be millions
    for task in tasks:
        for output in outputs(task):
            if key(output) in written:
                first = next(other.source for other in tasks if key(output) in map(key, outputs(other)))
                raise SettingError(f"{first} and {task.source} would both become {output}; colorize them separately")
            written.add(key(output))
            for location in locator.both(output):
                if key(location) in read:
                    source = next(
                        other.source for other in tasks if key(location) in map(key, locator.both(other.source))
                    )
                    raise SettingError(f"{output} would replace the input {source}; choose another OUT")


def result_name(place: PurePath, output_format: str | None, *, keep_suffix: bool = False) -> PurePath:
    """The place of the result of the picture at `place`."""
    name = Path(output_name(place.name, output_format, keep_suffix=keep_suffix))
    return place.with_name(fit_name(name.stem, name.suffix))


def is_called_as_another(name: PurePath, results: Container[Hashable], key: Callable[[PurePath], Hashable]) -> bool:
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
        names = sorted(os.listdir(folder))  # and no Path of each: there may be a million
    except OSError as error:
        plan.failures.append(Failure(str(folder), f"cannot be read: {error.strerror}"))
        return
    for name in names:
        if name.startswith("."):
            continue
        entry = folder / name
        if os.path.isdir(entry):  # unlike Path's, False where it cannot be told
            yield from find_pictures(entry, out, plan, (*above, status))
        elif entry.suffix.lower() in PICTURE_SUFFIXES:
            yield entry
        else:
            plan.not_pictures += 1


def digest(text: object) -> int:
    """64 bits that tell paths apart, where there are too many to hold them all."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(str(text)), digest_size=8).digest())


class Locator:
    """Where paths lie once links are followed; of each folder that is asked once."""

    def __init__(self) -> None:
        self.real_folder = functools.lru_cache(4096)(os.path.realpath)

    def real(self, path: Path | str) -> str:
        """Where `path` leads."""
        return os.path.realpath(path) if os.path.islink(path) else self.itself(path)

    def itself(self, path: Path | str) -> str:
        """Where `path` itself lies, once links to folders are followed."""
        folder, name = os.path.split(path)
        return os.path.join(self.real_folder(folder), name)

    def both(self, path: Path | str) -> set[str]:
        """Where `path` itself lies and where it leads; of a URL as Task has it, that URL."""
        return {path} if isinstance(path, str) else {self.itself(path), self.real(path)}


def comparison_key(folder: Path) -> Callable[[object], str]:
    """What makes two paths one file where `folder` is or will be: on many file systems case does not count."""
    for existing in (folder.absolute(), *folder.absolute().parents):
        twin = existing.with_name(existing.name.swapcase()) if existing.name else existing
        if os.path.isdir(existing) and twin != existing:
            ignores_case = os.path.isdir(twin) and twin.samefile(existing)
            return fold_case if ignores_case else str
    return str


def fold_case(path: object) -> str:
    """Equal for paths that differ in case or in how accents are composed."""
    return unicodedata.normalize("NFC", str(path)).casefold()


__all__ = [
    "MISSING",
    "Failure",
    "Plan",
    "Task",
    "check_out",
    "check_results",
    "compare_name",
    "comparison_key",
    "digest",
    "find_places",
    "make_plan",
    "name_results",
    "page_name",
]
