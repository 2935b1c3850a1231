"""Names of results, and which files are pictures."""

import pytest
from PIL import Image

from modeling_chromagan.picture_formats import PICTURE_SUFFIXES, PILLOW_SUFFIXES, output_name


@pytest.mark.parametrize(
    ("name", "output_format", "expected"),
    [
        ("a.jpg", None, "a.jpg"),
        ("a.JPEG", None, "a.JPEG"),
        ("scan.TIF", None, "scan.TIF"),
        ("a.webp", None, "a.webp"),
        ("a.apng", None, "a.apng"),
        ("a.avif", None, "a.avif"),
        ("a.jp2", None, "a.jp2"),
        ("a.jp2", "tiff", "a.tif"),
        ("a.bmp", None, "a.png"),
        ("a.gif", None, "a.png"),
        ("a.jpg", "png", "a.png"),
        ("a.jpeg", "jpeg", "a.jpeg"),
        ("a.png", "jpeg", "a.jpg"),
        ("a.png", "tiff", "a.tif"),
        ("a.b.png", "webp", "a.b.webp"),
        ("without-suffix", None, "without-suffix.png"),
        ("plate.1912", "jpeg", "plate.1912.jpg"),
    ],
)
def test_output_name_is_the_input_name_with_the_new_suffix(name, output_format, expected):
    assert output_name(name, output_format) == expected


def test_output_name_can_keep_the_original_suffix():
    assert output_name("a.jpg", "png", keep_suffix=True) == "a.jpg.png"
    assert output_name("a.bmp", keep_suffix=True) == "a.bmp.png"
    assert output_name("a.jpg", keep_suffix=True) == "a.jpg.jpg"


def test_picture_suffixes():
    assert {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".avif", ".mpo"} <= PILLOW_SUFFIXES
    assert {".jp2", ".heic", ".jxl", ".dng", ".nef"} <= PICTURE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in PICTURE_SUFFIXES)
    Image.init()
    formats = {Image.registered_extensions()[suffix] for suffix in PILLOW_SUFFIXES}
    assert formats == {"JPEG", "MPO", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "AVIF"}
