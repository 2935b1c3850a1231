"""Colors and ICC profiles: exact where they mean sRGB, converted where not, ignored with a note where unusable."""

import struct
import time

import numpy as np
import pytest
from encoded_pictures import (
    HEIGHT,
    SRGB,
    WIDTH,
    adobe_rgb,
    assert_is,
    cmyk_profile,
    cmyk_table,
    encoded,
    gamma_curve,
    icc_profile,
    luminance_of,
    random_gray,
    random_rgb,
    sampled_curve,
    srgb_curve,
    srgb_of_lab,
    srgb_primaries,
    to_code,
    to_linear,
)
from PIL import Image
from skimage.color import rgb2lab

from modeling_chromagan.image_loading import load_color, load_image


def test_every_gray_inside_a_color_picture_keeps_its_level():
    rgb = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
    rgb[0, 0] = 255, 0, 0
    gray = load_image(encoded(rgb, "PNG")).gray
    assert np.abs(gray[0, 1:].astype(int) - 257 * np.arange(1, 256)).max() <= 1


def test_dark_colors_are_precise():
    rgb = random_rgb() % 8
    gray = load_image(encoded(rgb, "PNG")).gray
    assert np.abs(gray - luminance_of(rgb) * 65535).max() <= 1.5


def test_srgb_profiles_change_nothing():
    gray, rgb = random_gray(), random_rgb()
    deep = random_gray(np.uint16)
    gray_srgb = icc_profile(b"GRAY", kTRC=srgb_curve())
    assert_is(load_image(encoded(gray, "PNG", icc_profile=gray_srgb)), gray)
    assert_is(load_image(encoded(gray, "PNG", icc_profile=SRGB)), gray)
    assert_is(load_image(encoded(gray, "JPEG", icc_profile=gray_srgb)), load_image(encoded(gray, "JPEG")).gray)
    assert_is(load_image(encoded(deep, "PNG", icc_profile=gray_srgb)), deep)
    assert_is(load_image(encoded(np.stack([gray] * 3, -1), "PNG", icc_profile=SRGB)), gray)
    assert_is(load_image(encoded(rgb, "PNG", icc_profile=SRGB)), load_image(encoded(rgb, "PNG")).gray, color=True)


@pytest.mark.parametrize(("bend", "step"), [(1.008, 0), (1.02, 2)])
def test_rgb_profiles_that_mean_srgb_within_a_step_change_nothing(bend, step):
    """Many programs write sRGB with a curve of few entries or rounded primaries: pixels stay as they are stored."""
    profile = srgb_primaries(sampled_curve(to_linear(np.linspace(0, 1, 1024)) ** bend))
    moved = np.abs(to_code(to_linear(np.arange(256) / 255) ** bend) * 255 - np.arange(256)).max()
    assert (0.5 < moved < 1) if step == 0 else (1.5 < moved < 2.5), "the profile is nearer or further than meant"
    rgb = random_rgb()
    color = np.asarray(load_color(encoded(rgb, "PNG", icc_profile=profile))).astype(int)
    assert np.abs(color - rgb).max() == step
    gray = load_image(encoded(rgb, "PNG", icc_profile=profile)).gray
    assert np.array_equal(gray, load_image(encoded(rgb, "PNG")).gray) == (step == 0)


@pytest.mark.parametrize(("bend", "kept"), [(1.004, True), (1.006, False)])
def test_gray_profiles_that_mean_srgb_within_half_a_step_change_nothing(bend, kept):
    profile = icc_profile(b"GRAY", kTRC=sampled_curve(to_linear(np.linspace(0, 1, 1024)) ** bend))
    gray = random_gray()
    assert (load_image(encoded(gray, "PNG", icc_profile=profile)).gray.dtype == np.uint8) == kept


def test_the_black_of_a_profile_becomes_black():
    """Scanners have measured blacks, of 1 or 2 % of the light; converted as measured, shadows would be a fog."""
    curve = sampled_curve(0.02 + 0.98 * np.linspace(0, 1, 1024) ** 2.2)
    levels = np.array([[0, 255]], np.uint8)
    gray = load_image(encoded(levels, "PNG", icc_profile=icc_profile(b"GRAY", kTRC=curve))).gray
    np.testing.assert_array_equal(gray, [[0, 65535]])
    black_and_white = np.dstack([levels] * 3)
    color = load_color(encoded(black_and_white, "PNG", icc_profile=srgb_primaries(curve)))
    np.testing.assert_array_equal(np.asarray(color), black_and_white)


def test_cmyk_is_converted_colorimetrically_relative_to_its_paper():
    """A profile has a table for each intent; the white of its paper is white, however yellow it is."""
    yellowish = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in (0.8, 0.83, 0.6)))
    profile = cmyk_profile(70, A2B1=cmyk_table(50), A2B2=cmyk_table(30), wtpt=yellowish)
    inks = Image.fromarray(np.array([[[255, 0, 0, 0], [0, 0, 0, 0]]], np.uint8), "CMYK")
    lightness = rgb2lab(np.asarray(load_color(encoded(inks, "TIFF", icc_profile=profile))))[0, :, 0]
    np.testing.assert_allclose(lightness, [50, 100], atol=0.5)


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
def test_gray_profiles_are_converted_without_merging_levels(gamma):
    profile = icc_profile(b"GRAY", kTRC=gamma_curve(gamma))
    gamma = round(gamma * 256) / 256
    levels = np.arange(256, dtype=np.uint8)[np.newaxis]
    loaded = load_image(encoded(levels, "PNG", icc_profile=profile))
    assert loaded.gray.dtype == np.uint16
    assert np.abs(loaded.gray - to_code((levels / 255) ** gamma) * 65535).max() <= 1
    deep = random_gray(np.uint16)
    loaded = load_image(encoded(deep, "TIFF", icc_profile=profile))
    assert np.abs(loaded.gray - to_code((deep / 65535) ** gamma) * 65535).max() <= 1
    unit = Image.fromarray((deep / 65535).astype(np.float32))
    loaded = load_image(encoded(Image.fromarray(deep.astype(np.int32)), "TIFF", icc_profile=profile))
    assert loaded.gray.dtype == np.uint16
    assert np.abs(loaded.gray - to_code((deep / 65535) ** gamma) * 65535).max() <= 1
    loaded = load_image(encoded(unit, "TIFF", icc_profile=profile))
    assert loaded.gray.dtype == np.float32
    assert np.abs(loaded.gray - to_code((deep / 65535) ** gamma)).max() <= 2e-5
    assert loaded.notes == ()


def test_rgb_profile_is_converted():
    rgb = random_rgb()
    srgb_from_adobe = np.array([[1.39836, -0.39836, 0], [0, 1, 0], [0, -0.04293, 1.04293]])
    linear = np.clip((rgb / 255.0) ** (563 / 256) @ srgb_from_adobe.T, 0, 1)
    expected = luminance_of(to_code(linear), 1) * 65535
    for content in (encoded(rgb, "PNG", icc_profile=adobe_rgb()), encoded(rgb, "TIFF", icc_profile=adobe_rgb())):
        loaded = load_image(content)
        assert loaded.was_color
        assert np.abs(loaded.gray - expected).max() <= 2 * 257
    without = load_image(encoded(rgb, "PNG"))
    assert np.abs(without.gray - expected).max() > 4 * 257  # or the test could not tell


def test_gray_pictures_in_an_rgb_profile_stay_gray_at_full_precision():
    levels = np.arange(256, dtype=np.uint8)[np.newaxis]
    content = encoded(np.stack([levels] * 3, -1), "PNG", icc_profile=adobe_rgb())
    loaded = load_image(content)
    assert not loaded.was_color
    assert np.abs(loaded.gray - to_code((levels / 255) ** (563 / 256)) * 65535).max() <= 16


def test_palette_profile_is_converted():
    rgb = Image.fromarray(random_rgb()).quantize(60)
    converted = load_image(encoded(rgb, "PNG", icc_profile=adobe_rgb()))
    expected = load_image(encoded(rgb.convert("RGB"), "PNG", icc_profile=adobe_rgb()))
    assert_is(converted, expected.gray, color=True)


@pytest.mark.parametrize("file_format", ["TIFF", "JPEG"])
def test_cmyk_profile_is_converted(file_format):
    cyan = Image.new("CMYK", (WIDTH, HEIGHT), (255, 0, 0, 0))
    loaded = load_image(encoded(cyan, file_format, icc_profile=cmyk_profile(62)))
    unit = loaded.gray / np.iinfo(loaded.gray.dtype).max
    lightness = rgb2lab(np.repeat(unit[..., np.newaxis], 3, axis=-1))[..., 0]
    assert np.abs(lightness - 62).max() < 0.5
    assert (
        np.abs(load_image(encoded(cyan, file_format)).gray / 65535 - luminance_of(np.array([0, 255, 255]))).max()
        < 0.01
    )


def test_colors_of_a_profile_are_converted():
    rgb = random_rgb()
    srgb_from_adobe = np.array([[1.39836, -0.39836, 0], [0, 1, 0], [0, -0.04293, 1.04293]])
    expected = to_code(np.clip((rgb / 255.0) ** (563 / 256) @ srgb_from_adobe.T, 0, 1)) * 255
    color = np.asarray(load_color(encoded(rgb, "PNG", icc_profile=adobe_rgb()))).astype(int)
    assert np.abs(color - expected).max() <= 2
    np.testing.assert_array_equal(np.asarray(load_color(encoded(rgb, "PNG", icc_profile=SRGB))), rgb)
    indexed = Image.fromarray(rgb).quantize(60)
    np.testing.assert_array_equal(
        np.asarray(load_color(encoded(indexed, "PNG", icc_profile=adobe_rgb()))),
        np.asarray(load_color(encoded(indexed.convert("RGB"), "PNG", icc_profile=adobe_rgb()))),
    )
    cyan = encoded(Image.new("CMYK", (WIDTH, HEIGHT), (255, 0, 0, 0)), "TIFF", icc_profile=cmyk_profile(62))
    assert rgb2lab(np.asarray(load_color(cyan)))[..., 0] == pytest.approx(62, abs=0.5)


@pytest.mark.parametrize("file_format", ["TIFF", "JPEG"])
def test_cmyk_that_has_color_after_its_profile_keeps_it(file_format):
    cyan = Image.new("CMYK", (WIDTH, HEIGHT), (255, 0, 0, 0))
    content = encoded(cyan, file_format, icc_profile=cmyk_profile(62, (-20, -25)))
    loaded = load_image(content)
    assert loaded.was_color
    assert loaded.notes == ()
    expected = srgb_of_lab(np.array([[[62.0, -20.0, -25.0]]]))
    np.testing.assert_allclose(loaded.gray / 65535, luminance_of(expected, 1)[0, 0], atol=0.01)
    np.testing.assert_allclose(np.asarray(load_color(content))[0, 0], expected[0, 0] * 255, atol=3)


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (b"nonsense", "cannot open"),
        (SRGB[:300], "cannot"),
        (icc_profile(b"GRAY"), "cannot build transform"),
        (adobe_rgb(), "it is for RGB, the picture is GRAY"),
        (cmyk_profile(), "it is for CMYK, the picture is GRAY"),
    ],
)
def test_unusable_profiles_are_ignored_with_a_note(profile, reason):
    gray = random_gray()
    loaded = load_image(encoded(gray, "PNG", icc_profile=profile))
    assert_is(loaded, gray, notes=1)
    assert "profile is unusable" in loaded.notes[0]
    assert reason in loaded.notes[0]


def test_unusable_profiles_of_color_are_ignored_with_a_note():
    rgb = random_rgb()
    cmyk = Image.fromarray(rgb).convert("CMYK")
    for image, file_format, profile in (
        (Image.fromarray(rgb), "PNG", icc_profile(b"GRAY", kTRC=gamma_curve(1.8))),
        (Image.fromarray(rgb), "PNG", icc_profile(b"RGB ")),
        (Image.fromarray(rgb).convert("L").convert("RGB"), "PNG", icc_profile(b"RGB ")),
        (Image.fromarray(rgb).quantize(9), "PNG", b"nonsense"),
        (cmyk, "TIFF", SRGB),
    ):
        loaded = load_image(encoded(image, file_format, icc_profile=profile))
        without = load_image(encoded(image, file_format))
        assert_is(loaded, without.gray, color=without.was_color, notes=1)


def test_color_is_reduced_quickly():
    rgb = np.tile(random_rgb(), (100, 100, 1))[:1500, :2000]  # 3 megapixels
    image = Image.fromarray(rgb)
    load_image(image)
    start = time.process_time()
    load_image(image)
    assert time.process_time() - start < 0.5  # a few hundredths on one core
