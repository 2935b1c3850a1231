"""Samples that Pillow has no mode for."""

import numpy as np
import pytest
from encoded_pictures import SRGB, adobe_rgb, encoded, luminance_of, random_gray, random_rgb, to_code
from PIL import Image

from modeling_chromagan.archive.deep_samples import DeepSamples, full_range
from modeling_chromagan.errors import ImageLoadError
from modeling_chromagan.image_decoding import TURNS
from modeling_chromagan.image_loading import load_color, load_image


def deep(samples: np.ndarray, **options) -> DeepSamples:
    return DeepSamples(samples, "the name", "TIFF", 10**6, **options)


def random_deep_rgb() -> np.ndarray:
    return np.dstack([random_gray(np.uint16, seed) for seed in range(3)])


def test_gray_stored_as_rgb_keeps_all_16_bits():
    gray = random_gray(np.uint16)
    for samples in (gray, np.dstack([gray] * 3), np.dstack([gray] * 4)):
        loaded = deep(samples, profile=SRGB if samples.ndim == 3 else b"").loaded()
        np.testing.assert_array_equal(loaded.gray, gray)
        assert (loaded.gray.dtype, loaded.was_color, loaded.notes) == (np.uint16, False, ())
    np.testing.assert_array_equal(loaded.alpha, gray)


def test_colors_become_luminance_within_one_step_of_16_bits():
    rgb = random_deep_rgb()
    loaded = deep(rgb).loaded()
    assert loaded.was_color
    assert np.abs(loaded.gray - luminance_of(rgb, 65535) * 65535).max() < 2
    np.testing.assert_array_equal(np.asarray(deep(rgb).color()), np.rint(rgb / 257))


def test_8_bits_give_what_a_file_of_them_gives():
    rgb = random_rgb()
    for profile in (b"", adobe_rgb()):
        content = encoded(rgb, "PNG", **({"icc_profile": profile} if profile else {}))
        samples = deep(rgb, profile=profile)
        difference = samples.loaded().gray.astype(int) - load_image(content).gray
        assert np.abs(difference).max() <= (0 if not profile else 400)  # of 65535; Pillow's are converted in 8 bits
        assert np.abs(np.asarray(samples.color()).astype(int) - np.asarray(load_color(content))).max() <= 1
        assert not samples.is_deep


def test_a_profile_moves_gray_and_colors():
    gray = random_gray(np.uint16)
    loaded = deep(np.dstack([gray] * 3), profile=adobe_rgb()).loaded()
    assert np.array_equal(loaded.stored, gray)
    assert loaded.profile == adobe_rgb()
    exact = to_code((gray / 65535) ** (563 / 256)) * 65535
    assert np.abs(loaded.gray - exact).max() < 3
    assert not np.array_equal(
        deep(random_deep_rgb(), profile=adobe_rgb()).loaded().gray, deep(random_deep_rgb()).loaded().gray
    )


def test_an_unusable_profile_is_a_note():
    for profile in (b"no profile", Image.open.__doc__.encode()):
        samples = deep(random_deep_rgb(), profile=profile)
        assert len(samples.loaded().notes) == 1
        np.testing.assert_array_equal(samples.loaded().gray, deep(random_deep_rgb()).loaded().gray)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_turns_gray_opacity_and_colors_alike(orientation):
    rgb = random_deep_rgb()
    samples = deep(np.dstack([rgb, rgb[..., 0]]), orientation=orientation)
    upright = deep(np.dstack([rgb, rgb[..., 0]]))

    def turned(values: np.ndarray) -> np.ndarray:
        image = Image.fromarray(values.astype(np.int32))
        return np.asarray(image if orientation == 1 else image.transpose(TURNS[orientation]))

    np.testing.assert_array_equal(samples.loaded().gray, turned(upright.loaded().gray))
    np.testing.assert_array_equal(samples.loaded().alpha, turned(upright.loaded().alpha))
    np.testing.assert_array_equal(np.asarray(samples.color())[..., 1], turned(np.asarray(upright.color())[..., 1]))
    gray = deep(rgb[..., 0], orientation=orientation)
    np.testing.assert_array_equal(gray.loaded().gray, turned(rgb[..., 0]))


def test_floats_are_checked_and_gray_ones_stay():
    unit = (random_gray(np.uint16) / 65535).astype(np.float32)
    np.testing.assert_array_equal(deep(unit).loaded().gray, unit)
    np.testing.assert_array_equal(deep(np.dstack([unit] * 3)).loaded().gray, random_gray(np.uint16))
    with pytest.raises(ImageLoadError, match="the name: float values from 0 to 2"):
        deep(np.dstack([unit, unit, 2 * unit]))
    with pytest.raises(ImageLoadError, match="more than max_pixels"):
        DeepSamples(unit, "the name", "TIFF", 10)


def test_premultiplied_colors_are_divided():
    rgb, opacity = random_deep_rgb() // 2, np.full((18, 24), 32768, np.uint16)
    assert (
        np.abs(deep(np.dstack([rgb, opacity]), premultiplied=True).colors.astype(int) - 2 * rgb.astype(int)).max() <= 1
    )
    clear = deep(np.dstack([rgb, 0 * opacity]), premultiplied=True)
    assert clear.loaded().alpha.max() == 0


def test_full_range_reaches_white():
    np.testing.assert_array_equal(full_range(np.array([0, 1, 4095], np.uint16), 12), [0, 16, 65535])
    np.testing.assert_array_equal(full_range(np.array([0, 15], np.uint8), 4), [0, 255])
