"""Color pictures -> one file of any format, with all that is said about them, on the disk as a whole or not at all."""

import contextlib
import hashlib
import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from ..durable_files import replacing
from ..errors import SettingError, UserError, first_line
from ..image_saving import ImageSaveError, refuse_size
from .avif_file import write_avif
from .exif_block import ExifBlock, parse_exif
from .file_settings import FileSettings, Notes
from .jpeg2000_file import write_jpeg2000
from .jpeg_file import write_jpeg
from .pages import ColoredPage
from .png_file import write_png
from .tiff_file import COMPRESSIONS, write_tiff
from .webp_file import write_webp

# Writers by the names of `picture_formats.SUFFIXES`.
WRITERS: dict[str, Callable[[Iterator[ColoredPage], BinaryIO, FileSettings], Notes]] = {
    "png": write_png,
    "jpeg": write_jpeg,
    "webp": write_webp,
    "tiff": write_tiff,
    "avif": write_avif,
    "jp2": write_jpeg2000,
}
# The formats that hold more than one picture.
FORMATS_OF_LAYOUT = {"single": tuple(WRITERS), "pages": ("tiff",), "frames": ("png", "webp", "avif")}


@dataclass(frozen=True)
class Written:
    """A file as it was written: SHA-256 as hexadecimal digits, bytes, and one line for all that it could not keep."""

    sha256: str
    size: int
    notes: tuple[str, ...]


def write_pages(
    pages: Iterable[ColoredPage],
    target: Path,
    *,
    output_format: str,
    layout: str,
    profile: bytes,
    loops: int | None = None,
    compression: str | None = None,
    size: int = 0,
) -> Written:
    """Writes the pictures of one file, replacing what was there in one step.

    Args:
        pages: at least one, taken one by one; a TIFF never holds more than one of them in memory. Each page's metadata
            is written as it is, of frames that of the first.
        target: missing folders are made.
        output_format: one of `WRITERS`, whatever the suffix of `target`.
        layout: one of `LAYOUTS` of `pages.py`: "single" takes one page.
        profile: the ICC profile to embed; empty for sRGB.
        loops: how often frames are shown; 0 or None for ever.
        compression: of a TIFF, one of `COMPRESSIONS`; None for "lzw".
        size: bytes of all pages before compression, at most: a TIFF that could grow beyond 4 GB is a BigTIFF.

    Raises:
        SettingError: for a format or compression that there is not, and pages or frames in a format without.
        ImageSaveError: naming the file and the reason (too large for the format, disk full, no permission).
    """
    settings = _check(output_format, layout, profile, loops, compression, size)
    with _named_errors(str(target)), replacing(target) as file:
        notes = _write(pages, file, output_format, settings, str(target))
        length = file.seek(0, io.SEEK_END)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    return Written(digest, length, tuple(notes))


def encode_pages(pages: Iterable[ColoredPage], *, name: str = "standard output", **settings: Any) -> bytes:
    """The bytes of the file that `write_pages` would write with the same settings; `name` is for messages."""
    output_format = settings.pop("output_format")
    defaults = {"loops": None, "compression": None, "size": 0}
    memory = io.BytesIO()
    with _named_errors(name):
        _write(pages, memory, output_format, _check(output_format, **(defaults | settings)), name)
    return memory.getvalue()


def _check(
    output_format: str, layout: str, profile: bytes, loops: int | None, compression: str | None, size: int
) -> FileSettings:
    if output_format not in WRITERS:
        raise SettingError(f"cannot write {output_format}; accepted: {', '.join(WRITERS)}")
    if output_format not in FORMATS_OF_LAYOUT[layout]:
        accepted = ", ".join(FORMATS_OF_LAYOUT[layout])
        raise SettingError(f"{output_format} does not hold several {layout}; accepted: {accepted}, or a file for each")
    if compression is not None and compression not in COMPRESSIONS:
        raise SettingError(f"cannot compress a TIFF by {compression}; accepted: {', '.join(COMPRESSIONS)}")
    return FileSettings(layout, profile, loops or 0, compression or "lzw", size)


def _write(
    pages: Iterable[ColoredPage], file: BinaryIO, output_format: str, settings: FileSettings, name: str
) -> list[str]:
    notes = Notes()
    checked = _checked(pages, output_format, name, notes)
    if settings.layout == "single":
        checked = itertools.islice(checked, 1)
    return notes + WRITERS[output_format](checked, file, settings)


class _PageError(Exception):
    """Carries an error of whoever makes the pages past the handling of errors of writing."""


def _checked(pages: Iterable[ColoredPage], output_format: str, name: str, notes: Notes) -> Iterator[ColoredPage]:
    """The pages, without EXIF that some writers cannot write and readers of the others stumble over."""
    remaining = iter(pages)
    while True:
        try:
            page = next(remaining)
        except StopIteration:
            return
        except Exception as error:
            raise _PageError(error) from error
        refuse_size(page.pixels.shape[1], page.pixels.shape[0], output_format, name)
        if page.metadata.exif:
            try:
                block = parse_exif(page.metadata.exif)
            except ValueError:
                block = ExifBlock(damaged=True)
            if block.damaged:
                notes.add("its EXIF is damaged: what cannot be read is left out")
                page = replace(page, metadata=replace(page.metadata, exif=block.pack()))
        yield page


@contextlib.contextmanager
def _named_errors(name: str) -> Iterator[None]:
    try:
        yield
    except _PageError as failure:
        raise failure.args[0] from failure.args[0].__cause__
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # encoders raise all of these
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ImageSaveError(f"{name}: cannot be written: {reason}") from error


__all__ = ["COMPRESSIONS", "FORMATS_OF_LAYOUT", "Written", "encode_pages", "write_pages"]
