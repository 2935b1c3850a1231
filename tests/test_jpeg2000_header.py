"""What a JPEG 2000 file says about its samples and Pillow does not pass on."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from encoded_pictures import adobe_rgb, encoded, jpeg2000_with_profile, random_gray, random_rgb, reason_of
from PIL import Image

from modeling_chromagan.errors import ImageLoadError
from modeling_chromagan.image_loading import load_color, load_image
from modeling_chromagan.jpeg2000_header import jpeg2000_header


@pytest.mark.parametrize("container", ["jp2", "j2k"])
def test_depths_and_the_streams_position(container):
    for depth, components in ((8, 1), (12, 3), (16, 1)):
        samples = np.zeros((8, 9, components) if components > 1 else (8, 9), np.uint16 if depth > 8 else np.uint8)
        content = imagecodecs.jpeg2k_encode(samples, codecformat=container, bitspersample=depth)
        stream = io.BytesIO(content)
        stream.seek(5)
        header = jpeg2000_header(stream)
        assert (header.depths, header.complete, header.profile) == ((depth,) * components, True, b"")
        assert stream.tell() == 5


@pytest.mark.parametrize("depth", [1, 4, 10, 12])
def test_samples_of_every_depth_reach_white(depth):
    """Pillow fills them up with zeros."""
    kind = np.uint8 if depth <= 8 else np.uint16
    samples = (random_gray(kind) >> (8 * kind().itemsize - depth)).astype(kind)
    content = imagecodecs.jpeg2k_encode(samples, level=0, reversible=True, bitspersample=depth)
    white = np.iinfo(kind).max
    expected = np.rint(samples * (white / ((1 << depth) - 1))).astype(kind)
    np.testing.assert_array_equal(load_image(content).gray, expected)
    if depth < 8:
        content = imagecodecs.jpeg2k_encode(np.dstack([samples] * 4), level=0, reversible=True, bitspersample=depth)
        np.testing.assert_array_equal(load_image(content).gray, expected)
        np.testing.assert_array_equal(load_image(content).alpha, expected)


def test_a_mask_of_1_bit_leaves_gray_its_8():
    """As a mask of 8 bits whose values, around the middle, are 0 and 1 around the middle of 1 bit."""
    gray, mask = random_gray(), random_gray(seed=3) >> 7
    content = bytearray(imagecodecs.jpeg2k_encode(np.dstack([gray, 127 + mask]), level=0, reversible=True))
    depths = content.index(b"\xff\x4f\xff\x51") + 42
    content[depths + 3] = 1 - 1
    loaded = load_image(bytes(content))
    np.testing.assert_array_equal(loaded.gray, gray)
    np.testing.assert_array_equal(loaded.alpha, 255 * mask)
    assert loaded.format == "JPEG2000"


def test_gray_opacity_and_colors_are_read():
    gray, colors = random_gray(), random_rgb()
    loaded = load_image(encoded(Image.fromarray(np.dstack([gray, gray[::-1]])), "JPEG2000"))
    np.testing.assert_array_equal(loaded.gray, gray)
    np.testing.assert_array_equal(loaded.alpha, gray[::-1])
    np.testing.assert_array_equal(np.asarray(load_color(encoded(colors, "JPEG2000"))), colors)
    deep = random_gray(np.uint16)
    np.testing.assert_array_equal(load_image(encoded(deep, "JPEG2000")).gray, deep)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_white_of_16_bits_in_color_is_not_read_as_black(channels):
    """Pillow rounds it to 256, which is 0 in 8 bits."""
    middle, white = (
        imagecodecs.jpeg2k_encode(np.full((8, 9, channels), value, np.uint16), level=0, reversible=True)
        for value in (30_840, 65_500)
    )
    assert np.all(load_image(middle).gray == 120)
    for load in (load_image, load_color):
        with pytest.raises(ImageLoadError, match="white as black"):
            load(white)


def test_an_embedded_profile_is_applied():
    colors = random_rgb()
    content = jpeg2000_with_profile(encoded(colors, "JPEG2000"), adobe_rgb())
    assert jpeg2000_header(io.BytesIO(content)).profile == adobe_rgb()
    expected = load_color(encoded(colors, "PNG", icc_profile=adobe_rgb()))
    np.testing.assert_array_equal(np.asarray(load_color(content)), np.asarray(expected))


def test_a_picture_without_its_last_bytes_is_refused():
    """OpenJPEG reads a lossy one whose last packet is cut, with other pixels."""
    lossy = {"irreversible": True, "quality_mode": "rates", "quality_layers": [20]}
    for options in ({}, lossy):
        content = encoded(Image.fromarray(random_rgb()).resize((24, 18)).convert("RGBA"), "JPEG2000", **options)
        for missing in range(1, 60):
            assert "truncated" in reason_of(content[:-missing])
        load_image(content + bytes(16))  # padding does no harm


def test_lab_is_refused():
    content = encoded(random_rgb(), "JPEG2000")
    start = content.index(b"colr") + 4
    assert "Lab" in reason_of(content[: start + 3] + struct.pack(">I", 14) + content[start + 7 :])
