"""Small pictures for reports."""

import io

import numpy as np
import pytest
from encoded_pictures import gamma_curve, srgb_primaries
from picture_files import write_picture
from PIL import Image

from modeling_chromagan.archive.pages import ColoredPage
from modeling_chromagan.archive.thumbnails import thumbnail_after, thumbnail_before
from modeling_chromagan.archive.writing import write_pages


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "JPEG"
        return np.asarray(picture, np.int16)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp", "a.jp2", "a.avif"])
def test_both_are_small_and_look_like_the_picture(tmp_path, name):
    gray = write_picture(tmp_path / "gray.png", 300, 400)
    before = pixels(thumbnail_before(tmp_path / "gray.png"))
    assert before.shape == (120, 160)
    assert abs(before.mean() - gray.mean()) < 2
    Image.new("RGB", (400, 300), (200, 120, 40)).save(tmp_path / name)
    after = pixels(thumbnail_after(tmp_path / name))
    assert after.shape == (120, 160, 3)
    np.testing.assert_allclose(after[60, 80], (200, 120, 40), atol=4)


def test_results_of_16_bits_are_shown(tmp_path):
    pixels_16 = np.full((30, 40, 4), (51_400, 30_840, 10_280, 65_535), np.uint16)
    pixels_16[:, 20:] = (65_535, 65_450, 61_680, 65_535)  # the first two Pillow reads as 0 in JPEG 2000
    for name in ("a.png", "a.tif", "a.jp2"):
        output_format = {"a.png": "png", "a.tif": "tiff", "a.jp2": "jp2"}[name]
        write_pages(
            [ColoredPage(pixels_16)], tmp_path / name, output_format=output_format, layout="single", profile=b""
        )
        shown = pixels(thumbnail_after(tmp_path / name))
        np.testing.assert_allclose(shown[15, [5, 35]], ((200, 120, 40), (255, 255, 240)), atol=4)


def test_an_input_in_color_is_shown_in_color(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    assert np.ptp(pixels(thumbnail_before(tmp_path / "a.png")), axis=2).max() > 50


def test_a_wide_space_is_shown_in_srgb(tmp_path):
    linear = srgb_primaries(gamma_curve(1))
    Image.new("RGB", (40, 30), (60, 60, 60)).save(tmp_path / "a.png", icc_profile=linear)
    Image.new("RGB", (40, 30), (60, 60, 60)).save(tmp_path / "b.png")
    assert pixels(thumbnail_after(tmp_path / "a.png")).mean() > pixels(thumbnail_after(tmp_path / "b.png")).mean() + 40


def test_what_is_transparent_lies_on_gray(tmp_path):
    Image.new("RGBA", (40, 30), (255, 0, 0, 0)).save(tmp_path / "a.png")
    Image.new("LA", (40, 30), (255, 0)).save(tmp_path / "b.png")
    assert np.abs(pixels(thumbnail_after(tmp_path / "a.png")) - 128).max() <= 2
    assert np.abs(pixels(thumbnail_before(tmp_path / "b.png")) - 128).max() <= 2


def test_what_cannot_be_read_has_none(tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("damaged.png", "gone.png"):
        assert thumbnail_before(tmp_path / name) is None
        assert thumbnail_after(tmp_path / name) is None
