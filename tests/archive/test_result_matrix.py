"""Every format that is read into every format that is written: depth, pages, opacity and luminance, by the command."""

import io

import imagecodecs
import numpy as np
import pytest
import tifffile
from picture_files import files_in
from PIL import Image

from modeling_chromagan.archive.scan import open_scan
from modeling_chromagan.picture_formats import OUTPUT_FORMATS, SUFFIXES

SIZE = (56, 40)
LOSSLESS = ("png", "tiff", "webp", "jp2")


def gray(seed=0, deep=False):
    """A gray picture with detail up to its edges."""
    coarse = np.random.default_rng(seed).integers(20, 236, (8, 11)).astype(np.float32)
    picture = np.asarray(Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)).clip(0, 255)
    return np.rint(picture * 257).astype(np.uint16) if deep else picture.astype(np.uint8)


def pillow(name, *arrays, **options):
    first, *rest = map(Image.fromarray, arrays)
    buffer = io.BytesIO()
    first.save(buffer, name, **({"save_all": True, "append_images": rest} if rest else {}), **options)
    return buffer.getvalue()


def heic():
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra heic")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(gray())).save(buffer, quality=-1)
    return buffer.getvalue()


def tiff(*arrays):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for array in arrays:
            file.write(array, photometric="minisblack", contiguous=False)
    return buffer.getvalue()


# What is read: name, bytes, depth, layout, pictures. Lossy ones keep what they were decoded to.
READ = {
    "jpeg": ("a.jpg", lambda: pillow("JPEG", gray()), 8, "single", 1),
    "png": ("a.png", lambda: pillow("PNG", gray()), 8, "single", 1),
    "png16": ("a.png", lambda: pillow("PNG", gray(deep=True)), 16, "single", 1),
    "apng": ("a.png", lambda: pillow("PNG", gray(), gray(1), duration=[100, 250]), 8, "frames", 2),
    "png with opacity": ("a.png", lambda: pillow("PNG", np.dstack([gray(), gray(1)])), 8, "single", 1),
    "tiff": ("a.tif", lambda: tiff(gray()), 8, "single", 1),
    "tiff16": ("a.tif", lambda: tiff(gray(deep=True)), 16, "single", 1),
    "float tiff": ("a.tif", lambda: tiff(gray(deep=True).astype(np.float32) / 65535), 16, "single", 1),
    "pages": ("a.tif", lambda: tiff(gray(), gray(1)[:20], gray(2, deep=True)), 16, "pages", 3),
    "webp": ("a.webp", lambda: pillow("WEBP", gray(), lossless=True), 8, "single", 1),
    "animated webp": ("a.webp", lambda: pillow("WEBP", gray(), gray(1), duration=100, lossless=True), 8, "frames", 2),
    "gif": ("a.gif", lambda: pillow("GIF", gray(), gray(1), duration=[100, 250]), 8, "frames", 2),
    "bmp": ("a.bmp", lambda: pillow("BMP", gray()), 8, "single", 1),
    "avif": ("a.avif", lambda: pillow("AVIF", gray()), 8, "single", 1),
    "jp2": ("a.jp2", lambda: pillow("JPEG2000", gray()), 8, "single", 1),
    "jp2 16": ("a.jp2", lambda: imagecodecs.jpeg2k_encode(gray(deep=True), level=0), 16, "single", 1),
    "jpeg xl": ("a.jxl", lambda: imagecodecs.jpegxl_encode(gray(), lossless=True), 8, "single", 1),
    "jpeg xl 16": ("a.jxl", lambda: imagecodecs.jpegxl_encode(gray(deep=True), lossless=True), 16, "single", 1),
    "heic": ("a.heic", heic, 8, "single", 1),
}


def read(path):
    with open_scan(path.read_bytes(), name=str(path), max_pixels=10**8) as scan:
        return scan.layout, list(scan.pages())


def levels(page):
    """Luminance in 0..65535."""
    values = page.image.gray.astype(np.float64)
    return values * {"uint8": 257, "uint16": 1, "float32": 65535}[page.image.gray.dtype.name]


@pytest.mark.slow
@pytest.mark.parametrize("kind", READ)
def test_every_format_becomes_every_other(run, tmp_path, kind):
    name, make, depth, layout, pictures = READ[kind]
    (tmp_path / name).write_bytes(make())
    found, before = read(tmp_path / name)
    assert (found, len(before), max(page.depth for page in before)) == (layout, pictures, depth)
    for output_format in OUTPUT_FORMATS:
        out = tmp_path / output_format
        assert run(tmp_path / name, "-o", out, "--format", output_format)[0] == 0
        files = files_in(out)
        assert all(file.endswith(SUFFIXES[output_format]) for file in files)
        holds_frames = layout == "frames" and output_format not in ("jpeg", "jp2")
        holds_all = layout == "single" or output_format == "tiff" or holds_frames
        assert len(files) == (1 if holds_all else pictures)
        order = sorted(files, key=lambda file: ("page" in file, file))
        after = [page for file in order for page in read(out / file)[1]]
        assert len(after) == pictures
        for old, new in zip(before, after, strict=True):
            assert new.image.gray.shape == old.image.gray.shape
            if output_format in ("png", "tiff", "jp2") and layout != "frames":
                assert new.depth == old.depth
            if old.image.alpha is not None and output_format not in ("jpeg", "avif"):  # which is lossy in opacity too
                opaque = new.image.alpha is None and old.image.alpha.min() == 255
                assert opaque or np.array_equal(new.image.alpha, old.image.alpha)
            if layout == "frames" and output_format in ("png", "webp", "avif"):
                assert new.duration == old.duration
            if output_format in LOSSLESS:
                step = 1.01 if new.depth == 16 else 129  # the middle of two levels counts as within one
                assert np.abs(levels(new) - levels(old)).max() <= step + (1 if old.depth == 8 else 0)
