"""TIFF and BigTIFF with 8 or 16 bits a channel and any number of pages, by tifffile.

TIFF 6.0; Exif 3.0, 4.6.3, for its folders (directories) of tags; IPTC and XMP as tags 33723 and 700.
"""

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, NamedTuple

import numpy as np
import tifffile

from ..image_saving import srgb_profile
from .file_settings import FileSettings, Notes
from .metadata import Metadata
from .pages import ColoredPage

SAYABLE = ("resolution", "exif", "iptc", "xmp")
COMPRESSIONS = {"lzw": "lzw", "deflate": "adobe_deflate", "none": None}
CLASSIC_LIMIT = 2**32 - 2**20  # bytes that 32-bit offsets reach, less room for tags
LZW_GROWTH = 1.5  # of noise: codes of up to 12 bits for 8
EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
FOLDERS = (EXIF, GPS, INTEROPERABILITY)
# tifffile takes them by name only, as tags that its user sees to himself.
NAMES = {EXIF: "ExifTag", GPS: "GPSTag"}
# Bytes of a number, by type of tag; rationals are two of four. The swapping of bytes needs it.
NUMBER_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
RATIONALS = (5, 10)
# Tags of IFD 0 that say how the pixels of another file are stored, or that are written from elsewhere.
OF_PIXELS = {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 282, 283, 284, 296, 297, 301}
OF_PIXELS |= {317, 318, 319, 320, 322, 323, 324, 325, 330, 338, 339, 340, 341, 347, 512, 513, 514, 529, 530, 531, 532}
OF_PIXELS |= {700, 33723, 34675}


class Tag(NamedTuple):
    """One entry of a folder of tags, its value as little-endian bytes; of folders in folders, their tags."""

    code: int
    type: int
    value: bytes
    folder: "tuple[Tag, ...]" = ()


def write_tiff(pages: Iterator[ColoredPage], file: BinaryIO, settings: FileSettings) -> Notes:
    """Writes the pages as they come, each with its size, depth, channels and metadata; lossless.

    BigTIFF if the first page, or `settings.pixels`, could take the file beyond what 32-bit offsets reach.

    Raises:
        ValueError: if pages go on beyond that, unannounced.
    """
    notes, first = Notes(), next(pages)
    height, width, channels = first.pixels.shape
    growth = LZW_GROWTH if settings.compression == "lzw" else 1
    big = max(settings.pixels, height * width) * channels * first.pixels.itemsize * growth > CLASSIC_LIMIT
    page: ColoredPage | None = first
    with tifffile.TiffWriter(file, bigtiff=big, byteorder="<", shaped=False) as writer:
        while page is not None:
            metadata, opaque = page.metadata, page.pixels.shape[2] == 3
            notes.add_unsaid(metadata, "TIFF", SAYABLE)
            resolution = metadata.resolution
            try:
                writer.write(
                    page.pixels,
                    photometric="rgb",
                    planarconfig="contig",
                    extrasamples=None if opaque else ("unassalpha",),
                    compression=COMPRESSIONS[settings.compression],
                    predictor=settings.compression != "none",  # horizontal differences, which take half the room
                    iccprofile=settings.profile or srgb_profile(),
                    resolution=(_rational(resolution.x), _rational(resolution.y)) if resolution else None,
                    resolutionunit=resolution.unit if resolution else None,
                    subfiletype=2 if settings.layout == "pages" else 0,
                    extratags=list(_page_tags(file, metadata, big)),
                    metadata=None,
                    software=False,
                    maxworkers=1,  # whoever writes many files has other work for the other cores
                )
            except struct.error as error:  # an offset that does not fit in 32 bits
                raise ValueError("its pages take more than 4 GB, which was not known when it was begun") from error
            page = next(pages, None)
    return notes


def _rational(value: Fraction) -> tuple[int, int]:
    largest = 2**32 - 1
    if value.numerator > largest or value.denominator > largest:
        value = value.limit_denominator(max(1, int(largest / value)) if value > 1 else largest)
    return value.numerator, value.denominator


def _page_tags(file: BinaryIO, metadata: Metadata, big: bool) -> Iterator[tuple[int | str, int, int, bytes, bool]]:
    """The tags of a page as tifffile takes them; folders in it are written to the file, in front of the page."""
    for tag in read_tags(metadata.exif):
        if tag.code in NAMES:
            yield NAMES[tag.code], 16 if big else 4, 1, write_folder(file, tag.folder, big), True
        elif tag.code not in OF_PIXELS and tag.value:
            yield tag.code, tag.type, 0, tag.value, True
    if metadata.xmp:
        yield 700, 1, 0, metadata.xmp, True
    if metadata.iptc:
        yield 33723, 7, 0, metadata.iptc, True


def read_tags(block: bytes) -> tuple[Tag, ...]:
    """The tags of IFD 0 of a TIFF block, with the Exif, GPS and interoperability folders that it points to.

    Raises:
        ValueError: if it is not a whole one.
    """
    if not block:
        return ()
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    try:
        if order is None:
            raise ValueError(f"begins with {block[:2]!r}")
        return _read_folder(block, order, struct.unpack_from(f"{order}I", block, 4)[0], FOLDERS)
    except (ValueError, struct.error) as error:
        raise ValueError(f"its EXIF is no block of TIFF tags: {error}") from error


def _read_folder(block: bytes, order: str, offset: int, below: tuple[int, ...]) -> tuple[Tag, ...]:
    tags = []
    for number in range(struct.unpack_from(f"{order}H", block, offset)[0]):
        position = offset + 2 + 12 * number
        code, kind, count = struct.unpack_from(f"{order}HHI", block, position)
        if kind not in NUMBER_SIZES:
            continue
        size = count * NUMBER_SIZES[kind] * (2 if kind in RATIONALS else 1)
        position = position + 8 if size <= 4 else struct.unpack_from(f"{order}I", block, position + 8)[0]
        value = block[position : position + size]
        if len(value) < size:
            raise ValueError(f"tag {code} reaches beyond its end")
        if code in FOLDERS:
            if code in below:  # a folder in itself would have no end
                start = struct.unpack_from(f"{order}I", value)[0]
                rest = tuple(other for other in below if other != code)
                tags.append(Tag(code, 4, b"", _read_folder(block, order, start, rest)))
            continue
        if order == ">":
            value = np.frombuffer(value, f">u{NUMBER_SIZES[kind]}").astype(f"<u{NUMBER_SIZES[kind]}").tobytes()
        tags.append(Tag(code, kind, value))
    return tuple(sorted(tags))


def write_folder(file: BinaryIO, tags: tuple[Tag, ...], big: bool) -> bytes:
    """Writes a folder of tags, after those in it, where the file stands; returns its offset, as a tag's value."""
    offset_format, room = ("<Q", 8) if big else ("<I", 4)
    values = [write_folder(file, tag.folder, big) if tag.code in FOLDERS else tag.value for tag in tags]
    file.write(bytes(file.tell() % 2))
    start = file.tell()
    entries, behind = b"", b""
    first = start + (8 if big else 2) + len(tags) * (4 + 2 * room) + room
    for tag, value in zip(tags, values, strict=True):
        kind = tag.type if tag.code not in FOLDERS else (16 if big else 4)
        count = len(value) // (NUMBER_SIZES[kind] * (2 if kind in RATIONALS else 1))
        entries += struct.pack("<HH", tag.code, kind) + struct.pack(offset_format, count)
        if len(value) <= room:
            entries += value.ljust(room, b"\0")
        else:
            entries += struct.pack(offset_format, first + len(behind))
            behind += value + bytes(len(value) % 2)
    count = struct.pack("<Q" if big else "<H", len(tags))
    file.write(count + entries + bytes(room) + behind)
    return struct.pack(offset_format, start)
