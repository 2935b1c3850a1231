"""The straight lines of a scan that could end a near-uniform margin, and how well each would: what `borders` judges.

All lines of one side are looked at together: as many small steps in Python would take several times as long.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

SMALLEST_SIDE = 16  # pixels of a picture in which margins are looked for
_OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}

DEEPEST = 0.25  # of a side, all nested margins together
_STEEPEST = 0.035  # depth gained per unit of length: two degrees

# Brightness is in shares of the picture's own tonal range.
DARK, _LIGHT = 0.25, 0.75  # margins between are gray mounts
_CLEAR_STEP = 0.2  # a step of this height counts fully, a lower one in proportion
_TOLERANCES = (0.03, 0.10)  # how far a margin's pixels stray from its level: 3.5 stds within these limits


@dataclass(frozen=True)
class Line:
    """A straight edge on one side of the working copy, and how well it would end a margin."""

    side: str
    kind: str  # "dark", "light" or "gray"
    level: float  # median of the strip outside
    spread: float  # 10th to 90th percentile of the strip outside
    depths: np.ndarray  # (segments,) where the picture begins in each segment
    bounds: np.ndarray  # (segments + 1,) where the segments begin and end along the side
    seen: np.ndarray  # (segments,) whether the picture leaves the margin's level at the line there
    strength: float  # mean over segments of the height of the step, 1 where it is clear
    coverage: float  # share of segments in which it is seen
    exact: float  # the same without a pixel of leeway
    foreign: float  # share of the strip outside that is not at the margin's level
    score: float

    @property
    def rotation(self) -> float:
        """Tangent of the angle by which the picture is turned, if this is its edge."""
        slope = float(self.depths[-1] - self.depths[0]) / max(1, int(self.bounds[-1] - self.bounds[0]))
        return slope if self.side in ("left", "bottom") else -slope


def turned_to(picture: np.ndarray, side: str) -> np.ndarray:
    """A view with the given side on the left: (length along the side, depth into the picture)."""
    if side in ("top", "bottom"):
        picture = picture.T
    return picture[:, ::-1] if side in ("right", "bottom") else picture


def best_lines(small: np.ndarray, side: str, margins: dict[str, int], ends: dict[str, int]) -> dict[str, Line]:
    """The best line of each kind on one side, between the ends that the neighboring sides leave."""
    turned = turned_to(small, side)
    length, depth = turned.shape
    before, after = ("top", "bottom") if side in ("left", "right") else ("left", "right")
    begin, end, start = ends[before], length - ends[after], margins[side]
    strip = turned[begin:end, start : depth - margins[_OPPOSITE[side]]]
    deepest = min(int(depth * DEEPEST) + 1 - start, strip.shape[1] - 4)
    if deepest < 1 or end - begin < SMALLEST_SIDE // 2:
        return {}

    # Every line is a depth and a shift from end to end (every second one, as evidence has a pixel of leeway).
    segments = int(np.clip((end - begin) // 8, 4, 32))
    bounds = np.rint(np.linspace(0, end - begin, segments + 1)).astype(np.intp)
    most = int(_STEEPEST * (end - begin)) // 2 * 2
    shifts = np.arange(-most, most + 1, 2)
    offsets = np.rint(np.outer(shifts, (bounds[:-1] + bounds[1:]) / 2 / (end - begin) - 0.5)).astype(np.intp)
    pad = most // 2 + 2
    cells = deepest + 2 * pad  # the depths -pad .. deepest + pad - 1 that slanted lines reach

    strip = strip[:, : deepest + pad + 4].T
    strip = strip.take(range(deepest + pad + 4), axis=0, mode="clip")  # (depths, length), the last one repeated
    quantiles = _segment_quantiles(strip, bounds)
    kinds, levels, tolerances = _margin_levels(strip[:deepest])

    near, bare, heights = _evidence(quantiles, kinds, levels, tolerances, pad, cells)
    leeway = heights.copy()
    np.maximum(leeway[..., 1:], 0.95 * heights[..., :-1], out=leeway[..., 1:])
    np.maximum(leeway[..., :-1], 0.95 * heights[..., 1:], out=leeway[..., :-1])
    promise = _along_lines(leeway, offsets)[..., pad + 1 :][..., :deepest]  # (levels, shifts, depths)
    promise = promise - 0.1 * np.abs(shifts)[:, None] / max(most, 1)
    rows = np.argmax(promise, axis=1)  # (levels, depths), the best shift at each depth
    every = np.arange(deepest)
    # Up to two pixels before the line do not count: soft and ringing edges reach into the margin.
    depths = offsets[:, None] + every[:, None] + 1  # (shifts, depths, segments)
    counted = np.clip(depths - np.clip(depths // 4, 0, 2), 0, len(strip))
    at_level = np.zeros((len(near), segments, len(strip) + 1), np.int16)  # in halves of a pixel
    np.cumsum(2 * near.astype(np.int16) + bare, axis=2, out=at_level[..., 1:])
    places = (counted + np.arange(segments) * at_level.shape[2])[rows, every]  # (levels, depths, segments)
    within = np.stack([halves.take(place).sum(axis=1) for halves, place in zip(at_level, places, strict=True)]) / 2
    foreign = 1 - within / np.maximum(counted.sum(axis=2), 1)[rows, every]
    extremity = np.where(
        kinds == "dark", np.maximum(levels, 0), np.where(kinds == "light", np.maximum(1 - levels, 0), DARK)
    )
    scores = np.take_along_axis(promise, rows[:, None], axis=1)[:, 0] - 2 * foreign - 0.5 * extremity[:, None]

    best: dict[str, Line] = {}
    picks = np.argmax(scores, axis=1)
    for number, kind in enumerate(kinds.tolist()):
        pick = picks[number]
        score = float(scores[number, pick])
        if kind in best and best[kind].score >= score:
            continue
        row = rows[number, pick]
        line = depths[row, pick]  # (segments,)
        seen, exact = (values[number, np.arange(segments), line + pad] for values in (leeway, heights))
        outside = quantiles[1][np.arange(len(strip)) < np.maximum(1, line - (line > 2))[:, None]]
        low, middle, high = quantiles_of(outside, (0.1, 0.5, 0.9))
        best[kind] = Line(
            side=side,
            kind=kind,
            level=float(middle),
            spread=float(high - low),
            depths=line + start,
            bounds=bounds + begin,
            seen=seen > 0,
            strength=float(seen.mean()),
            coverage=float((seen > 0).mean()),
            exact=float((exact > 0).mean()),
            foreign=float(foreign[number, pick]),
            score=score,
        )
    return best


def quantiles_of(values: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """As `np.quantile` along the last axis, several times as fast where that is short: (shares, ...)."""
    ordered = np.sort(values, axis=-1)
    places = np.multiply(shares, values.shape[-1] - 1)
    before = places.astype(np.intp)
    lower, upper = ordered[..., before], ordered[..., np.minimum(before + 1, values.shape[-1] - 1)]
    return np.moveaxis(lower + (upper - lower) * (places - before), -1, 0)


def _segment_quantiles(strip: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The 30th, 50th and 70th percentile of every segment of a strip, (depths, length): (3, segments, depths)."""
    lengths = np.diff(bounds)
    quantiles = np.empty((3, len(lengths), len(strip)), strip.dtype)
    for length in np.unique(lengths):  # two, one apart
        chosen = np.flatnonzero(lengths == length)
        pixels = strip[:, bounds[chosen][:, None] + np.arange(length)]  # (depths, chosen, length)
        quantiles[:, chosen] = quantiles_of(pixels, (0.3, 0.5, 0.7)).swapaxes(1, 2)
    return quantiles


def _margin_levels(strip: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kinds, levels and tolerances of the margins that can end somewhere in a strip, (depths, length)."""
    (columns,) = quantiles_of(strip, (0.5,))
    (deviations,) = quantiles_of(np.abs(strip - columns[:, None]), (0.5,))
    levels = _running_median(columns)
    tolerances = np.clip(3.5 * _running_median(1.4826 * deviations), *_TOLERANCES)
    kinds = np.where(levels <= DARK, "dark", np.where(levels >= _LIGHT, "light", "gray"))
    alike = (
        np.rint(levels / 0.03) + 1000 * np.rint(tolerances / 0.03) + 1e6 * (levels <= DARK) + 2e6 * (levels >= _LIGHT)
    )
    first = np.sort(np.unique(alike, return_index=True)[1])
    return kinds[first], levels[first], tolerances[first]


def _running_median(values: np.ndarray) -> np.ndarray:
    """The median of every value and the up to five before it."""
    counts = np.minimum(np.arange(len(values)) + 1, 6)
    windows = sliding_window_view(np.pad(values, (5, 0), constant_values=np.inf), 6)
    ordered = np.sort(windows, axis=1)
    every = np.arange(len(values))
    return (ordered[every, (counts - 1) // 2] + ordered[every, counts // 2]) / 2


def _evidence(
    quantiles: np.ndarray, kinds: np.ndarray, levels: np.ndarray, tolerances: np.ndarray, pad: int, cells: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where segments are at a margin's level, where at the other end of the range, and how high they step off it.

    quantiles: (3, segments, depths), the 30th, 50th and 70th percentile. Returns two (levels, segments, depths)
    booleans, and (levels, segments, cells) heights in 0..1 of the step at the depths -pad and on, 0 where there is
    none. The other end is the light through perforation and scratched writing, or the ink on paper.
    """
    low, middle, high = quantiles
    level, tolerance = levels[:, None, None], tolerances[:, None, None]
    dark, light = (kinds == "dark")[:, None, None], (kinds == "light")[:, None, None]
    rise = (middle - level) * np.where(light, -1, 1)
    np.abs(rise, out=rise, where=~(dark | light))
    near = (dark | (low >= level - tolerance)) & (light | (high <= level + tolerance))
    bare = (dark & (low >= 0.85)) | (light & (high <= 0.15))
    # Two of the three pixels before the line are at the level and two of three behind it are off: resampling and JPEG
    # leave a soft or ringing edge. Beyond the rim everything is margin.
    steps = _two_of_three(_padded(near, pad + 3, True))[..., :cells]
    steps &= _two_of_three(_padded(rise > tolerance + 0.03, pad, False))[..., :cells]
    trios = _padded(rise.astype(np.float32), pad + 3, 0)
    trios = trios[..., :-2] + trios[..., 1:-1] + trios[..., 2:]
    contrast = (trios[..., 3 : cells + 3] - trios[..., :cells]) / 3
    # What exceeds a clear step counts a little, so that the line settles where the edge is steepest.
    height = np.clip(0.9 / _CLEAR_STEP * contrast, 0.01, 0.9) + 0.1 * np.clip(contrast, 0, 1)
    return near, bare, height * steps


def _padded(values: np.ndarray, before: int, filling: float) -> np.ndarray:
    """As `np.pad` before the last axis, without its overhead."""
    padded = np.full((*values.shape[:-1], before + values.shape[-1]), filling, values.dtype)
    padded[..., before:] = values
    return padded


def _two_of_three(flags: np.ndarray) -> np.ndarray:
    """Whether at least two of every three neighbors along the last axis are set; two shorter than the input."""
    first, second, third = flags[..., :-2], flags[..., 1:-1], flags[..., 2:]
    return (first & (second | third)) | (second & third)


def _along_lines(seen: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """What lines promise that see steps of some heights: the mean over the segments and half the share that is seen.

    seen: (levels, segments, cells), heights. offsets: (shifts, segments), of lines. Returns (levels, shifts, cells).
    """
    levels, segments, cells = seen.shape
    reach = int(np.abs(offsets).max())
    steps = np.flatnonzero(seen > 0)  # few: the sum over them is several times as fast as over all cells
    number, cell = np.divmod(steps, cells)
    level, segment = np.divmod(number, segments)
    width = cells + 2 * reach
    places = (level * len(offsets) + np.arange(len(offsets))[:, None]) * width + cell + reach - offsets[:, segment]
    promise = np.broadcast_to((seen.ravel()[steps] + 0.5) / segments, places.shape)
    sums = np.bincount(places.ravel(), promise.ravel(), levels * len(offsets) * width)
    return sums.reshape(levels, len(offsets), width)[..., reach : reach + cells]
