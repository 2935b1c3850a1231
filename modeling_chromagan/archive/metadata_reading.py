"""What an opened picture file says besides its pixels, as it is true of the upright, colored picture."""

import io
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from functools import partial
from typing import IO, Any

from PIL import Image

from ..jpeg2000_header import jpeg2000_header
from .exif_block import MAKER_NOTE, MOVABLE_NOTES, read_block
from .found_metadata import STORAGE, FoundMetadata
from .metadata import Metadata, TextEntry
from .metadata_containers import boxes, chunks, gif_extensions, inflate
from .resolution import per_meter, resolution_of
from .xmp import Packet, joined

XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG = 700, 33723, 34377
ENCODER_COMMENT = re.compile(rb"(Created by OpenJPEG|Kakadu|Kdu-)")

EXIF_UUID = b"JpgTiffExif->JP2"
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
IPTC_UUID = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")


def read_metadata(image: Image.Image, file: IO[bytes] | None = None) -> Metadata:
    """What the file of an opened Pillow image says, at the page or frame that it stands at.

    Best before the image is decoded, as Pillow closes files after that, or with the `file` given. The pixels are taken
    to be turned upright by whoever reads them: the orientation becomes 1, resolutions are turned with them, and
    thumbnails, sizes and whatever else is not true of the new picture go out. What is damaged goes out with a note and
    never fails the picture.
    """
    found = FoundMetadata()
    reader = READERS.get(image.format or "")
    if reader is not None:
        found.attempt("metadata", partial(reader, found, image, file or getattr(image, "fp", None)))
    return found.metadata(turned=image.format != "JPEG2000")


def read_boxes(data: bytes) -> Metadata:
    """What the boxes of a JPEG XL file say, which Pillow does not decode; whoever does turns the pixels upright."""
    found = FoundMetadata()
    found.attempt("metadata", partial(_read_boxes, found, io.BytesIO(data)))
    return found.metadata(turned=True)


# ----- one reader for each format


def _read_jpeg(found: FoundMetadata, image: Any, file: Any) -> None:
    info = image.info
    across, down = info.get("jfif_density", (0, 0))
    found.resolution = resolution_of(across, down, {1: "inch", 2: "centimeter"}.get(info.get("jfif_unit"), "none"))
    found.read_exif(info.get("exif", b""))
    photoshop = b""
    extensions: list[bytes] = []
    for name, content in image.applist:
        if name == "APP13" and content.startswith(b"Photoshop 3.0\0"):
            photoshop += content[14:]
        elif name == "COM" and content.strip(b"\0"):
            found.comments += (content,)
        elif name == "APP1" and content.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            found.xmp = found.xmp or content[29:]
        elif name == "APP1" and content.startswith(b"http://ns.adobe.com/xmp/extension/\0"):
            extensions.append(content[35:])
        elif name == "APP11" and b"c2pa" in content[:200]:
            found.note(CREDENTIALS)
    found.read_iptc(photoshop)
    if found.xmp and (extensions or b"HasExtendedXMP" in found.xmp):
        found.attempt("extended XMP", partial(_join_extended, found, extensions))


CREDENTIALS = "its Content Credentials (C2PA) vouch for other pixels and are left out"


def _join_extended(found: FoundMetadata, extensions: list[bytes]) -> None:
    named = Packet(found.xmp).values("xmpNote:HasExtendedXMP")
    guid = named[0].strip().encode() if named else None
    parts = {struct.unpack_from(">I", part, 36)[0]: part[40:] for part in extensions if part[:32] == guid}
    if not parts:
        raise ValueError("it is not the one that the packet names")
    found.xmp = joined(found.xmp, b"".join(part for _, part in sorted(parts.items())))


def _read_png(found: FoundMetadata, image: Any, file: Any) -> None:
    lost = False
    for name, content in chunks(file):
        if name == b"caBX":
            found.note(CREDENTIALS)
        elif not content:
            lost = True
        elif name == b"eXIf":
            found.read_exif(content)
        elif name == b"pHYs" and len(content) == 9:
            x, y, unit = struct.unpack(">IIB", content)
            found.resolution = per_meter(x, y) if unit == 1 else resolution_of(x, y, "none")
        elif name == b"tIME" and len(content) == 7:
            found.properties["xmp:ModifyDate"] = "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(
                *struct.unpack(">H5B", content)
            )
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            try:
                _take_text(found, _text_entry(name, content))
            except ValueError:
                lost = True
    if lost:
        found.note("some of its PNG chunks are damaged or too large and left out")


def _text_entry(name: bytes, content: bytes) -> TextEntry:
    keyword, _, rest = content.partition(b"\0")
    if name == b"tEXt":
        return TextEntry(keyword.decode("latin-1"), rest.decode("latin-1"))
    if name == b"zTXt":
        return TextEntry(keyword.decode("latin-1"), inflate(rest[1:]).decode("latin-1"))
    compressed, (language, _, rest) = rest[:1] == b"\1", rest[2:].partition(b"\0")
    translated, _, text = rest.partition(b"\0")
    text = inflate(text) if compressed else text
    return TextEntry(
        keyword.decode("latin-1"), text.decode(), True, language.decode("ascii", "replace"), translated.decode()
    )


def _take_text(found: FoundMetadata, entry: TextEntry) -> None:
    """Puts text where it belongs: PNG had no chunks for the other standards once, so programs write them as text."""
    if entry.keyword == "XML:com.adobe.xmp":
        found.xmp = found.xmp or entry.text.encode()
        return
    profile = entry.keyword.removeprefix("Raw profile type ").lower()
    if profile == entry.keyword.lower():
        found.text.append(entry)
        return
    _, length, *digits = entry.text.split("\n", 3)[1:] or ("", "")
    data = bytes.fromhex("".join(digits))[: int(length)] if digits else b""
    if profile in ("exif", "app1") and data.startswith((b"Exif\0\0", b"II", b"MM")):
        if not found.block:
            found.read_exif(data)
    elif profile in ("xmp", "app1"):
        found.xmp = found.xmp or data.removeprefix(b"http://ns.adobe.com/xap/1.0/\0")
    elif profile in ("iptc", "8bim", "app13"):
        if not found.iptc:
            found.read_iptc(data)
    elif profile not in ("icc", "icm"):  # which the reader applies, or another program made of another chunk
        found.text.append(entry)


def _read_tiff(found: FoundMetadata, image: Any, file: Any) -> None:
    found.block = block = read_block(file, image.tag_v2._offset, STORAGE)
    packet, iptc, photoshop = (block.image.pop(number, None) for number in (XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG))
    if packet:
        found.xmp = packet.value
    if photoshop:
        found.read_iptc(photoshop.value)
    if iptc:
        data = iptc.value
        if iptc.kind == 4 and data[:1] != b"\x1c":  # as numbers of 32 bits, swapped by some programs
            data = struct.pack(f"<{len(data) // 4}I", *struct.unpack(f">{len(data) // 4}I", data))
        found.read_iptc(data)
    note = block.exif.get(MAKER_NOTE)
    if note and not note.value.startswith(MOVABLE_NOTES):
        del block.exif[MAKER_NOTE]
        found.note("its camera's MakerNote counts from the start of the TIFF file and is left out")
    block.note_offset = None


def _read_info(found: FoundMetadata, image: Any, file: Any) -> None:
    """Formats of which Pillow has the two blocks as they are: WebP, AVIF, HEIF."""
    found.read_exif(image.info.get("exif") or b"")
    packet = image.info.get("xmp") or b""
    found.xmp = packet.encode() if isinstance(packet, str) else packet


def _read_bmp(found: FoundMetadata, image: Any, file: Any) -> None:
    found.resolution = per_meter(*(round(number * 39.3701) for number in image.info.get("dpi", (0, 0))))


def _read_gif(found: FoundMetadata, image: Any, file: Any) -> None:
    comments = []
    file.seek(12)
    aspect = file.read(1)[0]
    if aspect:
        found.resolution = resolution_of(64, aspect + 15, "none")  # a pixel's width : height is (aspect + 15) : 64
    for name, content in gif_extensions(file):
        if name == b"comment":
            comments.append(content)
        else:
            found.xmp = found.xmp or content
    found.comments = tuple(comment for comment in dict.fromkeys(comments) if comment.strip(b"\0"))


def _read_jpeg_2000(found: FoundMetadata, image: Any, file: Any) -> None:
    comments = jpeg2000_header(file).comments
    found.comments = tuple(comment for comment in comments if comment and not ENCODER_COMMENT.match(comment))
    _read_boxes(found, file)


def _read_boxes(found: FoundMetadata, file: IO[bytes]) -> None:
    for name, content in boxes(file):
        if not content:
            found.note("some of its boxes are too large and left out")
        if name == b"brob":
            name, content = content[:4], _unbrotli(found, content[4:])
        if name == b"res ":
            found.attempt("resolution", partial(_take_resolution, found, content))
        elif name == b"uuid" and content.startswith(EXIF_UUID):
            found.read_exif(content[16:])
        elif name == b"uuid" and content.startswith(IPTC_UUID):
            found.read_iptc(content[16:])
        elif (name == b"uuid" and content.startswith(XMP_UUID)) or (name == b"xml " and b"adobe:ns:meta/" in content):
            found.xmp = found.xmp or content.removeprefix(XMP_UUID)
        elif name == b"xml ":
            found.note("a box of XML that is no XMP is left out")
        elif name == b"Exif" and len(content) > 4:
            found.read_exif(content[4 + struct.unpack_from(">I", content)[0] :])
        elif name == b"jumb" and b"c2pa" in content[:200]:
            found.note(CREDENTIALS)


def _unbrotli(found: FoundMetadata, data: bytes) -> bytes:
    from imagecodecs import brotli_decode

    with suppress(Exception):
        return bytes(brotli_decode(data, out=bytearray(16 << 20)))
    found.note("a compressed box is damaged or too large and left out")
    return b""


def _take_resolution(found: FoundMetadata, content: bytes) -> None:
    """Of the capture, or else of the display: numerator / denominator x 10^exponent per meter, down before across."""
    for wanted in (b"resc", b"resd"):
        position = content.find(wanted)
        if position >= 4 and found.resolution is None:
            down, below_down, across, below_across, down_power, across_power = struct.unpack_from(
                ">4H2b", content, position + 4
            )
            x, y = Fraction(across, below_across), Fraction(down, below_down)
            found.resolution = per_meter(x * Fraction(10) ** across_power, y * Fraction(10) ** down_power)


READERS: dict[str, Callable[[FoundMetadata, Any, Any], None]] = {
    "JPEG": _read_jpeg,
    "MPO": _read_jpeg,
    "PNG": _read_png,
    "TIFF": _read_tiff,
    "WEBP": _read_info,
    "AVIF": _read_info,
    "HEIF": _read_info,
    "BMP": _read_bmp,
    "GIF": _read_gif,
    "JPEG2000": _read_jpeg_2000,
}


__all__ = ["read_boxes", "read_metadata"]
