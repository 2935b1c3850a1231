"""Segments of a JPEG."""

import hashlib
import io
import re
import struct
from fractions import Fraction

import pytest
from PIL import Image, IptcImagePlugin
from written_pages import XMP, everything, random_page

from modeling_chromagan.archive.jpeg_file import EXTENSION_PREFIX, XMP_PREFIX
from modeling_chromagan.archive.metadata import Metadata, Resolution
from modeling_chromagan.archive.metadata_reading import read_metadata
from modeling_chromagan.archive.writing import encode_pages, write_pages

SETTINGS = {"output_format": "jpeg", "layout": "single", "profile": b""}


def segments(data: bytes) -> list[tuple[int, bytes]]:
    found, position = [], 2
    while data[position + 1] != 0xDA:  # scan
        marker, length = struct.unpack_from(">xBH", data, position)
        found.append((marker, data[position + 4 : position + 2 + length]))
        position += 2 + length
    return found


def test_metadata_are_segments_in_the_order_that_readers_expect():
    data = encode_pages([random_page(metadata=everything())], **SETTINGS)
    markers = [marker for marker, _ in segments(data)]
    assert markers[:6] == [0xE0, 0xE1, 0xE1, 0xED, 0xE2, 0xFE]
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert (image.info["dpi"], image.info["jfif_unit"]) == ((300, 600), 1)
        assert image.getexif()[270] == "A view"
        assert image.getexif().get_ifd(34853)[2] == (52.0, 30.0, 1.5)
        assert image.info["xmp"] == XMP
        assert IptcImagePlugin.getiptcinfo(image) == {(2, 5): b"A title"}
        assert image.info["comment"] == b"a comment"


@pytest.mark.parametrize(
    ("resolution", "expected", "rounded"),
    [
        (Resolution(Fraction(204), Fraction(98), "inch"), (1, 204, 98), False),
        (Resolution(Fraction(118), Fraction(118), "centimeter"), (2, 118, 118), False),
        (Resolution(Fraction(3, 2), Fraction(1), "none"), (0, 3, 2), False),
        (Resolution(Fraction("299.9994"), Fraction("299.9994"), "inch"), (1, 300, 300), False),
        (Resolution(Fraction("72.5"), Fraction("72.5"), "inch"), (1, 72, 72), True),
        (Resolution(Fraction(1, 10), Fraction(100_000), "inch"), (1, 1, 65_535), True),
    ],
)
def test_density_has_its_unit(tmp_path, resolution, expected, rounded):
    page = random_page(metadata=Metadata(resolution=resolution))
    written = write_pages([page], tmp_path / "a", **SETTINGS)
    assert struct.unpack_from(">BHH", (tmp_path / "a").read_bytes(), 13) == expected
    assert any("rounded" in note for note in written.notes) == rounded


def long_xmp(properties: int, length: int) -> bytes:
    added = "".join(f"<xmp:P{number}>{chr(97 + number) * length}</xmp:P{number}>" for number in range(properties))
    return XMP.replace(b"</rdf:Description>", added.encode() + b"</rdf:Description>")


def test_a_long_xmp_packet_goes_on_in_further_segments():
    packet = long_xmp(5, 40_000)
    data = encode_pages([random_page(metadata=Metadata(xmp=packet))], **SETTINGS)
    contents = [content for marker, content in segments(data) if marker == 0xE1]
    (main,) = [content[len(XMP_PREFIX) :] for content in contents if content.startswith(XMP_PREFIX)]
    parts = [content[len(EXTENSION_PREFIX) :] for content in contents if content.startswith(EXTENSION_PREFIX)]
    assert len(parts) == 3
    extension = b"".join(part[40:] for part in parts)
    name = re.search(rb"HasExtendedXMP>(\w+)<", main).group(1)
    assert {part[:32] for part in parts} == {name}
    assert hashlib.md5(extension).hexdigest().upper().encode() == name
    assert [struct.unpack_from(">II", part, 32)[0] for part in parts] == [len(extension)] * 3
    assert [struct.unpack_from(">II", part, 36)[0] for part in parts] == [
        0,
        len(parts[0]) - 40,
        2 * len(parts[0]) - 80,
    ]
    # Each property stands in one of the two.
    for number in range(5):
        assert (f"<xmp:P{number}".encode() in main) + (f"<xmp:P{number}".encode() in extension) == 1
    assert b"<xmp:Label>blue</xmp:Label>" in main
    assert b"Label" not in extension


def test_much_iptc_goes_on_in_further_segments():
    iptc = (b"\x1c\2\x19\x75\x30" + b"x" * 30_000) * 5
    data = encode_pages([random_page(metadata=Metadata(iptc=iptc))], **SETTINGS)
    assert [marker for marker, _ in segments(data)].count(0xED) == 3
    with Image.open(io.BytesIO(data)) as image:
        assert read_metadata(image).iptc == iptc


def test_what_does_not_fit_in_a_segment_is_left_out_and_named(tmp_path):
    large = bytes(70_000)
    exif = Image.Exif()
    exif[270] = "x" * 70_000
    metadata = Metadata(exif=exif.tobytes().removeprefix(b"Exif\0\0"), xmp=large, comments=(large,))
    written = write_pages([random_page(metadata=metadata)], tmp_path / "a", **SETTINGS)
    assert sorted(re.search(r"64 KB for (\w+)", note).group(1) for note in written.notes) == [
        "EXIF",
        "XMP",
        "comment",
    ]
    with Image.open(tmp_path / "a") as image:
        image.load()


def test_a_large_profile_takes_several_segments():
    profile = bytes(range(256)) * 600
    data = encode_pages([random_page()], output_format="jpeg", layout="single", profile=profile)
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == profile
