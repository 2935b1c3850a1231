"""JPEG XL, which Pillow does not read."""

import imagecodecs
import numpy as np
import pytest
from drawn_pictures import sideways, sunset, swapped
from encoded_pictures import luminance_of, random_gray, random_rgb, to_code

from modeling_chromagan.archive.jpeg_xl import is_jpeg_xl, read_header, read_samples
from modeling_chromagan.archive.scan import open_scan
from modeling_chromagan.errors import ImageLoadError
from modeling_chromagan.image_loading import LoadedImage, load_image


def load(content: bytes, max_pixels: int = 10**6) -> LoadedImage:
    with open_scan(content, name="the name", max_pixels=max_pixels) as scan:
        (page,) = scan.pages()
    assert page.image.format == scan.format == "JPEGXL"
    return page.image


@pytest.mark.parametrize("container", [False, True])
def test_8_bits_are_exact(container):
    gray, rgb = random_gray(), random_rgb()
    loaded = load(imagecodecs.jpegxl_encode(gray, lossless=True, usecontainer=container))
    np.testing.assert_array_equal(loaded.gray, gray)
    assert loaded.gray.dtype == np.uint8
    colored = load(imagecodecs.jpegxl_encode(rgb, lossless=True, usecontainer=container))
    assert np.abs(colored.gray / 65535 - luminance_of(rgb)).max() < 2e-5
    assert colored.was_color


def test_16_bits_are_read_in_the_space_that_the_file_names():
    """This encoder says that 16-bit and float samples are linear light."""
    gray = random_gray(np.uint16)
    content = imagecodecs.jpegxl_encode(gray, lossless=True)
    header = read_header(content, "the name", 10**6)
    np.testing.assert_array_equal(read_samples(content, header, "the name", 10**6).colors[..., 0], gray)
    expected = to_code(gray / 65535) * 65535
    assert np.abs(load(content).gray - expected).max() < 4
    colors = np.dstack([gray] * 3)
    assert np.abs(load(imagecodecs.jpegxl_encode(colors, lossless=True)).gray - expected).max() < 4
    unit = (gray / 65535).astype(np.float32)
    assert np.abs(load(imagecodecs.jpegxl_encode(unit, lossless=True)).gray - expected / 65535).max() < 1e-4


def test_12_bits_reach_white():
    gray = random_gray(np.uint16) >> 4
    content = imagecodecs.jpegxl_encode(gray, lossless=True, bitspersample=12)
    header = read_header(content, "the name", 10**6)
    samples = read_samples(content, header, "the name", 10**6)
    np.testing.assert_array_equal(samples.colors[..., 0], np.rint(gray * (65535 / 4095)))


def test_opacity_is_kept():
    gray = random_gray()
    loaded = load(imagecodecs.jpegxl_encode(np.dstack([gray, gray[::-1]]), lossless=True))
    np.testing.assert_array_equal(loaded.gray, gray)
    np.testing.assert_array_equal(loaded.alpha, gray[::-1])


def test_damage_and_size_are_named():
    content = imagecodecs.jpegxl_encode(random_rgb(), lossless=True)
    for length in (2, 5, 20, len(content) // 2, len(content) - 5):
        with pytest.raises(ImageLoadError, match=r"^the name: damaged or truncated"):
            load(content[:length])
    with pytest.raises(ImageLoadError, match="24 x 18 = 432 pixels are more than max_pixels = 431"):
        load(content, max_pixels=431)
    assert is_jpeg_xl(content)
    assert not is_jpeg_xl(b"\xff\xd8\xff")


@pytest.mark.parametrize("jpeg", [sideways(sunset()), swapped(sunset())], ids=["orientation", "profile"])
def test_orientation_and_profile_are_applied_once(jpeg):
    """A JPEG packed into JPEG XL keeps both."""
    loaded, expected = load(imagecodecs.jpegxl_encode_jpeg(jpeg)), load_image(jpeg)
    assert loaded.gray.shape == expected.gray.shape
    assert np.abs(loaded.gray.astype(int) - expected.gray).max() <= 257
