"""A folder of results with its manifest, as a run leaves it."""

import hashlib
from pathlib import Path

import numpy as np
from picture_files import write_picture
from PIL import Image

from modeling_chromagan.archive.local_store import LocalStore
from modeling_chromagan.archive.manifest import Manifest, Output, Record


def colorized(folder: Path, name: str, source: str | None = None, **what) -> Record:
    """Makes an input in folder/in and a result in folder/out; gives its record."""
    source = source or name
    gray = write_picture(folder / "in" / source)
    (folder / "out" / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.stack([gray // 2 + 100, gray, gray // 2], axis=-1)).save(folder / "out" / name)
    return Record(
        name,
        "colorized",
        str(folder / "in" / source),
        input_sha256=digest(folder / "in" / source),
        outputs=(Output(name, digest(folder / "out" / name)),),
        **{
            "pictures": 1,
            "seconds": 1.5,
            "model": "owner/model",
            "weights": "ab12",
            "software": "chromagan 1",
            **what,
        },
    )


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def record_all(folder: Path, *records: Record) -> Path:
    """Writes the manifest of folder/out; gives that folder."""
    manifest = Manifest(LocalStore(folder / "out").manifest())
    for record in records:
        manifest.add(record)
    return folder / "out"
