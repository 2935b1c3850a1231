"""The folder of a Space: the page of `space/`, which loads a model from the Hub at the commit that was published."""

import re
import shutil
from pathlib import Path

from huggingface_hub import metadata_load, metadata_save

from ..errors import UserError
from ..picture_formats import FORMAT_OF_SUFFIX

# What the Hub's configuration reference says of the fields that it refuses a Space for.
COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
LONGEST_DESCRIPTION = 60
FILES = ("app.py", "requirements.txt")
HARDWARE = ("cpu-basic", "zero-a10g")
ZEROGPU_TORCH = "2.11.0"  # the newest that ZeroGPU listed in August 2026; it gives the same pictures


class SpaceError(UserError):
    """The page cannot be published as it stands; one line that names the file."""


def build_space(
    page: Path, target: Path, model: str, commit: str, examples: Path, hardware: str = HARDWARE[0]
) -> None:
    """Fills an empty folder with the page's files, its settings and pictures.

    Args:
        page: folder with app.py, requirements.txt and README.md, whose front matter are the settings.
        target: made.
        model: Hub id of a public model.
        commit: of the model, all 40 digits; the page runs that code and those weights and no later ones.
        examples: photographs that may be published, with CREDITS.md.
        hardware: what it is to run on, of `HARDWARE`; ZeroGPU accepts certain versions of torch only.

    Raises:
        SpaceError: naming a file that is missing, or a setting that the Hub would refuse.
    """
    target.mkdir(parents=True)
    for name in FILES:
        if not (page / name).is_file():
            raise SpaceError(f"{page / name} is missing; accepted: the page's {', '.join(FILES)} and README.md")
        shutil.copyfile(page / name, target / name)
    shutil.copyfile(page / "README.md", target / "README.md")
    settings = metadata_load(target / "README.md") or {}
    settings |= {
        "suggested_hardware": hardware,
        "models": [model],
        "preload_from_hub": [f"{model} config.json,preprocessor_config.json,model.safetensors {commit}"],
    }
    check_settings(settings, page / "README.md")
    metadata_save(target / "README.md", settings)
    if hardware == "zero-a10g":
        requirements = (target / "requirements.txt").read_text(encoding="utf-8")
        requirements = re.sub(r"^torch==.*$", f"torch=={ZEROGPU_TORCH}", requirements, flags=re.MULTILINE)
        (target / "requirements.txt").write_text(requirements, encoding="utf-8")
    (target / "examples").mkdir()
    for path in sorted(examples.iterdir()):
        if path.suffix.lower() in FORMAT_OF_SUFFIX or path.name == "CREDITS.md":
            shutil.copyfile(path, target / "examples" / path.name)


def check_settings(settings: dict, path: Path) -> None:
    """Raises SpaceError for a setting that the Hub refuses or misreads."""
    for name in ("title", "emoji", "sdk", "sdk_version", "app_file", "license"):
        if not settings.get(name):
            raise SpaceError(f"{path}: {name} is missing; accepted: a front matter with it")
    for name in ("colorFrom", "colorTo"):
        if settings.get(name) not in COLORS:
            raise SpaceError(f"{path}: {name} is {settings.get(name)!r}; accepted: {', '.join(COLORS)}")
    if not isinstance(settings.get("python_version"), str):
        raise SpaceError(f'{path}: python_version is {settings.get("python_version")!r}; accepted: a quoted "3.12"')
    if len(settings.get("short_description", "")) > LONGEST_DESCRIPTION:
        raise SpaceError(f"{path}: short_description is too long; accepted: {LONGEST_DESCRIPTION} characters")
    commit = settings["preload_from_hub"][0].split()[-1]
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise SpaceError(f"{path}: the model's commit is {commit!r}; accepted: 40 hexadecimal digits")


def belongs_to_space(path: Path) -> bool:
    """Whether a file of a Space is one that `build_space` makes."""
    return path.as_posix() in (*FILES, "README.md") or path.parts[0] == "examples"


__all__ = ["HARDWARE", "SpaceError", "belongs_to_space", "build_space"]
