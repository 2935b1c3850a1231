"""Small pictures with metadata, in every format that is read, made without the code that is tested."""

import io
import struct
import warnings
import zlib
from fractions import Fraction

import numpy as np
from PIL import Image, TiffImagePlugin

SIZE = (12, 10)
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="A scanner">'
    '<dc:source xmlns:dc="http://purl.org/dc/elements/1.1/">Box 7, Gläser</dc:source>'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
).encode()


def gray() -> Image.Image:
    return Image.fromarray(np.arange(120, dtype=np.uint8).reshape(SIZE[1], SIZE[0]))


def iptc(*fields: tuple[int, bytes], utf_8: bool = True) -> bytes:
    """IPTC data sets of record 2."""
    sets = [(1, 90, b"\x1b%G")] if utf_8 else []
    sets += [(2, 0, b"\0\4"), *((2, number, content) for number, content in fields)]
    return b"".join(struct.pack(">BBBH", 28, record, number, len(text)) + text for record, number, text in sets)


def photoshop(data: bytes) -> bytes:
    """Photoshop's resources: a caption digest, which is not asked for, and IPTC."""
    digest = b"8BIM\x04\x25\0\0" + struct.pack(">I", 16) + bytes(16)
    return digest + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(data)) + data + bytes(len(data) % 2)


def exif(order: str = "<", **changes: object) -> bytes:
    """An EXIF block as a camera writes it: three folders, an orientation, sizes, a thumbnail."""
    block = Image.Exif()
    block.endian = order
    block[270], block[315], block[33432] = "Main street, 1905", "A photographer", "Public domain"
    block[274] = changes.get("orientation", 1)
    if resolution := changes.get("resolution"):
        block[282], block[283], block[296] = *resolution, changes.get("unit", 2)
    folder = block.get_ifd(0x8769)
    folder[0x9003], folder[0xA002], folder[0xA003], folder[0xA001] = "1905:07:04 12:00:00", 999, 888, 65535
    folder[0x9214] = (1, 2)
    folder[0x829A] = TiffImagePlugin.IFDRational(1, 125)
    gps = block.get_ifd(0x8825)
    gps[1], gps[2] = (
        "N",
        (TiffImagePlugin.IFDRational(52), TiffImagePlugin.IFDRational(31), TiffImagePlugin.IFDRational(0)),
    )
    return block.tobytes().removeprefix(b"Exif\0\0")


def jpeg(*segments: tuple[int, bytes], **settings: object) -> bytes:
    """A JPEG with segments behind the JFIF header."""
    extra = b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
    memory = io.BytesIO()
    gray().save(memory, "JPEG", extra=extra, **settings)
    return memory.getvalue()


def png(*chunks: tuple[bytes, bytes], behind: bool = False, picture: Image.Image | None = None) -> bytes:
    """A PNG with chunks before or behind the pixels."""
    memory = io.BytesIO()
    (picture or gray()).save(memory, "PNG")
    data = memory.getvalue()
    place = data.index(b"IEND" if behind else b"IDAT") - 4
    parts = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return data[:place] + b"".join(parts) + data[place:]


def encoded(format_name: str, **settings: object) -> bytes:
    """A picture as Pillow writes it."""
    memory = io.BytesIO()
    picture = gray().convert("RGB") if format_name in ("WEBP", "AVIF", "HEIF") else gray()
    picture.save(memory, format_name, **settings)
    return memory.getvalue()


def tiff(tags: dict[int, object], **settings: object) -> bytes:
    folder = TiffImagePlugin.ImageFileDirectory_v2()
    for number, value in tags.items():
        folder[number] = value
    return encoded("TIFF", tiffinfo=folder, **settings)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content


def jp2(*boxes: bytes, header: bytes = b"") -> bytes:
    """A JPEG 2000 file with boxes before its codestream, and more in its header."""
    data = encoded("JPEG2000")
    start, stop = data.index(b"jp2h") - 4, data.index(b"jp2c") - 4
    return data[:start] + box(b"jp2h", data[start + 8 : stop] + header) + b"".join(boxes) + data[stop:]


def capture_resolution(x: Fraction | int, y: Fraction | int) -> bytes:
    """The box of JPEG 2000 for pixels per meter, down before across."""
    numbers = (y, 1, x, 1, 0, 0)
    return box(b"res ", box(b"resc", struct.pack(">4H2b", *numbers)))


def gif(*extensions: bytes) -> bytes:
    data = encoded("GIF")
    place = 13 + 3 * (2 << (data[10] & 7)) if data[10] & 0x80 else 13
    return data[:place] + b"".join(extensions) + data[place:]


def gif_xmp(packet: bytes) -> bytes:
    return b"!\xff\x0bXMP DataXMP" + packet + b"\1" + bytes(range(255, -1, -1)) + b"\0"


def opened(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about damaged EXIF
        return Image.open(io.BytesIO(data))
