"""Gray picture files to colorize, and what is seen of the results."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_picture(path: Path, height: int = 40, width: int = 56, seed: int = 0, **options) -> np.ndarray:
    """Saves a gray picture with detail up to its edges, so that no side looks like a margin; returns its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(20, 236, (height // 6 + 2, width // 6 + 2)).astype(np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    picture.save(path, **options)
    return np.asarray(picture)


def read_picture(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.int16)


def is_colored(path: Path) -> bool:
    return bool(np.ptp(read_picture(path), axis=2).max() > 10)


def files_in(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones too but for the records of runs, as sorted relative names."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return sorted(name.as_posix() for name in names if ".chromagan" not in name.parts)
