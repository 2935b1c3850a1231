"""What a picture file says besides its pixels, in one form for all formats."""

from dataclasses import dataclass, field
from fractions import Fraction

CHOICES = ("keep", "minimal", "none")


@dataclass(frozen=True)
class Resolution:
    """Pixels per unit across and down; `unit` is "inch", "centimeter" or, for a mere aspect of the pixels, "none"."""

    x: Fraction
    y: Fraction
    unit: str


@dataclass(frozen=True)
class TextEntry:
    """One PNG text chunk; `international` ones are UTF-8 (iTXt), others Latin-1 (tEXt, zTXt)."""

    keyword: str
    text: str
    international: bool = False
    language: str = ""
    translated_keyword: str = ""


@dataclass(frozen=True)
class Metadata:
    """What a file, or one page of it, says besides its pixels.

    resolution: of the scan; None where the file says none.
    exif: a TIFF block, byte order mark first, without the "Exif" prefix: descriptive tags in IFD 0 (those of a TIFF
        page too), Exif and GPS folders. Empty where there is nothing.
    iptc: IPTC-IIM records, without the Photoshop wrapping. Empty where there are none.
    xmp: the packet, UTF-8. Empty where there is none.
    text: PNG text chunks but that of the XMP packet.
    comments: of JPEG, GIF or JPEG 2000, each in an encoding of its own.
    notes: what was damaged, or is not true of a colored picture any more, and was left out; one sentence each.
    """

    resolution: Resolution | None = None
    exif: bytes = b""
    iptc: bytes = b""
    xmp: bytes = b""
    text: tuple[TextEntry, ...] = ()
    comments: tuple[bytes, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)


def select(metadata: Metadata, keep: str) -> Metadata:
    """What a result is to carry: "keep" everything, "minimal" the resolution (profiles travel elsewhere), "none"."""
    if keep == "keep":
        return metadata
    if keep not in CHOICES:
        raise ValueError(f"metadata must be one of {', '.join(CHOICES)}, got {keep!r}")
    return Metadata(resolution=metadata.resolution if keep == "minimal" else None)
