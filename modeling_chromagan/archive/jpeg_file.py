"""JPEG: pixels by Pillow, everything else as segments between the JFIF header and them.

JFIF 1.02; Exif 3.0, 4.7; XMP specification part 3 (Adobe, 2020), 1.1.3; ICC.1:2022, annex B.4; IPTC in Photoshop's
image resource 0x0404.
"""

import hashlib
import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image

from ..image_saving import JPEG_SETTINGS, srgb_profile
from .file_settings import FileSettings, Notes, to_8_bits, to_opaque
from .metadata import Metadata, Resolution
from .metadata_containers import IPTC_RESOURCE, wrapped_resource
from .pages import ColoredPage
from .xmp import split

SAYABLE = ("resolution", "exif", "iptc", "xmp", "comments")
LARGEST_SEGMENT = 65_533
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
EXTENSION_PREFIX = b"http://ns.adobe.com/xmp/extension/\0"
COMMENT, APP1, APP2, APP13 = 0xFE, 0xE1, 0xE2, 0xED


def write_jpeg(pages: Iterator[ColoredPage], file: BinaryIO, settings: FileSettings) -> Notes:
    """Writes one picture as well as JPEG can hold it: quality 95, no chroma subsampling, 8 bits, opaque."""
    page, notes = next(pages), Notes()
    notes.add_unsaid(page.metadata, "JPEG", SAYABLE)
    pixels = to_8_bits(to_opaque(page.pixels, "JPEG", notes), "JPEG", notes)
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, "JPEG", **JPEG_SETTINGS)
    encoded = memory.getbuffer()
    header_end = 4 + struct.unpack_from(">H", encoded, 4)[0]  # of APP0, which follows the start of the image
    header = bytearray(encoded[:header_end])
    if page.metadata.resolution:
        header[13:18] = _density(page.metadata.resolution, notes)
    file.write(header)
    for marker, content in _segments(page.metadata, settings.profile or srgb_profile(), notes):
        file.write(struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content)
    file.write(encoded[header_end:])
    return notes


def _density(resolution: Resolution, notes: Notes) -> bytes:
    """Unit and density, whole numbers of 16 bits; where there is no unit, the two in proportion."""
    if resolution.unit == "none":
        ratio = (resolution.x / resolution.y).limit_denominator(65_535)
        numbers = (min(ratio.numerator, 65_535), ratio.denominator)
    else:
        exact = (resolution.x, resolution.y)
        numbers = (round(resolution.x), round(resolution.y))
        if any(abs(rounded - value) * 1000 > value for rounded, value in zip(numbers, exact, strict=True)):
            notes.add("JFIF has whole numbers only: the resolution in it is rounded")
    unit = {"none": 0, "inch": 1, "centimeter": 2}[resolution.unit]
    return struct.pack(">BHH", unit, *(min(max(number, 1), 65_535) for number in numbers))


def _segments(metadata: Metadata, profile: bytes, notes: Notes) -> Iterator[tuple[int, bytes]]:
    if metadata.exif:
        yield from _whole(APP1, b"Exif\0\0" + metadata.exif, "EXIF", notes)
    if metadata.xmp:
        yield from _xmp_segments(metadata.xmp, notes)
    if metadata.iptc:
        for part in _parts(wrapped_resource(IPTC_RESOURCE, metadata.iptc)):
            yield APP13, b"Photoshop 3.0\0" + part
    parts = _parts(profile)
    for number, part in enumerate(parts, 1):
        yield APP2, b"ICC_PROFILE\0" + bytes((number, len(parts))) + part
    for comment in metadata.comments:
        yield from _whole(COMMENT, comment, "comment", notes)


def _parts(data: bytes) -> list[bytes]:
    """Data in the parts that fit in a segment after a name of 14 bytes; readers join them."""
    room = LARGEST_SEGMENT - 14
    return [data[start : start + room] for start in range(0, len(data), room)]


def _whole(marker: int, content: bytes, name: str, notes: Notes) -> Iterator[tuple[int, bytes]]:
    if len(content) <= LARGEST_SEGMENT:
        yield marker, content
    else:
        notes.add(f"JPEG has 64 KB for {name}: its {len(content):,} bytes are left out")


def _xmp_segments(packet: bytes, notes: Notes) -> Iterator[tuple[int, bytes]]:
    """One segment, or the largest properties in as many more as they take."""
    if len(XMP_PREFIX) + len(packet) <= LARGEST_SEGMENT:
        yield APP1, XMP_PREFIX + packet
        return
    try:
        packet, extension = split(packet, LARGEST_SEGMENT - len(XMP_PREFIX))
    except ValueError:
        notes.add(f"JPEG has 64 KB for XMP that cannot be split: its {len(packet):,} bytes are left out")
        return
    yield APP1, XMP_PREFIX + packet
    digest = hashlib.md5(extension, usedforsecurity=False).hexdigest().upper().encode()
    room = LARGEST_SEGMENT - len(EXTENSION_PREFIX) - 40
    for start in range(0, len(extension), room):
        position = struct.pack(">II", len(extension), start)
        yield APP1, EXTENSION_PREFIX + digest + position + extension[start : start + room]
