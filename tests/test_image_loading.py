"""The loader: every kind of picture keeps its values, and every kind of damage is one line."""

import io
import logging
import os
import pickle
import struct
import threading
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, features
from skimage.color import rgb2lab

from modeling_chromagan import LoadedImage, pixel_blocks
from modeling_chromagan.color_profiles import reduce_8_bit
from modeling_chromagan.errors import ImageLoadError
from modeling_chromagan.image_loading import load_color, load_image

HEIGHT, WIDTH = 18, 24
SHAPE = (HEIGHT, WIDTH)
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow cannot write AVIF")


def random_gray(dtype=np.uint8, seed=0) -> np.ndarray:
    """All values of the type are drawn; the extremes are in the first pixels."""
    values = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, SHAPE).astype(dtype)
    values.flat[:2] = 0, np.iinfo(dtype).max
    return values


def random_rgb() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


def encoded(image: Image.Image | np.ndarray, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, file_format, **options)
    return buffer.getvalue()


def png(samples: bytes, width: int, height: int, depth: int, color_type: int, *chunks: tuple) -> bytes:
    """A PNG of any depth from its unfiltered samples; none for a header that promises more than there is."""
    stride = len(samples) // height
    rows = b"".join(b"\0" + samples[row * stride : (row + 1) * stride] for row in range(height if samples else 1))
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content


def tiff(pixels: np.ndarray | bytes, bits, photometric=1, *, size=None, order="<", compressed=False, **tags) -> bytes:
    """A TIFF of one strip with any tags: `sample_format`, `planar` (pixels: planes first), `orientation`, `extra`."""
    planar = tags.get("planar", 1)
    if isinstance(pixels, np.ndarray):
        size = size or (pixels.shape[-1:-3:-1] if planar == 2 or pixels.ndim == 2 else pixels.shape[1::-1])
        pixels = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    bits = bits if isinstance(bits, tuple) else (bits,)
    planes = len(bits) if planar == 2 else 1
    step = len(pixels) // planes
    strips = [pixels[plane * step : (plane + 1) * step] for plane in range(planes)]
    if compressed:
        strips = [zlib.compress(strip) for strip in strips]
    entries = {
        256: ("I", size[:1]),
        257: ("I", size[1:]),
        258: ("H", bits),
        259: ("H", (8 if compressed else 1,)),
        262: ("H", (photometric,)),
        273: ("I", (0,) * planes),
        274: ("H", (tags.get("orientation", 1),)),
        277: ("H", (len(bits),)),
        278: ("I", size[1:]),
        279: ("I", tuple(map(len, strips))),
        284: ("H", (planar,)),
        339: ("H", (tags.get("sample_format", 1),) * len(bits)),
    }
    if "extra" in tags:
        entries[338] = ("H", (tags["extra"],))
    start = 8 + 2 + 12 * len(entries) + 4

    def layout(offsets: tuple) -> tuple[bytes, bytes]:
        directory, outside = struct.pack(order + "H", len(entries)), b""
        for tag, (kind, values) in sorted(entries.items()):
            values = offsets if tag == 273 else values
            raw = struct.pack(f"{order}{len(values)}{kind}", *values)
            directory += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[kind], len(values))
            directory += raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack(order + "I", start + len(outside))
            outside += raw + bytes(len(raw) % 2) if len(raw) > 4 else b""
        return directory + bytes(4), outside

    first = start + len(layout((0,) * planes)[1])
    offsets = tuple(first + sum(map(len, strips[:index])) for index in range(planes))
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", 8) + b"".join(layout(offsets)) + b"".join(strips)


def icc_profile(space: bytes, connection: bytes = b"XYZ ", kind: bytes = b"mntr", **tags: bytes) -> bytes:
    """A minimal ICC profile."""
    white = struct.pack(">3i", 63190, 65536, 54061)
    tags = {"wtpt": b"XYZ " + bytes(4) + white, **tags}
    offset, table, data = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name.encode() + struct.pack(">II", offset + len(data), len(content))
        data += content
    header = struct.pack(">I4sI4s4s4s", offset + len(data), b"", 0x02400000, kind, space, connection)
    return (header + bytes(12) + b"acsp" + bytes(28) + white).ljust(128, b"\0") + table + data


def gamma_curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def srgb_curve(entries: int = 1024) -> bytes:
    linear = np.rint(to_linear(np.linspace(0, 1, entries)) * 65535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", entries) + linear.tobytes()


def adobe_rgb() -> bytes:
    """Adobe RGB (1998): its D50 primaries and gamma 563/256."""
    primaries = {"rXYZ": (0.60974, 0.31111, 0.01947), "gXYZ": (0.20528, 0.62567, 0.06087)}
    primaries["bXYZ"] = (0.14919, 0.06322, 0.74457)
    tags = {
        name: b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in xyz))
        for name, xyz in primaries.items()
    }
    return icc_profile(b"RGB ", **tags, **{name: gamma_curve(563 / 256) for name in ("rTRC", "gTRC", "bTRC")})


def cmyk_profile(lightness_of_cyan: float = 62.0) -> bytes:
    """A printer that darkens linearly in L: pure cyan has `lightness_of_cyan` (and is neutral), black ink 0."""
    table = bytearray()
    for corner in range(16):  # the first ink changes slowest
        cyan, magenta, yellow, black = (bool(corner & bit) for bit in (8, 4, 2, 1))
        lightness = 0 if black else 100 - (100 - lightness_of_cyan) * cyan - 20 * magenta - 5 * yellow
        table += bytes((round(max(lightness, 0) * 2.55), 128, 128))
    identity = struct.pack(">9i", *(65536 * (index % 4 == 0) for index in range(9)))
    ramp = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + ramp * 4 + bytes(table) + ramp * 3
    return icc_profile(b"CMYK", b"Lab ", b"prtr", A2B0=lut)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def to_linear(code: np.ndarray) -> np.ndarray:
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def to_code(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def luminance_of(rgb: np.ndarray, white: int = 255) -> np.ndarray:
    """sRGB-coded luminance 0..1 of sRGB, by way of scikit-image's L."""
    root = (rgb2lab(rgb / white)[..., 0] + 16) / 116
    return to_code(np.where(root > 6 / 29, root**3, (root - 16 / 116) / 7.787))


def assert_is(loaded, expected: np.ndarray, *, color: bool = False, notes: int = 0):
    assert loaded.gray.dtype == expected.dtype
    np.testing.assert_array_equal(loaded.gray, expected)
    assert loaded.was_color is color
    assert len(loaded.notes) == notes, loaded.notes
    assert all("\n" not in note for note in loaded.notes)


def reason_of(source, **options) -> str:
    """The reason of the ImageLoadError that loading raises."""
    with pytest.raises(ImageLoadError) as caught:
        load_image(source, name="the name", **options)
    assert str(caught.value).startswith("the name: ")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("the name: ")


# ----- gray of every depth


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
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x01])  # 0, 4095, 2048, 1
    expected = np.rint(np.array([[0, 4095, 2048, 1]]) * (65535 / 4095)).astype(np.uint16)
    assert np.abs(load_image(tiff(packed, 12, size=(4, 1))).gray.astype(int) - expected).max() <= 1


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


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_float_tiff(order, compressed):
    gray = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    gray.flat[:2] = 0, 1
    assert_is(load_image(tiff(gray, 32, sample_format=3, order=order, compressed=compressed)), gray)


@pytest.mark.parametrize(
    ("value", "found"), [(np.nan, "NaN"), (1.5, "0.25 to 1.5"), (-0.125, "-0.125 to 0.25"), (np.inf, "0.25 to inf")]
)
def test_float_out_of_range_is_refused_with_what_was_found(value, found):
    gray = np.full(SHAPE, 0.25, np.float32)
    gray[3, 4] = value
    assert found in reason_of(tiff(gray, 32, sample_format=3))
    assert found in reason_of(gray.astype(np.float64))


# ----- color


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


def test_every_gray_inside_a_color_picture_keeps_its_level():
    rgb = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
    rgb[0, 0] = 255, 0, 0
    gray = load_image(encoded(rgb, "PNG")).gray
    assert np.abs(gray[0, 1:].astype(int) - 257 * np.arange(1, 256)).max() <= 1


def test_dark_colors_are_precise():
    rgb = random_rgb() % 8
    gray = load_image(encoded(rgb, "PNG")).gray
    assert np.abs(gray - luminance_of(rgb) * 65535).max() <= 1.5


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


# ----- alpha


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


# ----- orientation

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


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_there_is_not_leaves_the_picture_as_stored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    gray = random_gray()
    assert_is(load_image(encoded(gray, "PNG", exif=exif)), gray)
    np.testing.assert_array_equal(np.asarray(load_color(encoded(gray, "PNG", exif=exif)))[..., 0], gray)


def test_unreadable_exif_is_a_note():
    gray = random_gray()
    loaded = load_image(encoded(gray, "PNG", exif=b"Exif\0\0not a TIFF header"))
    np.testing.assert_array_equal(loaded.gray, gray)
    assert loaded.notes


# ----- color profiles


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


# ----- several pictures in a file


@pytest.mark.parametrize("file_format", ["TIFF", "GIF", "PNG", "WEBP", "MPO", pytest.param("AVIF", marks=needs_avif)])
def test_first_frame_and_a_note(file_format):
    first, second = (Image.fromarray(np.full((*SHAPE, 3), value, np.uint8)) for value in (80, 200))
    loaded = load_image(encoded(first, file_format, save_all=True, append_images=[second]))
    assert np.abs(loaded.gray.astype(int) - 80).max() <= 2
    assert loaded.format == file_format
    assert [note for note in loaded.notes if "only the first is read" in note]
    assert load_image(encoded(first, "JPEG" if file_format == "MPO" else file_format)).notes == ()


def test_an_opened_file_is_taken_at_its_current_frame():
    frames = [Image.fromarray(np.full(SHAPE, value, np.uint8)) for value in (80, 200)]
    with Image.open(io.BytesIO(encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]))) as opened:
        opened.seek(1)
        loaded = load_image(opened)
    assert (loaded.gray == 200).all()
    assert "only number 2 is read" in loaded.notes[0]


# ----- what can be given


def test_every_kind_of_source_gives_the_same(tmp_path):
    gray = random_gray()
    content = encoded(gray, "PNG")
    path = tmp_path / "ünusual name.png"
    path.write_bytes(content)
    for source in (path, str(path), content, bytearray(content), Image.open(path), Image.fromarray(gray), gray):
        assert_is(load_image(source), gray)
    assert load_image(path, name="shown").name == "shown"
    assert load_image(Image.open(path)).name == str(path)
    assert (load_image(Image.fromarray(gray)).format, load_image(gray).format) == ("PIL", "array")


def test_the_suffix_does_not_matter(tmp_path):
    gray = random_gray()
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(gray, "TIFF"))
    loaded = load_image(path)
    assert_is(loaded, gray)
    assert loaded.format == "TIFF"


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
    np.testing.assert_array_equal(load_image(np.dstack([rgb, alpha]) / 255).alpha, alpha)
    np.testing.assert_array_equal(load_image(np.dstack([rgb, alpha]).astype(np.uint16) * 257).alpha, alpha)
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


def test_other_sources_and_settings_are_refused():
    with pytest.raises(TypeError, match="NoneType; accepted are a path"):
        load_image(None)
    for max_pixels in (0, -1, 1e6, "many", None):
        with pytest.raises(ValueError, match="max_pixels must be"):
            load_image(random_gray(), max_pixels=max_pixels)


# ----- what cannot be read


def test_files_that_are_no_pictures(tmp_path):
    assert reason_of(tmp_path / "missing.png") == "no such file or directory"
    assert "folder" in reason_of(tmp_path)
    assert "null" in reason_of("a\0b.png")
    assert "URL" in reason_of("https://example.org/a.jpg")
    path = tmp_path / "a.jpg"
    for content, found in (
        (b"", "the file is empty"),
        (b"Dear diary, no picture today.", "not a picture; accepted are JPEG"),
        (b"%PDF-1.7 ...............", "a PDF document; accepted are JPEG"),
        (b"\0\0\0\x18ftypheic........", "a HEIC picture; accepted are JPEG"),
        (encoded(random_gray(), "PPM"), "accepted are JPEG"),  # Pillow could, but is not allowed to
        (encoded(random_gray(), "JPEG2000"), "a JPEG 2000 picture"),
        (tiff(random_gray(np.uint16), 16, sample_format=3), "TIFF file (unknown pixel mode)"),
    ):
        path.write_bytes(content)
        assert found in reason_of(path)


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a regular file" in reason_of(tmp_path / "pipe.png")


def test_the_message_is_one_line_whatever_the_name():
    error = ImageLoadError("a\nb\udce4.png", "reason")
    assert str(error) == r"a\nb\udce4.png: reason"
    str(error).encode()
    assert isinstance(error, ValueError)
    copied = pickle.loads(pickle.dumps(error))  # from a worker process
    assert (copied.name, copied.reason) == (error.name, error.reason)


def kinds_of_files() -> dict[str, bytes]:
    color, gray = Image.fromarray(random_rgb()), Image.fromarray(random_gray())
    deep, unit = Image.fromarray(random_gray(np.uint16)), Image.fromarray((random_gray() / 255).astype(np.float32))
    indexed = color.quantize(40)
    files = {
        "jpeg": encoded(color, "JPEG"),
        "jpeg progressive": encoded(color, "JPEG", progressive=True),
        "jpeg cmyk": encoded(color.convert("CMYK"), "JPEG"),
        "mpo": encoded(color, "MPO", save_all=True, append_images=[color]),
        "png": encoded(color, "PNG", icc_profile=SRGB),
        "png 16": encoded(deep, "PNG"),
        "png palette": encoded(indexed, "PNG"),
        "png animation": encoded(color, "PNG", save_all=True, append_images=[gray.convert("RGB")]),
        "tiff": encoded(gray, "TIFF"),
        "tiff lzw": encoded(color, "TIFF", compression="tiff_lzw"),
        "tiff deflate": encoded(deep, "TIFF", compression="tiff_adobe_deflate"),
        "tiff jpeg": encoded(color, "TIFF", compression="jpeg"),
        "tiff group4": encoded(gray.convert("1"), "TIFF", compression="group4"),
        "tiff float": encoded(unit, "TIFF"),
        "tiff pages": encoded(gray, "TIFF", save_all=True, append_images=[gray]),
        "webp": encoded(color, "WEBP"),
        "webp lossless": encoded(color, "WEBP", lossless=True),
        "bmp": encoded(gray, "BMP"),
        "gif": encoded(indexed, "GIF"),
    }
    if features.check("avif"):
        files["avif"] = encoded(color, "AVIF")
    return files


@pytest.mark.parametrize("kind", kinds_of_files())
def test_colors_have_the_luminance_that_the_same_file_gives(kind):
    """Whatever is put right for luminance is right in color: what is trained on is what is colorized."""
    content = kinds_of_files()[kind]
    loaded, color = load_image(content), load_color(content)
    white = {"uint8": 255, "uint16": 65535, "float32": 1}[loaded.gray.dtype.name]
    assert color.mode == "RGB"
    assert not color.info
    assert np.abs(reduce_8_bit(np.asarray(color)) / 65535 - loaded.gray / white).max() < 0.51 / 255
    assert (np.asarray(color).std(axis=2).max() > 0) == loaded.was_color


@pytest.mark.parametrize("orientation", range(1, 9))
def test_colors_are_turned_once(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb = random_rgb()
    expected = np.stack([displayed(rgb[..., channel], orientation) for channel in range(3)], axis=-1)
    color = load_color(encoded(rgb, "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(color), expected)
    np.testing.assert_array_equal(np.asarray(load_color(encoded(color, "PNG", exif=color.getexif()))), expected)


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


def test_lab_tiff_gives_its_colors():
    lab = np.array([[[128, 20, 20], [200, 240, 16]]], np.uint8)  # a and b are signed bytes
    color = rgb2lab(np.asarray(load_color(tiff(lab, (8, 8, 8), 8))))
    expected = np.concatenate([lab[..., :1] / 2.55, lab[..., 1:].view(np.int8)], axis=-1)
    assert np.abs(color - expected).max() < 2  # the white of a Lab file is D50, that of sRGB D65


def test_a_jpeg_need_not_be_decoded_whole():
    picture = Image.fromarray(random_rgb()).resize((400, 300), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    for file_format in ("JPEG", "MPO"):
        content = encoded(picture, file_format, exif=exif, quality=95)
        sizes = {side: load_color(content, short_side=side).size for side in (None, 301, 150, 149, 75, 10)}
        whole, half, quarter = (300, 400), (150, 200), (75, 100)
        assert sizes == {None: whole, 301: whole, 150: half, 149: half, 75: quarter, 10: (38, 50)}
        small = np.asarray(load_color(content, short_side=150)).astype(int)
        expected = np.asarray(load_color(content).resize((150, 200), Image.Resampling.BOX)).astype(int)
        assert np.abs(small - expected).mean() < 2
    assert load_color(encoded(picture, "PNG"), short_side=10).size == (400, 300)


def test_colors_of_what_is_no_picture_are_one_line(tmp_path):
    with pytest.raises(ImageLoadError, match=r"^<bytes>: not a picture; accepted are JPEG"):
        load_color(b"no picture at all")
    with pytest.raises(ImageLoadError, match="no such file"):
        load_color(tmp_path / "none.png")
    with pytest.raises(ImageLoadError, match="more than max_pixels = 10"):
        load_color(encoded(random_rgb(), "PNG"), max_pixels=10)


def picture_or_error(content: bytes, **options) -> LoadedImage | ImageLoadError:
    """Whatever comes of a damaged file, checked to be one line if it is the error."""
    try:
        return load_image(content, name="damaged", **options)
    except ImageLoadError as error:
        line = str(error)
        if not line.startswith("damaged: ") or "\n" in line:
            pytest.fail(f"not one line with the name: {line!r}")
        return error


@pytest.mark.parametrize("kind", kinds_of_files())
def test_truncated_files_are_one_error_or_complete(kind, capfd):
    """Cut anywhere: either an ImageLoadError, or (only trailing data is missing) every pixel of the whole file."""
    content = kinds_of_files()[kind]
    whole = load_image(content)
    refused, lengths = 0, [*range(64), *range(64, len(content), 7)]
    for length in lengths:
        loaded = picture_or_error(content[:length])
        if isinstance(loaded, ImageLoadError):
            refused += 1
        else:
            np.testing.assert_array_equal(loaded.gray, whole.gray)
    assert refused > len(lengths) * 0.4
    assert capfd.readouterr() == ("", "")  # libtiff would print


@pytest.mark.parametrize("kind", kinds_of_files())
def test_damaged_bytes_raise_nothing_else(kind, capfd):
    content, random = kinds_of_files()[kind], np.random.default_rng(4)
    for _ in range(60):
        damaged = bytearray(content)
        for position in random.integers(0, min(len(content), random.choice([60, 300, 10_000])), 2):
            damaged[position] = random.integers(0, 256)
        loaded = picture_or_error(bytes(damaged), max_pixels=1_000_000)
        assert isinstance(loaded, ImageLoadError) or loaded.gray.dtype in (np.uint8, np.uint16, np.float32)
    assert capfd.readouterr() == ("", "")


def test_pillows_log_messages_are_not_printed(monkeypatch, capfd):
    monkeypatch.setattr(logging.getLogger("PIL"), "propagate", False)  # or pytest would take them
    one_sample, many_samples = (struct.pack("<HHIHH", 277, 3, 1, count, 0) for count in (1, 2048))
    content = tiff(random_gray(), 8).replace(one_sample, many_samples)
    assert "samples per pixel" in reason_of(content)
    assert capfd.readouterr() == ("", "")


def test_truncated_files_are_refused_where_the_program_tolerates_them(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # training scripts like to set it
    content = encoded(random_rgb(), "JPEG")
    assert "truncated" in reason_of(content[: len(content) // 2 + 300])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_out_of_memory_is_the_same_error(monkeypatch):
    def no_memory(*arguments):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", no_memory)
    assert reason_of(encoded(random_gray(), "PNG")) == "not enough memory for a picture of this size"


# ----- limits


def test_huge_headers_are_refused_before_decoding():
    for size, found in (((100_000, 100_000), "10,000,000,000 pixels"), ((20_000, 10_001), "200,020,000 pixels")):
        assert reason_of(png(b"", *size, 8, 0)) == f"{found} are more than max_pixels = 200,000,000"


def test_max_pixels_is_the_last_size_accepted(tmp_path):
    gray = random_gray()
    for source in (encoded(gray, "PNG"), encoded(gray, "TIFF"), gray, Image.fromarray(gray)):
        assert load_image(source, max_pixels=gray.size).gray.size == gray.size
        for limit in (gray.size - 1, gray.size // 3):  # Pillow warns below twice its limit and raises above
            assert f"more than max_pixels = {limit}" in reason_of(source, max_pixels=limit)


def test_pictures_above_pillows_own_limit_are_read(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    gray = random_gray()
    assert_is(load_image(encoded(gray, "PNG")), gray)


def test_nothing_of_the_process_stays_changed():
    def state():
        return (
            Image.MAX_IMAGE_PIXELS,
            ImageFile.LOAD_TRUNCATED_IMAGES,
            warnings.filters,
            logging.getLogger("PIL").handlers,
        )

    before = [*state()[:2], *map(list, state()[2:])]
    load_image(encoded(random_gray(), "PNG"))
    for content in (b"", b"text", png(b"", 10**5, 10**5, 8, 0), encoded(random_gray(), "PNG")[:200]):
        reason_of(content)
    assert [*state()[:2], *map(list, state()[2:])] == before


def test_threads_with_different_limits_do_not_disturb_each_other():
    """Visitors of a server: one limit per call, though Pillow's is one per process."""
    gray = random_gray()
    content = encoded(gray, "PNG")
    limit, failures = Image.MAX_IMAGE_PIXELS, []

    def work(max_pixels: int):
        for _ in range(40):
            try:
                accepted = load_image(content, max_pixels=max_pixels).gray.size == gray.size
            except ImageLoadError:
                accepted = False
            if accepted != (max_pixels >= gray.size):
                failures.append(max_pixels)

    threads = [threading.Thread(target=work, args=(size,)) for size in (1, gray.size - 1, gray.size, 10**6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert limit == Image.MAX_IMAGE_PIXELS


def test_pillows_warnings_about_readable_pictures_are_not_shown():
    gray = random_gray()
    content = encoded(gray, "TIFF", compression="tiff_adobe_deflate")  # the tags come last
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        Image.open(io.BytesIO(content[:-2]))
    assert_is(load_image(content[:-2]), gray)


# ----- size and speed


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


def test_color_is_reduced_quickly():
    rgb = np.tile(random_rgb(), (100, 100, 1))[:1500, :2000]  # 3 megapixels
    image = Image.fromarray(rgb)
    load_image(image)
    start = time.process_time()
    load_image(image)
    assert time.process_time() - start < 0.5  # a few hundredths on one core
