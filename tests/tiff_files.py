"""TIFF files of several directories, for tests of what is a page of them."""

import io

import numpy as np
import tifffile
from PIL import Image


def photograph(seed: int, width: int = 96, height: int = 64) -> np.ndarray:
    """A gray picture with large shapes, which its reductions share."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def reduced(picture: np.ndarray, times: int = 2) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).reduce(times))


def tiff_file(*pages: tuple[np.ndarray, dict], **settings) -> bytes:
    """A TIFF of these pages, each with settings of `tifffile.TiffWriter.write`."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, **settings) as writer:
        for pixels, options in pages:
            photometric = "rgb" if pixels.ndim == 3 else "minisblack"
            writer.write(pixels, **{"metadata": None, "photometric": photometric, **options})
    return buffer.getvalue()
