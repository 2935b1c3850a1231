"""TIFF pages that Pillow cannot open, or not at their depth, read by tifffile."""

import logging
from typing import IO

import numpy as np
import tifffile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ..errors import ImageLoadError, one_line
from ..pixel_blocks import check_size
from .deep_samples import DeepSamples, full_range

BITS, PHOTOMETRIC, SAMPLES, PLANES, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 277, 284, 338, 339
SEPARATE = 2  # an arrangement of planes
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2  # photometric interpretations
FLOAT = 3  # a sample format
ASSOCIATED, UNASSOCIATED = 1, 2  # further samples that are opacity: colors are multiplied with it, or not
COLOR_SAMPLES = {RGB: 3, 5: 4, 6: 3, 8: 3}  # of RGB, CMYK, YCbCr and Lab; of others one

# What it says about odd tags would be printed where logging is not set up; what matters is raised.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def is_beyond_pillow(tags: ImageFileDirectory_v2) -> bool:
    """Whether Pillow reads 8 of more bits, or nothing: deep colors, opacity that is deep or a plane, odd floats."""
    bits, samples = max(_tuple(tags.get(BITS, 1))), tags.get(SAMPLES, 1)
    is_separate = tags.get(PLANES) == SEPARATE and samples not in (1, 3)
    if tags.get(PHOTOMETRIC) == RGB:
        return bits > 8 or is_separate
    if tags.get(PHOTOMETRIC) not in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        return False
    if FLOAT in _tuple(tags.get(SAMPLE_FORMAT, 1)):
        return bits != 32 or samples > 1
    return is_separate or (bits > 8 and (samples > 1 or bits not in (12, 16, 32)))


def further_channels(tags: ImageFileDirectory_v2) -> int:
    """How many channels there are besides colors and opacity, as of infrared light or spot colors.

    Of files that do not say what the first further one is, all programs take it for opacity.
    """
    samples, kinds = tags.get(SAMPLES, 1), _tuple(tags.get(EXTRA_SAMPLES, UNASSOCIATED))
    further = samples - COLOR_SAMPLES.get(tags.get(PHOTOMETRIC, BLACK_IS_ZERO), 1)
    return max(further - (kinds[:1] in ((ASSOCIATED,), (UNASSOCIATED,))), 0)


def read_page(stream: IO[bytes], offset: int, name: str, max_pixels: int, orientation: int) -> DeepSamples:
    """The page whose directory is at `offset`: gray or RGB, of integers up to 16 bits or floats of 0 to 1.

    Raises:
        ImageLoadError: naming what is damaged, too large, or of another kind.
    """
    stream.seek(0)
    try:
        with tifffile.TiffFile(stream) as file:
            file.filehandle.seek(offset)
            page = tifffile.TiffPage(file, 0)
            check_size(page.imagewidth, page.imagelength, name, max_pixels)
            if page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) or page.imagedepth != 1:
                kind = getattr(page.photometric, "name", page.photometric)
                raise ImageLoadError(name, f"{kind} TIFFs of {page.bitspersample} bits cannot be read")
            _check_complete(page, file.filehandle.size, name)
            samples = page.asarray(maxworkers=1)
            profile, kinds = page.iccprofile or b"", page.extrasamples
    except (ImageLoadError, MemoryError):
        raise
    except Exception as error:
        raise ImageLoadError(name, f"damaged or truncated file ({one_line(error)})") from error
    samples = np.moveaxis(samples, 0, -1) if page.axes.startswith("S") else samples
    channels = 3 if page.photometric == RGB else 1
    if samples.ndim == 3:
        opaque = bool(kinds) and kinds[0] not in (ASSOCIATED, UNASSOCIATED)
        samples = samples[..., : channels if opaque else channels + 1]
    if samples.dtype.kind != "f":
        if samples.dtype.kind != "u" or samples.dtype.itemsize > 2:
            raise ImageLoadError(name, f"colors of {samples.dtype} cannot be read; accepted are 8, 16 bits and floats")
        samples = full_range(samples, page.bitspersample)
    if page.photometric == WHITE_IS_ZERO:
        gray = samples if samples.ndim == 2 else samples[..., 0]
        np.subtract(1 if gray.dtype.kind == "f" else np.iinfo(gray.dtype).max, gray, out=gray)
    premultiplied = bool(kinds) and kinds[0] == ASSOCIATED
    return DeepSamples(
        samples, name, "TIFF", max_pixels, profile=profile, orientation=orientation, premultiplied=premultiplied
    )


def _check_complete(page: tifffile.TiffPage, size: int, name: str) -> None:
    """tifffile would fill what is missing with black."""
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    expected = int(np.prod(page.chunked))
    if len(segments) < expected or any(not count or offset + count > size for offset, count in segments[:expected]):
        raise ImageLoadError(name, "damaged or truncated file (strips are missing)")


def _tuple(value: object) -> tuple:
    return value if isinstance(value, tuple) else (value,)
