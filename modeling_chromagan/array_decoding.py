"""Arrays of pixels -> luminance with opacity, by the rules of files: see `load_image`."""

import numpy as np

from .color_profiles import reduce_integers, reduce_unit
from .errors import ImageLoadError
from .pixel_blocks import Box, all_gray, assemble, check_range, check_size


def array_luminance(array: np.ndarray, name: str, max_pixels: int) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """sRGB-coded luminance (H, W), opacity (H, W) or None, and whether the picture had color.

    Opacity is uint8 of uint8 and bool, uint16 of all others.

    Accepted are uint8, uint16, 32-bit integers of 0..65535 and floats of 0..1.

    Raises:
        ImageLoadError: naming another shape, type or range, or a picture that is too large.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        accepted = "(H, W), (H, W, 1), (H, W, 3) and (H, W, 4)"
        raise ImageLoadError(name, f"an array of shape {array.shape}; accepted are {accepted}")
    height, width = array.shape[:2]
    check_size(width, height, name, max_pixels)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        check_range(width, height, lambda box: _crop(array, box), 1, name)
    elif array.dtype.kind in "iu" and array.dtype.itemsize == 4:
        check_range(width, height, lambda box: _crop(array, box), 65535, name)
    elif array.dtype.kind != "u" or array.dtype.itemsize > 2:
        accepted = "bool, uint8, uint16, int32 and uint32 (0..65535), float16, float32 and float64 (0..1)"
        raise ImageLoadError(name, f"an array of {array.dtype}; accepted are {accepted}")

    target = {"f": np.float32}.get(array.dtype.kind, np.uint8 if array.dtype == np.uint8 else np.uint16)
    first = array if array.ndim == 2 else array[..., 0]
    alpha, was_color = None, False

    def read_opacity(box: Box) -> np.ndarray:
        opacity = _crop(array, box)[..., 3]
        return np.rint(opacity * np.float32(65535)) if target == np.float32 else opacity

    if array.ndim == 3 and array.shape[2] == 4:
        alpha = assemble(width, height, 1, np.uint8 if target == np.uint8 else np.uint16, read_opacity)
    if array.ndim == 3 and array.shape[2] >= 3:
        was_color = not all_gray(width, height, lambda box: _crop(array, box))

    def read_color(box: Box) -> np.ndarray:
        rgb = _crop(array, box)[..., :3]
        if target == np.float32:
            return reduce_unit(rgb)
        return reduce_integers(rgb if target == np.uint8 else rgb.astype(np.uint16))

    if was_color:
        gray = assemble(width, height, 1, np.uint16 if target == np.uint8 else target, read_color)
    else:
        gray = assemble(width, height, 1, target, lambda box: _crop(first, box))
    return gray, alpha, was_color


def _crop(array: np.ndarray, box: Box) -> np.ndarray:
    left, top, right, bottom = box
    return array[top:bottom, left:right]
