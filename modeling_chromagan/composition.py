"""Full-size luminance + chroma at the network's resolution, enlarged bilinearly -> full-size color picture.

A filter guided by the edges of the full-size gray (He and Sun, "Fast Guided Filter", 2015) gave the same pictures to
0.00 dB, enlarged once or seven times, and nothing that the eye could tell: it is not here.

Everything full-size is done in blocks of rows: memory beyond input and output does not grow with the picture. A
pixel's result is the same to the bit whatever the blocks are.
"""

import numpy as np
import torch
import torch.nn.functional as F

from .rgb_spaces import DEPTHS, SRGB, LuminanceTarget, RGBSpace, chroma_to_codes, look_up, luminance_target

# Pixels of the rows worked on at a time, and where torch has several threads: so few that it does not share an
# operation among them. There are a hundred per block, and waiting for each other on a busy machine cost twenty times
# the work. With one thread, larger blocks leave the interpreter to others: two pictures at once take a third less.
BLOCK_PIXELS = 1 << 17
BLOCK_PIXELS_OF_SEVERAL_THREADS = 1 << 15


def compose(
    gray: np.ndarray,
    ab: torch.Tensor,
    *,
    box: tuple[int, int, int, int] | None = None,
    block_rows: int | None = None,
    depth: int = 8,
    space: RGBSpace = SRGB,
    coding: RGBSpace = SRGB,
) -> np.ndarray:
    """Give a gray picture the chroma `ab`, keeping its luminance at full resolution.

    `gray` is (H, W), luminance coded by the curve of `coding`: uint8, uint16, or float in 0..1. `ab` is (2, h, w) in
    Lab units and covers `box` = (left, top, right, bottom) of the picture, or all of it; outside of the box, and where
    a = b = 0, R = G = B. `block_rows` changes memory and speed, never the result.

    Returns (H, W, 3), uint8 or uint16 as `depth` says, in `space`, whose luminance, coded by the curve of `space`, is
    the input's: to within half a level of 8 bits, and one of 16 (`chroma_to_codes`). Where `coding` is `space`, every
    level of 8-bit input comes back exactly, and R = G = B = gray of the input's depth. Raises ValueError for any other
    input.
    """
    left, top, right, bottom = _checked_box(gray, box)
    ab = ab.detach().to("cpu", torch.float32)
    _check_ab(ab)
    if block_rows is not None and block_rows < 1:
        raise ValueError(f"block_rows must be at least 1, got {block_rows}")
    if depth not in DEPTHS:
        raise ValueError(f"depth must be one of {', '.join(map(str, DEPTHS))}, got {depth}")
    height, width = gray.shape
    if block_rows is None:
        pixels = BLOCK_PIXELS if torch.get_num_threads() == 1 else BLOCK_PIXELS_OF_SEVERAL_THREADS
        block_rows = max(1, pixels // width)
    dtype = np.uint8 if depth == 8 else np.uint16
    coded = torch.linspace(0.0, 1.0, _level_count(gray), dtype=torch.float64)
    luminance = coding.decode(coded).clamp_(0.0, 1.0)
    if coding is not space:
        coded = space.encode(luminance)
    target_of_level = [plane for plane in luminance_target(luminance, coded, space, depth) if plane is not None]
    neutral_of_level = coded.mul(np.iinfo(dtype).max).round_().int()

    result = np.empty((height, width, 3), dtype)
    with torch.inference_mode():  # a seventh faster than no_grad
        inside = bottom - top, right - left
        chroma = _Chroma(ab, *inside)
        for start in range(0, height, block_rows):
            stop = min(start + block_rows, height)
            if inside != gray.shape:
                neutral = look_up(neutral_of_level, _levels(gray[start:stop]))
                result[start:stop] = neutral.numpy()[..., None]
            start, stop = max(start, top), min(stop, bottom)
            if start < stop:
                level = _levels(gray[start:stop, left:right])
                a, b = chroma.rows(start - top, stop - top)
                target = LuminanceTarget(*(look_up(table, level) for table in target_of_level))
                colored = result[start:stop, left:right]
                for channel, plane in enumerate(chroma_to_codes(target, a, b, space, depth)):
                    colored[..., channel] = plane.numpy()
                colorless = (a.numpy() == 0) & (b.numpy() == 0)
                if colorless.any():  # of dark grays that the curve gives one luminance, each keeps its own code
                    colored[colorless] = look_up(neutral_of_level, level[colorless]).numpy()[:, None]
    return result


class _Chroma:
    """Rows of the full-size chroma (2, height, width), enlarged from the low-resolution chroma (2, h, w)."""

    def __init__(self, ab: torch.Tensor, height: int, width: int):
        self.height, self.width = height, width
        size = min(ab.shape[1], height), min(ab.shape[2], width)
        self.planes = ab if size == ab.shape[1:] else F.adaptive_avg_pool2d(ab, size)  # finer than the picture itself

    def rows(self, start: int, stop: int) -> list[torch.Tensor]:
        """a and b, (stop - start, width) each: aligned pixel areas, down the picture here, across by `interpolate`."""
        count = self.planes.shape[1]
        position = (torch.arange(start, stop, dtype=torch.float64) + 0.5) * count / self.height - 0.5
        position = position.clamp_(0.0, count - 1.0)
        above = position.long()
        below = (above + 1).clamp_(max=count - 1)
        above_rows, below_rows = (self.planes.index_select(1, index) for index in (above, below))
        rows = torch.lerp(above_rows, below_rows, (position - above).float()[:, None])
        return [F.interpolate(plane[None], self.width, mode="linear")[0] for plane in rows]


def _checked_box(gray: np.ndarray, box: tuple[int, int, int, int] | None) -> tuple[int, int, int, int]:
    if gray.ndim != 2 or gray.size == 0 or not (gray.dtype in (np.uint8, np.uint16) or gray.dtype.kind == "f"):
        raise ValueError(f"gray must be (H, W) of uint8, uint16 or float, got {gray.dtype} of shape {gray.shape}")
    height, width = gray.shape
    left, top, right, bottom = map(int, box or (0, 0, width, height))
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(f"box (left, top, right, bottom) must lie inside the {width}x{height} picture, got {box}")
    return left, top, right, bottom


def _check_ab(ab: torch.Tensor) -> None:
    if ab.ndim != 3 or ab.shape[0] != 2 or 0 in ab.shape:
        raise ValueError(f"ab must be of shape (2, h, w), got {tuple(ab.shape)}")
    if not np.isfinite(ab.numpy()).all():
        raise ValueError("ab must be finite, got NaN or infinite values")


def _level_count(gray: np.ndarray) -> int:
    """Levels that gray is looked up by; float gray is rounded to 65,536, a 500th of an output level at most."""
    return 256 if gray.dtype == np.uint8 else 65536


def _levels(gray: np.ndarray) -> torch.Tensor:
    """Rows of gray as int32 levels."""
    if gray.dtype.kind == "f":
        if not (gray.min() >= 0.0 and gray.max() <= 1.0):  # so written, NaN is refused too
            raise ValueError(f"float gray must lie in 0..1, got {gray.min()}..{gray.max()}")
        gray = gray * np.float32(65535.0) + np.float32(0.5)
    return torch.from_numpy(gray.astype(np.int32))
