"""Pictures of every kind as bytes of files, and what is seen of them once they are loaded."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, features
from skimage.color import lab2xyz, rgb2lab, xyz2rgb

from modeling_chromagan.errors import ImageLoadError
from modeling_chromagan.image_loading import load_image

HEIGHT, WIDTH = 18, 24
SHAPE = (HEIGHT, WIDTH)
BRADFORD_D50_TO_D65 = (  # Lindbloom, "Chromatic Adaptation"
    (0.9555766, -0.0230393, 0.0631636),
    (-0.0282895, 1.0099416, 0.0210077),
    (0.0122982, -0.0204830, 1.3299098),
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


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
        entries[338] = ("H", tags["extra"] if isinstance(tags["extra"], tuple) else (tags["extra"],))
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


def to_linear(code: np.ndarray) -> np.ndarray:
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def to_code(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def luminance_of(rgb: np.ndarray, white: int = 255) -> np.ndarray:
    """sRGB-coded luminance 0..1 of sRGB, by way of scikit-image's L."""
    root = (rgb2lab(rgb / white)[..., 0] + 16) / 116
    return to_code(np.where(root > 6 / 29, root**3, (root - 16 / 116) / 7.787))


def srgb_of_lab(lab: np.ndarray) -> np.ndarray:
    """sRGB 0..1 of Lab under D50, the white of profiles and of Lab files."""
    return xyz2rgb(lab2xyz(lab, "D50") @ np.array(BRADFORD_D50_TO_D65).T)


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


def sampled_curve(linear: np.ndarray) -> bytes:
    """A curve from stored values, evenly from black to white, to linear light 0..1."""
    samples = np.rint(linear * 65535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", len(samples)) + samples.tobytes()


def srgb_curve(entries: int = 1024) -> bytes:
    return sampled_curve(to_linear(np.linspace(0, 1, entries)))


def matrix_profile(curve: bytes, red: tuple, green: tuple, blue: tuple) -> bytes:
    """An RGB profile of three primaries, in XYZ under D50, and one curve."""
    tags = {
        name: b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in xyz))
        for name, xyz in (("rXYZ", red), ("gXYZ", green), ("bXYZ", blue))
    }
    return icc_profile(b"RGB ", **tags, **dict.fromkeys(("rTRC", "gTRC", "bTRC"), curve))


def adobe_rgb() -> bytes:
    """Adobe RGB (1998): its D50 primaries and gamma 563/256."""
    primaries = (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)
    return matrix_profile(gamma_curve(563 / 256), *primaries)


def jpeg2000_with_profile(content: bytes, profile: bytes) -> bytes:
    """A JP2 file with its color specification replaced by an embedded profile."""
    start = content.index(b"colr") - 4
    (length,) = struct.unpack_from(">I", content, start)
    color = b"colr\2\0\0" + profile
    header = content.index(b"jp2h") - 4
    (outer,) = struct.unpack_from(">I", content, header)
    changed = struct.pack(">I", len(color) + 4) + color
    content = content[:start] + changed + content[start + length :]
    return content[:header] + struct.pack(">I", outer + len(changed) - length) + content[header + 4 :]


def srgb_primaries(curve: bytes) -> bytes:
    """The primaries of sRGB with another curve."""
    return matrix_profile(curve, (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))


def cmyk_table(lightness_of_cyan: float, ab_of_cyan: tuple[int, int] = (0, 0)) -> bytes:
    """A printer that darkens linearly in L: of the inks only cyan has a color, and black has an L of 0."""
    table = bytearray()
    for corner in range(16):  # the first ink changes slowest
        cyan, magenta, yellow, black = (bool(corner & bit) for bit in (8, 4, 2, 1))
        lightness = 0 if black else 100 - (100 - lightness_of_cyan) * cyan - 20 * magenta - 5 * yellow
        color = (128 + value * (cyan and not black) for value in ab_of_cyan)
        table += bytes((round(max(lightness, 0) * 2.55), *color))
    identity = struct.pack(">9i", *(65536 * (index % 4 == 0) for index in range(9)))
    ramp = bytes(range(256))
    return b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + ramp * 4 + bytes(table) + ramp * 3


def cmyk_profile(lightness_of_cyan: float = 62.0, ab_of_cyan: tuple[int, int] = (0, 0), **tags: bytes) -> bytes:
    """The profile of such a printer: cyan has `lightness_of_cyan`, and is neutral unless `ab_of_cyan` is given."""
    return icc_profile(b"CMYK", b"Lab ", b"prtr", A2B0=cmyk_table(lightness_of_cyan, ab_of_cyan), **tags)


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
        "jpeg 2000": encoded(color, "JPEG2000"),
        "jpeg 2000 16": encoded(deep, "JPEG2000", no_jp2=True),
    }
    if features.check("avif"):
        files["avif"] = encoded(color, "AVIF")
    return files


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
