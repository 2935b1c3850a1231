"""What was found in a file -> what is true of the upright, colored picture that is made of it."""

import re
import struct
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

from .exif_block import RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, ExifBlock, parse_exif
from .iptc import iptc_records
from .metadata import Metadata, Resolution, TextEntry
from .metadata_containers import IPTC_RESOURCE, photoshop_resource
from .resolution import UNITS, in_unit, is_plausible, resolution_of
from .xmp import Packet

# Tags of IFD 0 that say how pixels are stored, of which other tags speak, or that are kept elsewhere.
STORAGE = frozenset(
    (
        *(*range(254, 267), 273, *range(277, 282), 284, *range(288, 294), 300, 301, *range(317, 349), 351),
        *(*range(400, 405), *range(433, 436), *range(512, 522), *range(529, 533), 559, *range(32995, 32999)),
        *(33421, 33422, *range(34016, 34031), 34675, *range(34908, 34912), 37439, 37724, 42113, 50341, 50838, 50839),
        *(*range(50706, 51126), 52545),
    )
)
ORIENTATION, DESCRIPTION = 274, 270
# Sizes, color space, compression, interoperability: of the pixels of another file. Then areas in unturned pixels.
STALE_IN_EXIF = (0xA001, 0xA002, 0xA003, 0xA005, 0x9101, 0x9102, 0xA500)
TURNED_IN_EXIF = (0x9214, 0xA214)
DATES_IN_IMAGE = (0x9003, 0x9004)  # which TIFF/EP has in IFD 0, where cameras' programs do not look
STALE_IN_XMP = (
    *("tiff:ImageWidth", "tiff:ImageLength", "tiff:BitsPerSample", "tiff:PhotometricInterpretation"),
    *("tiff:SamplesPerPixel", "tiff:Compression", "tiff:PlanarConfiguration", "tiff:NativeDigest"),
    *("exif:PixelXDimension", "exif:PixelYDimension", "exif:ColorSpace", "exif:NativeDigest"),
    *("photoshop:ColorMode", "photoshop:ICCProfile", "xmp:Thumbnails", "xmpNote:HasExtendedXMP"),
)
RESOLUTION_IN_XMP = ("tiff:XResolution", "tiff:YResolution", "tiff:ResolutionUnit")
# Descriptions that programs write for themselves, about the layout of the gray file.
LAYOUT_DESCRIPTION = re.compile(rb'\s*(ImageJ=|\{"shape":|(<\?xml.*)?<OME\b)', re.DOTALL)


class FoundMetadata:
    """What was found in a file, and what had to be said about it."""

    def __init__(self) -> None:
        self.resolution: Resolution | None = None
        self.block = ExifBlock()
        self.iptc = self.xmp = b""
        self.comments: tuple[bytes, ...] = ()
        self.text: list[TextEntry] = []
        self.properties: dict[str, str] = {}  # of XMP, said in the container's own way
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def attempt(self, what: str, read: Callable[[], Any]) -> None:
        """Reads a part; whatever damage makes parsers raise, the picture is read."""
        try:
            read()
        except Exception as error:
            reason = str(error).splitlines()[0] if isinstance(error, ValueError) and str(error) else "it is damaged"
            self.note(f"its {what} cannot be read and is left out ({reason})")

    def read_exif(self, data: bytes) -> None:
        if data.removeprefix(b"Exif\0\0"):
            self.attempt("EXIF", lambda: setattr(self, "block", parse_exif(data)))

    def read_iptc(self, data: bytes) -> None:
        """IPTC records, bare or in Photoshop's wrapping, where rights stand too."""
        self.attempt("IPTC", partial(self._take_iptc, data.removeprefix(b"Photoshop 3.0\0")))

    def _take_iptc(self, data: bytes) -> None:
        if data.startswith(b"8BIM"):
            if photoshop_resource(data, COPYRIGHT_FLAG).strip(b"\0"):
                self.properties["xmpRights:Marked"] = "True"
            if address := photoshop_resource(data, ADDRESS):
                self.properties["xmpRights:WebStatement"] = address.decode("latin-1")
            data = photoshop_resource(data, IPTC_RESOURCE)
        if data.strip(b"\0"):
            self.iptc = iptc_records(data)

    def metadata(self, *, turned: bool) -> Metadata:
        """All of it, as it is true of the upright, colored picture; `turned`: by the orientation that EXIF has."""
        block, self.block = self.block, ExifBlock()  # nothing half finished stays
        self.attempt("EXIF", partial(self._finish_exif, block, turned))
        if self.xmp:
            packet, self.xmp = self.xmp.rstrip(b"\0"), b""
            self.attempt("XMP", partial(self._finish_xmp, packet))
        if self.properties:
            self.attempt("rights", self._add_properties)
        if self.resolution and not is_plausible(self.resolution):
            self.resolution = None
            self.note("its resolution is no possible one and is left out")
        try:
            exif = self.block.pack()
        except (ValueError, struct.error):
            exif = b""
            self.note("its EXIF cannot be read and is left out (it is damaged)")
        return Metadata(self.resolution, exif, self.iptc, self.xmp, tuple(self.text), self.comments, tuple(self.notes))

    def _finish_exif(self, block: ExifBlock, turned: bool) -> None:
        if block.damaged:
            self.note("some of its EXIF tags are damaged and left out")
        for number in STORAGE.intersection(block.image):
            del block.image[number]
        for number in [number for number, tag in block.image.items() if tag.kind == 13]:  # other folders
            del block.image[number]
        for number in STALE_IN_EXIF:
            block.exif.pop(number, None)
        numbers = [block.numbers(block.image.pop(n, None)) for n in (X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT)]
        orientation = block.numbers(block.image.get(ORIENTATION))
        if ORIENTATION in block.image:
            block.image[ORIENTATION] = block.short(1)
        across, down, unit = numbers
        if across or down:
            stated = UNITS.get(int(unit[0]) if unit else 2, "inch")
            said = resolution_of((across or down)[0], (down or across)[0], stated)
            if said and (self.resolution is None or _rounds_to(said, self.resolution)):
                self.resolution = said
        if turned and orientation and orientation[0] != 1:
            for number in TURNED_IN_EXIF:
                block.exif.pop(number, None)
            if orientation[0] in (5, 6, 7, 8) and self.resolution:
                self.resolution = Resolution(self.resolution.y, self.resolution.x, self.resolution.unit)
        for number in DATES_IN_IMAGE:
            if number in block.image:
                block.exif.setdefault(number, block.image[number])
        if LAYOUT_DESCRIPTION.match(block.image[DESCRIPTION].value) if DESCRIPTION in block.image else False:
            del block.image[DESCRIPTION]
            self.note("its description is about the layout of the file that was read and is left out")
        self.block = block

    def _finish_xmp(self, data: bytes) -> None:
        packet = Packet(data)
        stale = [name for name in STALE_IN_XMP if packet.values(name)]
        turn = packet.values("tiff:Orientation")
        if turn and turn != ["1"]:
            packet.remove("tiff:Orientation")
            packet.put("tiff:Orientation", ["1"])
        if self.resolution is None and packet.values(RESOLUTION_IN_XMP[0]):
            across, down, unit = ([_fraction(v) for v in packet.values(name)] for name in RESOLUTION_IN_XMP)
            if across and down:
                self.resolution = resolution_of(across[0], down[0], UNITS.get(int(unit[0]) if unit else 2, "inch"))
        packet.remove(*stale, *(name for name in RESOLUTION_IN_XMP if packet.values(name)))
        self.xmp = packet.pack() if packet.edits or not data.startswith(UTF_16_OR_32) else Packet(data).source

    def _add_properties(self) -> None:
        packet = Packet(self.xmp)
        for name, text in self.properties.items():
            if not packet.values(name):
                packet.put(name, [text])
        self.xmp = packet.pack()


COPYRIGHT_FLAG, ADDRESS = 0x040A, 0x040B  # resources of Photoshop's
UTF_16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\0", b"<\0")


def _fraction(text: str) -> Fraction:
    """ "300/1" -> 300; 0 for what is no number."""
    try:
        return Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        return Fraction(0)


def _rounds_to(exact: Resolution, rounded: Resolution) -> bool:
    """Whether a container's numbers are EXIF's resolution, rounded to whole ones, or have no unit where EXIF has."""
    if "none" in (exact.unit, rounded.unit):
        return rounded.unit == "none"
    x, y = in_unit(exact, rounded.unit)
    return max(abs(x - rounded.x), abs(y - rounded.y)) <= Fraction(1, 2)


__all__ = ["STORAGE", "FoundMetadata"]
