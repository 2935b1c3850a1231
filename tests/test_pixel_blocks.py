"""Pictures read block by block: the same as at once, in less memory, with values in their range."""

import tracemalloc

import numpy as np
import pytest
from encoded_pictures import SHAPE, WIDTH, encoded, random_gray, random_rgb, reason_of, tiff
from PIL import Image

from modeling_chromagan import pixel_blocks
from modeling_chromagan.image_loading import load_image


def test_blocks_cover_the_picture(monkeypatch):
    """Pictures of several blocks, in both directions, are those of one block."""
    gray, rgb, deep = random_gray(), random_rgb(), random_gray(np.uint16)
    sources = [encoded(gray, "PNG"), encoded(rgb, "PNG"), tiff(deep, 16, orientation=6), rgb / 255]
    expected = [load_image(source).gray for source in sources]
    for pixels in (5, WIDTH, 2 * WIDTH + 1, 100):
        monkeypatch.setattr(pixel_blocks, "BLOCK_PIXELS", pixels)
        for source, gray in zip(sources, expected, strict=True):
            np.testing.assert_array_equal(load_image(source).gray, gray)


def test_besides_pillows_image_only_the_result_is_held():
    """A 100-megapixel scan costs Pillow's 100 MB and the result's 100 MB; Python's side is traced here at 8."""
    content = encoded(Image.new("L", (4000, 2000), 90), "PNG")
    tracemalloc.start()
    load_image(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6 + 4e6


@pytest.mark.parametrize(
    ("values", "dtype", "found"),
    [
        ((-5, 70), np.int32, "-5 to 70"),
        ((0, 65536), np.int32, "0 to 65536"),
        ((7, 2**32 - 1), np.uint32, "4294967295"),
    ],
)
def test_integers_beyond_16_bits_are_refused_with_their_range(values, dtype, found):
    content = tiff(np.array([values], dtype), 32, sample_format=2 if dtype == np.int32 else 1)
    reason = reason_of(content)
    assert found in reason
    assert "accepted are 0 to 65535" in reason
    assert found in reason_of(np.array([values], dtype))


@pytest.mark.parametrize(
    ("value", "found"), [(np.nan, "NaN"), (1.5, "0.25 to 1.5"), (-0.125, "-0.125 to 0.25"), (np.inf, "0.25 to inf")]
)
def test_float_out_of_range_is_refused_with_what_was_found(value, found):
    gray = np.full(SHAPE, 0.25, np.float32)
    gray[3, 4] = value
    assert found in reason_of(tiff(gray, 32, sample_format=3))
    assert found in reason_of(gray.astype(np.float64))
