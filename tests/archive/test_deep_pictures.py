"""PNG, JPEG 2000 and HEIF pictures of more bits than Pillow reads."""

import io

import imagecodecs
import numpy as np
import pytest
from encoded_pictures import adobe_rgb, encoded, jpeg2000_with_profile, png, random_gray, random_rgb, to_code
from PIL import Image

from modeling_chromagan.archive.pages import Page
from modeling_chromagan.archive.scan import open_scan


def page_of(content: bytes) -> Page:
    with open_scan(content, name="the name", max_pixels=10**6) as scan:
        (page,) = scan.pages()
    return page


def test_gray_stored_as_deep_colors_keeps_its_16_bits():
    gray = random_gray(np.uint16)
    for content in (
        imagecodecs.png_encode(np.dstack([gray] * 3)),
        imagecodecs.png_encode(np.dstack([gray] * 4)),
        imagecodecs.png_encode(np.dstack([gray] * 2)),
        imagecodecs.jpeg2k_encode(np.dstack([gray] * 3), level=0, reversible=True),
        imagecodecs.jpeg2k_encode(np.dstack([gray] * 2), level=0, reversible=True),
    ):
        page = page_of(content)
        np.testing.assert_array_equal(page.image.gray, gray)
        assert (page.depth, page.image.notes, page.image.was_color) == (16, (), False)


def test_a_jpeg2000_profile_is_applied_once():
    gray = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    content = imagecodecs.jpeg2k_encode(np.dstack([gray] * 3), level=0, reversible=True)
    image = page_of(jpeg2000_with_profile(content, adobe_rgb())).image
    np.testing.assert_array_equal(image.stored, gray)
    assert np.abs(image.gray - to_code((gray / 65535) ** (563 / 256)) * 65535).max() < 3


def test_12_bit_colors_reach_white():
    gray = random_gray(np.uint16) >> 4
    content = imagecodecs.jpeg2k_encode(np.dstack([gray] * 3), level=0, reversible=True, bitspersample=12)
    np.testing.assert_array_equal(page_of(content).image.gray, np.rint(gray * (65535 / 4095)))


def test_a_transparent_color_is_compared_at_16_bits():
    gray = random_gray(np.uint16)
    samples = np.dstack([gray] * 3).astype(">u2")
    samples[0, :2] = (500, 500, 500), (501, 501, 501)  # of one value at 8 bits
    content = png(samples.tobytes(), 24, 18, 16, 2, (b"tRNS", np.array([500] * 3, ">u2").tobytes()))
    np.testing.assert_array_equal(page_of(content).image.alpha, np.where(samples[..., 0] == 500, 0, 65535))


def test_a_deep_picture_that_only_pillow_reads_is_noted():
    content = imagecodecs.png_encode(np.dstack([random_gray(np.uint16, seed) for seed in range(3)]))
    cut = content[:-12]  # complete, but for the last chunk
    assert "read as 8" in page_of(cut).image.notes[0]
    assert page_of(cut).depth == 16


def test_8_bit_pictures_are_left_to_pillow():
    for file_format in ("PNG", "JPEG2000", "WEBP"):
        page = page_of(encoded(Image.fromarray(random_rgb()), file_format, lossless=True))
        assert (page.depth, page.image.was_color) == (8, True)


@pytest.mark.parametrize("depth", [10, 12])
@pytest.mark.parametrize("channels", [3, 4])
def test_avif_of_more_than_8_bits(depth, channels):
    gray = random_gray(np.uint16) >> (16 - depth)
    content = imagecodecs.avif_encode(np.dstack([gray] * channels), level=100, bitspersample=depth)
    page = page_of(content)
    assert page.depth == 16
    np.testing.assert_array_equal(page.image.gray, np.rint(gray * (65535 / ((1 << depth) - 1))))
    assert (page.image.alpha is None) == (channels == 3)


@pytest.mark.parametrize("mode", ["I;16", "RGB;16"])
def test_heif_of_10_bits(mode):
    pillow_heif = pytest.importorskip("pillow_heif")
    gray = np.sort(random_gray(np.uint16), axis=None).reshape(18, 24)  # smooth: the codec is lossy
    samples = gray if mode == "I;16" else np.dstack([gray] * 3)
    buffer = io.BytesIO()
    pillow_heif.from_bytes(mode, (24, 18), samples.astype("<u2").tobytes()).save(buffer, quality=-1)
    page = page_of(buffer.getvalue())
    assert page.depth == 16
    assert len(np.unique(page.image.gray)) > 256
    assert np.abs(page.image.gray.astype(int) - gray).max() < 300
    assert page.image.gray.max() == 65535
