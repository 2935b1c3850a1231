"""TIFF and BigTIFF with 8 or 16 bits a channel and any number of pages, by tifffile.

TIFF 6.0; Exif 3.0, 4.6.3, for its folders (directories) of tags; IPTC and XMP as tags 33723 and 700.
"""

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import tifffile

from ..image_saving import srgb_profile
from .exif_block import Folder, parse_exif
from .file_settings import FileSettings, Notes
from .metadata import Metadata
from .pages import ColoredPage

SAYABLE = ("resolution", "exif", "iptc", "xmp")
COMPRESSIONS = {"lzw": "lzw", "deflate": "adobe_deflate", "none": None}
CLASSIC_LIMIT = 2**32 - 2**26  # bytes that 32-bit offsets reach, less room for tags
STRIP_BYTES = 2**18  # before compression: what readers hold at one time
GROWTH = {"lzw": 1.5, "deflate": 1.001, "none": 1}  # of noise: LZW has codes of up to 12 bits for 8
# Tags of IFD 0 that say how the pixels of another file are stored, or that are written from elsewhere.
OF_PIXELS = {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 282, 283, 284, 296, 301}
OF_PIXELS |= {317, 318, 319, 320, 322, 323, 324, 325, 330, 338, 339, 340, 341, 347, 512, 513, 514, 529, 530, 531, 532}
OF_PIXELS |= {700, 33723, 34675}
RATIONALS = {5: "I", 10: "i"}


def write_tiff(pages: Iterator[ColoredPage], file: BinaryIO, settings: FileSettings) -> Notes:
    """Writes the pages as they come, each with its size, depth, channels and metadata; lossless.

    BigTIFF if the first page, or `settings.size`, could take the file beyond what 32-bit offsets reach.

    Raises:
        ValueError: if pages go on beyond that, unannounced.
    """
    notes, first = Notes(), next(pages)
    big = max(settings.size, first.pixels.nbytes) * GROWTH[settings.compression] > CLASSIC_LIMIT
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
                    rowsperstrip=max(1, STRIP_BYTES // page.pixels[0].nbytes),
                    predictor=settings.compression != "none",  # horizontal differences, which take half the room
                    iccprofile=(settings.profile if page.profile is None else page.profile) or srgb_profile(),
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


PageTag = tuple[int | str, int, int, bytes | tuple[int, ...], bool]


def _page_tags(file: BinaryIO, metadata: Metadata, big: bool) -> Iterator[PageTag]:
    """The tags of a page as tifffile takes them; the folders of its EXIF are written to the file, in front of it."""
    if metadata.exif:
        block = parse_exif(metadata.exif).in_order("<")
        for number, tag in block.image.items():
            if number not in OF_PIXELS and tag.kind in tifffile.TIFF.DATA_FORMATS:
                value: bytes | tuple[int, ...] = tag.value
                if tag.kind in RATIONALS:  # of whose bytes tifffile counts the halves
                    value = struct.unpack(f"<{2 * tag.count}{RATIONALS[tag.kind]}", tag.value)
                yield number, tag.kind, tag.count, value, True
        for name, folder in (("ExifTag", block.exif), ("GPSTag", block.gps)):  # tifffile takes them by name only
            if folder:
                yield name, 16 if big else 4, 1, _write_folder(file, folder, big), True
    if metadata.xmp:
        yield 700, 1, 0, metadata.xmp, True
    if metadata.iptc:
        yield 33723, 7, 0, metadata.iptc, True


def _write_folder(file: BinaryIO, folder: Folder, big: bool) -> bytes:
    """Writes little-endian tags where the file stands; returns their offset, as a tag's value."""
    letter, room = ("Q", 8) if big else ("I", 4)
    file.write(bytes(file.tell() % 2))
    start = file.tell()
    entries, behind = struct.pack("<Q" if big else "<H", len(folder)), b""
    first = start + len(entries) + len(folder) * (4 + 2 * room) + room
    for number, tag in sorted(folder.items()):
        entries += struct.pack(f"<HH{letter}", number, tag.kind, tag.count)
        if len(tag.value) <= room:
            entries += tag.value.ljust(room, b"\0")
        else:
            entries += struct.pack(f"<{letter}", first + len(behind))
            behind += tag.value + bytes(len(tag.value) % 2)
    file.write(entries + bytes(room) + behind)
    return struct.pack(f"<{letter}", start)
