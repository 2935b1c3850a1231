"""Boxes of a JP2 file."""

import io
import struct
from fractions import Fraction

import pytest
from PIL import Image
from written_pages import IPTC, XMP, everything, exif_block, random_page

from modeling_chromagan.archive.metadata import Metadata, Resolution
from modeling_chromagan.archive.writing import encode_pages, write_pages

SETTINGS = {"output_format": "jp2", "layout": "single", "profile": b""}


def boxes(data: bytes) -> list[tuple[str, bytes]]:
    found, position = [], 0
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        found.append((name.decode(), data[position + 8 : position + length]))
        position += length
    return found


def test_metadata_are_boxes_in_front_of_the_pixels():
    found = boxes(encode_pages([random_page(metadata=everything())], **SETTINGS))
    assert [name for name, _ in found] == ["jP  ", "ftyp", "jp2h", "uuid", "uuid", "uuid", "jp2c"]
    contents = {content[:16]: content[16:] for name, content in found if name == "uuid"}
    assert contents == {
        b"JpgTiffExif->JP2": exif_block(),
        bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): IPTC,
        bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): XMP,
    }


@pytest.mark.parametrize(
    ("unit", "x", "y", "dpi"),
    [
        ("inch", "300", "600", (300, 600)),
        ("inch", "204", "98", (204, 98)),
        ("centimeter", "118", "118", (299.72, 299.72)),
        ("inch", "299.9994", "299.9994", (299.9994, 299.9994)),
        ("inch", "1/7", "123456.7", (1 / 7, 123456.7)),
    ],
)
def test_resolution_is_that_of_the_scan(unit, x, y, dpi):
    page = random_page(metadata=Metadata(resolution=Resolution(Fraction(x), Fraction(y), unit)))
    with Image.open(io.BytesIO(encode_pages([page], **SETTINGS))) as image:
        assert image.info["dpi"] == pytest.approx(dpi, rel=1e-9)


def test_an_aspect_alone_is_left_out_and_named(tmp_path):
    page = random_page(metadata=Metadata(resolution=Resolution(Fraction(2), Fraction(1), "none")))
    written = write_pages([page], tmp_path / "a", **SETTINGS)
    assert written.notes == ("JPEG 2000 has no aspect of pixels without a unit: it is left out",)


def test_the_fourth_channel_is_opacity():
    header = dict(boxes(dict(boxes(encode_pages([random_page((5, 6, 4))], **SETTINGS)))["jp2h"]))
    channels = [struct.unpack_from(">HHH", header["cdef"], 2 + 6 * number) for number in range(4)]
    assert channels == [(0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 1, 0)]
    assert "cdef" not in dict(boxes(dict(boxes(encode_pages([random_page()], **SETTINGS)))["jp2h"]))
