"""JPEG 2000 in JP2 files, lossless with 8 or 16 bits a channel: the codestream by imagecodecs, the rest as boxes.

ISO/IEC 15444-1:2019, annex I; the boxes of EXIF, IPTC and XMP have the identifiers that ExifTool and XMP's
specification part 3 name.
"""

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import imagecodecs

from .file_settings import FileSettings, Notes
from .metadata import Metadata, Resolution
from .pages import ColoredPage
from .resolution import in_unit

SAYABLE = ("resolution", "exif", "iptc", "xmp")
IDENTIFIERS = {
    "exif": b"JpgTiffExif->JP2",
    "iptc": bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"),
    "xmp": bytes.fromhex("be7acfcb97a942e89c71999491e3afac"),
}
# Channel, whether it is opacity, and the color that it belongs to (0: the whole picture).
CHANNELS_WITH_OPACITY = struct.pack(">H12H", 4, 0, 0, 1, 1, 0, 2, 2, 0, 3, 3, 1, 0)


def write_jpeg2000(pages: Iterator[ColoredPage], file: BinaryIO, settings: FileSettings) -> Notes:
    """Writes one picture without loss."""
    page, notes = next(pages), Notes()
    notes.add_unsaid(page.metadata, "JPEG 2000", SAYABLE)
    encoded = memoryview(imagecodecs.jpeg2k_encode(page.pixels, level=0, codecformat="jp2", reversible=True))
    opaque = page.pixels.shape[2] == 3
    for name, content in _boxes(encoded):
        if name == b"jp2h":
            content = _header(content, page.metadata.resolution, settings.profile, opaque, notes)
        elif name == b"jp2c":
            for described in _described(page.metadata):
                _write_box(file, b"uuid", described)
        _write_box(file, name, content)
    return notes


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    position = 0
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if length == 1:
            length = struct.unpack_from(">Q", data, start)[0]
            start += 8
        end = position + length if length else len(data)
        yield name, data[start:end]
        position = end


def _write_box(file: BinaryIO, name: bytes, content: bytes | memoryview) -> None:
    length = 8 + len(content)
    file.write(struct.pack(">I4s", length, name) if length < 2**32 else struct.pack(">I4sQ", 1, name, length + 8))
    file.write(content)


def _box(name: bytes, content: bytes | memoryview) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def _header(header: memoryview, resolution: Resolution | None, profile: bytes, opaque: bool, notes: Notes) -> bytes:
    """The header box with color space, opacity and resolution."""
    result = b""
    for name, content in _boxes(header):
        if name == b"colr" and profile:
            content = memoryview(b"\2\0\0" + profile)
        result += _box(name, content)
    if not opaque:
        result += _box(b"cdef", CHANNELS_WITH_OPACITY)
    if resolution and resolution.unit == "none":
        notes.add("JPEG 2000 has no aspect of pixels without a unit: it is left out")
    elif resolution:
        across, down = map(_scaled, in_unit(resolution, "meter"))
        result += _box(b"res ", _box(b"resc", struct.pack(">4H2b", *down[:2], *across[:2], down[2], across[2])))
    return result


def _scaled(value: Fraction) -> tuple[int, int, int]:
    """Numerator, denominator (16 bits) and exponent of ten whose value comes closest."""
    candidates = []
    for exponent in range(-9, 10):
        scaled = value / Fraction(10) ** exponent
        limit = min(65_535, int(65_535 / scaled))
        if limit:
            nearest = scaled.limit_denominator(limit)
            error = abs(nearest - scaled) * Fraction(10) ** exponent
            if 0 < nearest.numerator <= 65_535:
                candidates.append((error, abs(exponent), (nearest.numerator, nearest.denominator, exponent)))
    return min(candidates)[2]


def _described(metadata: Metadata) -> Iterator[bytes]:
    for field, identifier in IDENTIFIERS.items():
        if content := getattr(metadata, field):
            yield identifier + content
