"""Arrays of pixels, by the rules of files."""

import numpy as np
import pytest
from encoded_pictures import assert_is, encoded, luminance_of, random_gray, random_rgb, reason_of

from modeling_chromagan.image_loading import load_image


def test_arrays():
    gray, alpha, rgb = random_gray(), random_gray(seed=3), random_rgb()
    deep = random_gray(np.uint16)
    assert_is(load_image(gray[..., np.newaxis]), gray)
    assert_is(load_image(gray > 127), np.where(gray > 127, 255, 0).astype(np.uint8))
    assert_is(load_image(deep.astype(">u2")), deep)
    assert_is(load_image(deep.astype(np.int32)), deep)
    assert_is(load_image(deep / 65535), (deep / 65535).astype(np.float32))
    assert_is(load_image(np.stack([gray] * 3, -1)), gray)
    assert_is(load_image(np.stack([deep] * 3, -1)), deep)
    loaded = load_image(np.dstack([rgb, alpha]))
    assert_is(loaded, load_image(encoded(rgb, "PNG")).gray, color=True)
    np.testing.assert_array_equal(loaded.alpha, alpha)
    for deeper in (np.dstack([deep] * 4), np.dstack([deep] * 4) / 65535):
        np.testing.assert_array_equal(load_image(deeper).alpha, deep)
    np.testing.assert_array_equal(load_image(np.ones((2, 2, 4), np.float16)).alpha, np.full((2, 2), 65535))
    for color in (rgb / 255, rgb.astype(np.uint16) * 257):
        loaded = load_image(color)
        scale = 65535 if loaded.gray.dtype == np.uint16 else 1
        assert loaded.was_color
        assert np.abs(loaded.gray / scale - luminance_of(rgb)).max() < 1.5 / 65535


def test_the_result_does_not_share_memory_with_the_input():
    gray = random_gray()
    loaded = load_image(gray)
    before = gray.copy()
    gray[:] = 0
    np.testing.assert_array_equal(loaded.gray, before)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((4, 4, 2), np.uint8), "(4, 4, 2)"),
        (np.zeros(4, np.uint8), "(4,)"),
        (np.zeros((2, 4, 4, 3), np.uint8), "(2, 4, 4, 3)"),
        (np.zeros((0, 4), np.uint8), "empty"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.zeros((4, 4), np.int8), "int8"),
        (np.zeros((4, 4), complex), "complex"),
        (np.array([["a"]]), "<U1"),
    ],
)
def test_arrays_that_are_no_pictures(array, found):
    assert found in reason_of(array)
