"""Pictures to write, and all that can be said about one."""

from fractions import Fraction

import numpy as np
from PIL import Image

from modeling_chromagan.archive.metadata import Metadata, Resolution, TextEntry
from modeling_chromagan.archive.pages import ColoredPage

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"><xmp:Label>blue</xmp:Label>'
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)
IPTC = b"\x1c\x02\x05\0\x07A title"
INCHES = Resolution(Fraction(300), Fraction(600), "inch")


def exif_block(order: str = "II") -> bytes:
    """Description, artist, time of the photograph and place."""
    exif = Image.Exif()
    exif.endian = {"II": "<", "MM": ">"}[order]
    exif[270], exif[274], exif[315] = "A view", 1, "Somebody"
    exif.get_ifd(34665).update({36867: "1936:01:02 03:04:05", 33434: (1, 125), 37510: b"ASCII\0\0\0note"})
    exif.get_ifd(34853).update({0: b"\2\3\0\0", 1: "N", 2: (52.0, 30.0, 1.5)})
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    assert block.startswith(order.encode())
    return block


def everything() -> Metadata:
    """A value in every field."""
    text = (TextEntry("Title", "Straße"), TextEntry("Author", "Łódź", True, "pl", "Autor"))
    return Metadata(INCHES, exif_block(), IPTC, XMP, text, (b"a comment",))


def random_pixels(shape: tuple[int, int, int] = (23, 41, 3), dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, endpoint=True)
    return values.astype(dtype)


def random_page(
    *arguments, metadata: Metadata | None = None, duration: Fraction | None = None, **settings
) -> ColoredPage:
    return ColoredPage(random_pixels(*arguments, **settings), metadata or Metadata(), duration)
