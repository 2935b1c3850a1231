"""What Pillow has decoded: every mode and depth keeps its values, its opacity, its colors and its orientation."""

import io
import struct

import numpy as np
import pytest
import tifffile
from encoded_pictures import (
    HEIGHT,
    SHAPE,
    WIDTH,
    adobe_rgb,
    assert_is,
    encoded,
    gamma_curve,
    icc_profile,
    kinds_of_files,
    luminance_of,
    png,
    random_gray,
    random_rgb,
    reason_of,
    srgb_of_lab,
    tiff,
    to_code,
)
from PIL import Image
from skimage.color import rgb2lab

from modeling_chromagan.color_profiles import reduce_integers
from modeling_chromagan.image_loading import load_color, load_image


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "GIF"])
def test_8_bit_gray_is_exact(tmp_path, file_format):
    gray = random_gray()
    path = tmp_path / f"gray.{file_format.lower()}"
    Image.fromarray(gray).save(path)
    loaded = load_image(path)
    assert_is(loaded, gray)
    assert (loaded.name, loaded.format, loaded.alpha) == (str(path), file_format, None)


def test_gray_jpeg_and_lossless_webp_are_exact(tmp_path):
    gray = random_gray()
    jpeg = encoded(gray, "JPEG")
    assert_is(load_image(jpeg), np.asarray(Image.open(io.BytesIO(jpeg))))
    assert_is(load_image(encoded(np.stack([gray] * 3, -1), "WEBP", lossless=True)), gray)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "YCbCr", "CMYK"])
def test_color_files_of_gray_pictures_give_that_gray(mode):
    gray = random_gray()
    image = Image.fromarray(gray)
    if mode == "CMYK":  # the gray of black ink alone
        image = Image.merge("CMYK", [*[Image.new("L", image.size)] * 3, Image.fromarray(255 - gray)])
    elif mode == "P":  # indices are not the gray values, and the palette has colors that no pixel uses
        image = Image.fromarray(gray // 2)
        image.putpalette(bytes(value for index in range(128) for value in [2 * index] * 3) + bytes([255, 0, 0]) * 128)
        gray = gray // 2 * 2
    else:
        image = image.convert(mode)
    assert_is(load_image(image), gray)
    if mode != "YCbCr":  # Pillow cannot read its own
        assert_is(load_image(encoded(image, "TIFF")), gray)


@pytest.mark.parametrize("compression", [None, "group4"])
def test_1_bit(compression):
    bits = random_gray() > 127
    expected = np.where(bits, 255, 0).astype(np.uint8)
    assert_is(load_image(encoded(bits, "TIFF", compression=compression)), expected)
    assert_is(load_image(encoded(bits, "PNG")), expected)
    assert_is(load_image(tiff(np.packbits(bits, axis=1), 1, 0, size=(WIDTH, HEIGHT))), 255 - expected)


def test_2_and_4_bit_gray_reach_white():
    assert_is(load_image(png(b"\x1b", 4, 1, 2, 0)), np.array([[0, 85, 170, 255]], np.uint8))
    assert_is(load_image(png(b"\x0f", 2, 1, 4, 0)), np.array([[0, 255]], np.uint8))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_gray_tiff(order, compressed):
    gray = random_gray(np.uint16)
    assert_is(load_image(tiff(gray, 16, order=order, compressed=compressed)), gray)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B"])
def test_16_bit_gray_of_every_pillow_mode(mode):
    gray = random_gray(np.uint16)
    stored = gray.astype(">u2" if mode == "I;16B" else "<u2")
    image = Image.frombytes(mode, (WIDTH, HEIGHT), stored.tobytes())
    assert_is(load_image(image), gray)
    assert_is(load_image(encoded(gray, "PNG")), gray)


def test_12_bit_gray_reaches_white():
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x89])  # 0, 4095, 2048, 137
    expected = np.rint(np.array([[0, 4095, 2048, 137]]) * (65535 / 4095)).astype(np.uint16)
    assert_is(load_image(tiff(packed, 12, size=(4, 1))), expected)


@pytest.mark.parametrize("compressed", [False, True])
def test_white_is_zero(compressed):
    """Pillow inverts 8 bits and forgets about 16 and about floats."""
    gray = random_gray()
    assert_is(load_image(tiff(gray, 8, 0, compressed=compressed)), 255 - gray)
    gray = random_gray(np.uint16)
    assert_is(load_image(tiff(gray, 16, 0, compressed=compressed)), 65535 - gray)
    unit = (gray / 65535).astype(np.float32)
    assert_is(load_image(tiff(unit, 32, 0, sample_format=3, compressed=compressed)), 1 - unit)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("dtype", "sample_format", "order"),
    [(np.int32, 2, "<"), (np.int32, 2, ">"), (np.int16, 2, "<"), (np.int16, 2, ">"), (np.uint32, 1, "<")],
)
def test_32_bit_and_signed_integers_count_as_16_bit(dtype, sample_format, order, compressed):
    gray = random_gray(np.uint16)
    gray = gray // 2 if dtype == np.int16 else gray
    bits = np.dtype(dtype).itemsize * 8
    content = tiff(gray.astype(dtype), bits, sample_format=sample_format, order=order, compressed=compressed)
    assert_is(load_image(content), gray)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_float_tiff(order, compressed):
    gray = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    gray.flat[:2] = 0, 1
    assert_is(load_image(tiff(gray, 32, sample_format=3, order=order, compressed=compressed)), gray)


def test_color_becomes_luminance():
    rgb = random_rgb()
    rgb[0, :3] = np.eye(3) * 255
    for content in (
        encoded(rgb, "PNG"),
        encoded(rgb, "TIFF"),
        encoded(rgb, "BMP"),
        encoded(rgb, "WEBP", lossless=True),
    ):
        loaded = load_image(content)
        assert loaded.gray.dtype == np.uint16
        assert loaded.was_color
        assert np.abs(loaded.gray - luminance_of(rgb) * 65535).max() <= 1.5
    assert not np.allclose(loaded.gray / 257, np.asarray(Image.fromarray(rgb).convert("L")), atol=20)


def test_palette_picture_with_color():
    image = Image.fromarray(random_rgb()).quantize(50)
    expected = luminance_of(np.asarray(image.convert("RGB"))) * 65535
    for content in (encoded(image, "PNG"), encoded(image, "GIF"), encoded(image, "TIFF")):
        loaded = load_image(content)
        assert loaded.was_color
        assert np.abs(loaded.gray - expected).max() <= 1.5


def test_cmyk_jpeg_and_tiff():
    image = Image.fromarray(random_rgb()).convert("CMYK")
    expected = luminance_of(np.asarray(image.convert("RGB"))) * 65535
    assert np.abs(load_image(encoded(image, "TIFF")).gray - expected).max() <= 1.5
    jpeg = encoded(image, "JPEG", quality=100)
    expected = luminance_of(np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))) * 65535
    assert np.abs(load_image(jpeg).gray - expected).max() <= 1.5


def test_lab_tiff_gives_its_lightness():
    lab = np.stack([np.arange(256), *[np.full(256, 128)] * 2], -1).astype(np.uint8)[np.newaxis]
    loaded = load_image(tiff(lab.astype(np.uint8) ^ np.array([0, 128, 128], np.uint8), (8, 8, 8), 8))
    lightness = rgb2lab(np.repeat(loaded.gray[..., np.newaxis] / 65535, 3, axis=-1))[..., 0]
    assert np.abs(lightness - np.arange(256) / 2.55).max() < 1e-2
    assert not loaded.was_color


def test_16_bit_color_is_read_at_8_bits_with_a_note():
    deep = np.random.default_rng(2).integers(0, 65536, (*SHAPE, 3), dtype=np.uint16)
    files = [
        png(deep.astype(">u2").tobytes(), WIDTH, HEIGHT, 16, 2),
        tiff(deep, (16, 16, 16), 2),
        tiff(deep, (16, 16, 16), 2, order=">", compressed=True),
        tiff(np.moveaxis(deep, -1, 0), (16, 16, 16), 2, planar=2, compressed=True),
    ]
    for content in files:
        loaded = load_image(content)
        assert "16 bits per color channel are read as 8" in loaded.notes[0]
        assert np.abs(loaded.gray - luminance_of(deep >> 8) * 65535).max() <= 1.5


def test_16_bit_color_planes_that_pillow_reads_as_noise_are_refused():
    planes = np.random.default_rng(2).integers(0, 65536, (3, *SHAPE), dtype=np.uint16)
    assert "planes" in reason_of(tiff(planes, (16, 16, 16), 2, planar=2))


@pytest.mark.parametrize("kind", kinds_of_files())
def test_colors_have_the_luminance_that_the_same_file_gives(kind):
    """Whatever is put right for luminance is right in color: what is trained on is what is colorized."""
    content = kinds_of_files()[kind]
    loaded, color = load_image(content), load_color(content)
    white = {"uint8": 255, "uint16": 65535, "float32": 1}[loaded.gray.dtype.name]
    assert color.mode == "RGB"
    assert not color.info
    assert np.abs(reduce_integers(np.asarray(color)) / 65535 - loaded.gray / white).max() < 0.51 / 255
    assert (np.asarray(color).std(axis=2).max() > 0) == loaded.was_color


def test_lab_tiff_gives_its_colors():
    lab = np.array([[[128, 20, 20], [200, 240, 16], [150, 10, 220], [255, 0, 0], [128, 0, 0], [0, 0, 0]]], np.uint8)
    color = np.asarray(load_color(tiff(lab, (8, 8, 8), 8, orientation=2))).astype(int)
    lightness, ab = lab[..., 0] / 2.55, lab[..., 1:].view(np.int8)  # a and b are signed bytes
    np.testing.assert_allclose(color, srgb_of_lab(np.dstack([lightness, ab]))[:, ::-1] * 255, atol=1.5)
    assert np.ptp(color[0, :3], axis=-1).max() <= 1, "the white of a Lab file, D50, has to become that of sRGB, D65"
    with Image.open(io.BytesIO(tiff(lab, (8, 8, 8), 8))) as picture:
        picture.info["icc_profile"] = adobe_rgb()  # of whoever made the file, not of its values
        np.testing.assert_array_equal(np.asarray(load_color(picture))[:, ::-1], color)


def test_alpha_is_kept():
    gray, alpha = random_gray(), random_gray(seed=3)
    image = Image.fromarray(gray)
    for mode in ("LA", "RGBA"):
        picture = image.convert(mode)
        picture.putalpha(Image.fromarray(alpha))
        for file_format in ("PNG", "TIFF"):
            loaded = load_image(encoded(picture, file_format))
            assert_is(loaded, gray)
            np.testing.assert_array_equal(loaded.alpha, alpha)
    assert load_image(picture.convert("RGBa")).alpha.shape == SHAPE  # premultiplied


@pytest.mark.parametrize("factor", [1, 256, 257])
def test_the_palette_of_a_tiff_may_have_8_bits_where_16_are_meant(factor):
    """As libtiff, ImageMagick and libvips read it; else it is a black picture."""
    gray = random_gray()
    content = io.BytesIO()
    color_map = np.stack([np.arange(256, dtype=np.uint16) * factor] * 3)
    tifffile.imwrite(content, gray, photometric="palette", colormap=color_map, metadata=None)
    assert_is(load_image(content.getvalue()), gray)


def test_alpha_of_palette_pictures():
    gray, alpha = random_gray(), random_gray(seed=3)
    image = Image.fromarray(gray)
    image.putpalette(bytes(value for index in range(256) for value in [index] * 3))
    opacities = bytes(range(255, 127, -1))  # of the first half of the palette; the rest is opaque
    loaded = load_image(encoded(image, "PNG", transparency=opacities))
    assert_is(loaded, gray)
    np.testing.assert_array_equal(loaded.alpha, np.where(gray < 128, 255 - gray, 255))
    loaded = load_image(encoded(image, "GIF", transparency=7))
    np.testing.assert_array_equal(loaded.alpha, np.where(gray == 7, 0, 255))
    picture = image.convert("PA")
    picture.putalpha(Image.fromarray(alpha))
    loaded = load_image(picture)
    assert_is(loaded, gray)
    np.testing.assert_array_equal(loaded.alpha, alpha)


def test_transparent_color_of_png():
    gray, rgb, deep = random_gray(), random_rgb(), random_gray(np.uint16)
    loaded = load_image(encoded(gray, "PNG", transparency=int(gray[2, 3])))
    np.testing.assert_array_equal(loaded.alpha, np.where(gray == gray[2, 3], 0, 255))
    loaded = load_image(encoded(rgb, "PNG", transparency=tuple(map(int, rgb[2, 3]))))
    np.testing.assert_array_equal(loaded.alpha, np.where((rgb == rgb[2, 3]).all(-1), 0, 255))
    key = (b"tRNS", struct.pack(">H", deep[2, 3]))
    loaded = load_image(png(deep.astype(">u2").tobytes(), WIDTH, HEIGHT, 16, 0, key))
    np.testing.assert_array_equal(loaded.alpha, np.where(deep == deep[2, 3], 0, 255))
    loaded = load_image(png(b"\x1b", 4, 1, 2, 0, (b"tRNS", b"\0\2")))
    np.testing.assert_array_equal(loaded.alpha, [[255, 255, 0, 255]])
    loaded = load_image(png(b"\x40", 2, 1, 1, 0, (b"tRNS", b"\0\1")))
    np.testing.assert_array_equal(loaded.alpha, [[255, 0]])


def test_16_bit_gray_with_alpha_keeps_8_bits_and_the_alpha():
    deep = np.stack([random_gray(np.uint16), random_gray(np.uint16, seed=3)], -1)
    loaded = load_image(png(deep.astype(">u2").tobytes(), WIDTH, HEIGHT, 16, 4))
    assert_is(loaded, (deep[..., 0] >> 8).astype(np.uint8), notes=1)
    np.testing.assert_array_equal(loaded.alpha, deep[..., 1] >> 8)


# The definition in TIFF and EXIF: the sides of the displayed picture at which the first row and first column lie.
FIRST_ROW_AND_COLUMN = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def displayed(stored: np.ndarray, orientation: int) -> np.ndarray:
    row_side, column_side = FIRST_ROW_AND_COLUMN[orientation]
    if row_side in ("left", "right"):  # rows run along the height of the displayed picture
        stored = stored.T
    upside_down = "bottom" in (row_side, column_side)
    mirrored = "right" in (row_side, column_side)
    return stored[:: -1 if upside_down else 1, :: -1 if mirrored else 1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    gray, deep = random_gray(), random_gray(np.uint16)
    alpha = random_gray(seed=3)
    unit = (deep / 65535).astype(np.float32)
    assert_is(load_image(encoded(gray, "PNG", exif=exif)), displayed(gray, orientation))
    assert_is(load_image(encoded(deep, "PNG", exif=exif)), displayed(deep, orientation))
    lossless = encoded(np.stack([gray] * 3, -1), "WEBP", lossless=True, exif=exif)
    assert_is(load_image(lossless), displayed(gray, orientation))
    for order in "<>":
        for compressed in (False, True):
            options = {"order": order, "compressed": compressed, "orientation": orientation}
            assert_is(load_image(tiff(gray, 8, **options)), displayed(gray, orientation))
            assert_is(load_image(tiff(deep, 16, **options)), displayed(deep, orientation))
            assert_is(load_image(tiff(unit, 32, sample_format=3, **options)), displayed(unit, orientation))
    picture = Image.fromarray(gray)
    picture.putalpha(Image.fromarray(alpha))
    np.testing.assert_array_equal(load_image(encoded(picture, "PNG", exif=exif)).alpha, displayed(alpha, orientation))
    jpeg = encoded(gray, "JPEG", exif=exif)
    assert_is(load_image(jpeg), displayed(np.asarray(Image.open(io.BytesIO(jpeg))), orientation))
    with Image.open(io.BytesIO(tiff(deep, 16, orientation=orientation))) as opened:
        assert_is(load_image(opened), displayed(deep, orientation))  # decoded here
        assert_is(load_image(opened), displayed(deep, orientation))  # decoded already


@pytest.mark.parametrize("orientation", range(1, 9))
def test_colors_are_turned_once(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb = random_rgb()
    expected = np.stack([displayed(rgb[..., channel], orientation) for channel in range(3)], axis=-1)
    color = load_color(encoded(rgb, "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(color), expected)
    np.testing.assert_array_equal(np.asarray(load_color(encoded(color, "PNG", exif=color.getexif()))), expected)


GAMMA_18 = icc_profile(b"GRAY", kTRC=gamma_curve(1.8))


@pytest.mark.parametrize("profile", [b"", GAMMA_18], ids=["none", "gamma 1.8"])
def test_the_files_own_gray_values_are_kept_beside_the_luminance(profile):
    options = {"icc_profile": profile} if profile else {}
    gray, deep = random_gray(), random_gray(np.uint16)
    palette = Image.fromarray(gray).quantize(256)
    assert np.array_equal(palette.convert("L"), gray)
    sources = {
        "8 bits": (encoded(gray, "PNG", **options), gray),
        "16 bits": (encoded(deep, "PNG", **options), deep),
        "palette": (encoded(palette, "PNG", **(options and {"icc_profile": adobe_rgb()})), gray),
    }
    for kind, (content, expected) in sources.items():
        loaded = load_image(content)
        assert np.array_equal(loaded.stored, expected), kind
        assert (loaded.stored is loaded.gray) == (not profile), kind
        assert np.array_equal(loaded.stored, loaded.gray) == (not profile), kind
        assert loaded.profile == (profile and (adobe_rgb() if kind == "palette" else profile)), kind


def test_the_files_own_values_are_upright_and_of_any_type():
    exif = Image.Exif()
    exif[0x0112] = 6
    gray = random_gray()
    neutral = np.stack([gray] * 3, axis=-1)
    loaded = load_image(encoded(neutral, "PNG", icc_profile=adobe_rgb(), exif=exif))
    assert np.array_equal(loaded.stored, np.rot90(gray, -1))
    assert loaded.gray.shape == loaded.stored.shape
    assert load_image(encoded(random_rgb(), "PNG")).stored is None
    floats = random_gray().astype(np.float32) / 255
    loaded = load_image(encoded(Image.fromarray(floats), "TIFF", icc_profile=GAMMA_18))
    assert np.array_equal(loaded.stored, floats)
    assert np.abs(loaded.gray - to_code(floats.astype(float) ** 1.8)).max() < 1e-3
