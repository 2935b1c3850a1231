"""Finds the picture inside a scan by the straight edges of its near-uniform margins (film rebates, mounts, paper).

The search runs on a copy of at most 512 pixels a side. Each side is turned so that it lies on the left and cut into
short segments along its length. Every straight line up to a quarter deep, also slightly slanted, is then asked three
things: is the strip outside it at one level (writing and notches are forgiven), does the picture leave that level
exactly there, and along how much of the side? Sides that agree about level and angle vouch for each other, because
margins on several sides hardly happen in a photograph, while a straight horizon under a blank sky does: a margin on a
single side has to be near-perfect. Nested margins are peeled one after the other. A missed frame costs some color, a
cut picture costs part of the picture: in doubt it stays whole.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

SIDES = ("left", "top", "right", "bottom")
_OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
_SCALES = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}

_WORKING_SIDE = 512
_SMALLEST_SIDE = 16
_DEEPEST = 0.25  # of a side, all nested margins together
_STEEPEST = 0.035  # depth gained per unit of length: two degrees
_MOST_LAYERS = 4

# Brightness from here on is in shares of the picture's own tonal range.
_LEAST_RANGE = 0.04  # of full scale: a picture with less is uniform everywhere
_DARK, _LIGHT = 0.25, 0.75  # margins between are gray mounts
_CLEAR_STEP = 0.2  # a step of this height counts fully, a lower one in proportion
_TOLERANCES = (0.03, 0.10)  # how far a margin's pixels stray from its level: 3.5 stds within these limits


@dataclass(frozen=True)
class _Line:
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


def find_borders(gray: np.ndarray) -> tuple[int, int, int, int]:
    """The picture inside its near-uniform margins, as (left, top, right, bottom), right and bottom exclusive.

    gray: (H, W) luminance, uint8, uint16 or float32 in 0..1, any size. Margins are dark or light, up to a quarter of a
    side each, nested or on one side only, with writing and notches in them, slightly rotated, grainy; of a slanted
    margin a thin wedge stays inside, so that the picture is not cut. Without margins, and where everything is uniform,
    the full rectangle. Raises ValueError for other shapes and types.
    """
    if gray.ndim != 2 or gray.dtype.name not in _SCALES:
        raise ValueError(f"gray: {gray.dtype} {gray.shape}, expected (H, W) in uint8, uint16 or float32")
    height, width = gray.shape
    if min(height, width) < _SMALLEST_SIDE:
        return 0, 0, width, height
    small, row_edges, column_edges = _reduced(gray)
    darkest, lightest = np.percentile(small, (0.5, 99.5))
    if lightest - darkest < _LEAST_RANGE:
        return 0, 0, width, height
    small = (small - darkest) / max(lightest - darkest, _DARK)

    margins = dict.fromkeys(SIDES, 0)
    found: dict[str, _Line] = {}
    for _ in range(_MOST_LAYERS):
        layer = _next_layer(small, margins, found)
        if not layer:
            break
        found |= layer
        margins |= {side: int(np.median(line.depths)) for side, line in layer.items()}
    cut = {side: _full_size_depth(gray, line, row_edges, column_edges) for side, line in found.items()}
    return cut.get("left", 0), cut.get("top", 0), width - cut.get("right", 0), height - cut.get("bottom", 0)


def _reduced(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Area average in 0..1 with at most 512 pixels a side, and the full-size edges of its rows and columns."""
    factor = max(1.0, max(gray.shape) / _WORKING_SIDE)
    rows, columns = (
        np.rint(np.linspace(0, size, max(1, round(size / factor)) + 1)).astype(np.intp) for size in gray.shape
    )
    # Strip by strip: reducing the whole picture at once makes a float copy of it first.
    strips = (gray[top:bottom].sum(axis=0, dtype=np.float32) for top, bottom in pairwise(rows))
    small = np.stack([np.add.reduceat(strip, columns[:-1]) for strip in strips])
    small /= np.outer(np.diff(rows), np.diff(columns)) * _SCALES[gray.dtype.name]
    return small, rows, columns


def _turned(picture: np.ndarray, side: str) -> np.ndarray:
    """A view with the given side on the left: (length along the side, depth into the picture)."""
    if side in ("top", "bottom"):
        picture = picture.T
    return picture[:, ::-1] if side in ("right", "bottom") else picture


def _next_layer(small: np.ndarray, margins: dict[str, int], found: dict[str, _Line]) -> dict[str, _Line]:
    """The next margins inside those already found; empty if there are none."""
    # The corners belong to two margins at once. So first look at the middle of each side, which no margin of the
    # neighbors reaches, then again along exactly the length that the neighbors' lines leave.
    ends = {side: round(_turned(small, side).shape[1] * _DEEPEST) for side in SIDES}
    candidates = {side: _best_lines(small, side, margins, ends) for side in SIDES}
    layer = _believed(candidates, found)
    if not layer:
        return {}
    surest = max(layer.values(), key=_certainty)
    ends = dict(margins)
    for side, lines in candidates.items():
        line = layer.get(side) or lines.get(surest.kind)
        if line and (side in layer or (line.foreign <= 0.1 and _agree(line, surest))):
            ends[side] = int(line.depths.max())
    candidates = {side: _best_lines(small, side, margins, ends) for side in SIDES}
    kind = surest.kind
    return _believed({side: {kind: lines[kind]} for side, lines in candidates.items() if kind in lines}, found)


def _best_lines(small: np.ndarray, side: str, margins: dict[str, int], ends: dict[str, int]) -> dict[str, _Line]:
    """The best line of each kind on one side, between the ends that the neighboring sides leave."""
    turned = _turned(small, side)
    length, depth = turned.shape
    before, after = ("top", "bottom") if side in ("left", "right") else ("left", "right")
    begin, end, start = ends[before], length - ends[after], margins[side]
    strip = turned[begin:end, start : depth - margins[_OPPOSITE[side]]]
    deepest = min(int(depth * _DEEPEST) + 1 - start, strip.shape[1] - 4)
    if deepest < 1 or end - begin < _SMALLEST_SIDE // 2:
        return {}

    # Every line is a depth and a shift from end to end (every second one, as evidence has a pixel of leeway).
    segments = int(np.clip((end - begin) // 8, 4, 32))
    bounds = np.rint(np.linspace(0, end - begin, segments + 1)).astype(np.intp)
    most = int(_STEEPEST * (end - begin)) // 2 * 2
    shifts = np.arange(-most, most + 1, 2)
    offsets = np.rint(np.outer(shifts, (bounds[:-1] + bounds[1:]) / 2 / (end - begin) - 0.5)).astype(np.intp)
    pad = most // 2 + 2
    cells = deepest + 2 * pad  # the depths -pad .. deepest + pad - 1 that slanted lines reach
    lines = (np.arange(segments) * cells + offsets + pad)[:, :, None] + np.arange(1, deepest + 1)

    strip = strip[:, : deepest + pad + 4]
    strip = np.pad(strip, ((0, 0), (0, deepest + pad + 4 - strip.shape[1])), mode="edge")
    quantiles = np.stack([np.quantile(strip[a:b], (0.3, 0.5, 0.7), axis=0) for a, b in pairwise(bounds)], axis=1)
    columns = np.median(strip[:, :deepest], axis=0)
    stds = 1.4826 * np.median(np.abs(strip[:, :deepest] - columns), axis=0)

    best: dict[str, _Line] = {}
    tried = set()
    for band in (slice(max(0, last - 6), last) for last in range(1, deepest + 1)):
        level = float(np.median(columns[band]))
        tolerance = float(np.clip(3.5 * np.median(stds[band]), *_TOLERANCES))
        kind = "dark" if level <= _DARK else "light" if level >= _LIGHT else "gray"
        if (kind, round(level / 0.03), round(tolerance / 0.03)) in tried:
            continue
        tried.add((kind, round(level / 0.03), round(tolerance / 0.03)))

        near, bare, heights = _evidence(quantiles, kind, level, tolerance, pad, cells)
        leeway = heights.copy()
        leeway[:, 1:] = np.maximum(leeway[:, 1:], 0.95 * heights[:, :-1])
        leeway[:, :-1] = np.maximum(leeway[:, :-1], 0.95 * heights[:, 1:])
        seen = leeway.ravel()[lines]  # (shifts, segments, depths)
        strength, coverage = seen.mean(axis=1), (seen > 0).mean(axis=1)
        promise = strength + 0.5 * coverage - 0.1 * np.abs(shifts)[:, None] / max(most, 1)
        rows = np.argmax(promise, axis=0)  # the best shift at each depth
        every = np.arange(deepest)
        depths = offsets[rows].T + every + 1  # (segments, depths)
        # Up to two pixels before the line do not count: soft and ringing edges reach into the margin.
        counted = np.clip(depths - np.clip(depths // 4, 0, 2), 0, near.shape[1])
        at_level = np.pad(np.cumsum(near + 0.5 * bare, axis=1), ((0, 0), (1, 0)))
        foreign = 1 - np.take_along_axis(at_level, counted, axis=1).sum(axis=0) / np.maximum(counted.sum(axis=0), 1)
        extremity = {"dark": max(level, 0), "light": max(1 - level, 0), "gray": _DARK}[kind]
        score = promise[rows, every] - 2 * foreign - 0.5 * extremity
        pick = int(np.argmax(score))
        if kind in best and best[kind].score >= score[pick]:
            continue
        row, depths = rows[pick], depths[:, pick]
        outside = np.concatenate([quantiles[1, k, : max(1, depths[k] - (depths[k] > 2))] for k in range(segments)])
        low, middle, high = np.quantile(outside, (0.1, 0.5, 0.9))
        best[kind] = _Line(
            side=side,
            kind=kind,
            level=float(middle),
            spread=float(high - low),
            depths=depths + start,
            bounds=bounds + begin,
            seen=seen[row, :, pick] > 0,
            strength=float(strength[row, pick]),
            coverage=float(coverage[row, pick]),
            exact=float((heights.ravel()[lines[row, :, pick]] > 0).mean()),
            foreign=float(foreign[pick]),
            score=float(score[pick]),
        )
    return best


def _evidence(
    quantiles: np.ndarray, kind: str, level: float, tolerance: float, pad: int, cells: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where segments are at a margin's level, where at the other end of the range, and how high they step off it.

    quantiles: (3, segments, depths), the 30th, 50th and 70th percentile. Returns two (segments, depths) booleans, and
    (segments, cells) heights in 0..1 of the step at the depths -pad and on, 0 where there is none. The other end is
    the light through perforation and scratched writing, or the ink on paper.
    """
    low, middle, high = quantiles
    if kind == "dark":
        rise = middle - level
        near, bare = high <= level + tolerance, low >= 0.85
    elif kind == "light":
        rise = level - middle
        near, bare = low >= level - tolerance, high <= 0.15
    else:
        rise = np.abs(middle - level)
        near = (low >= level - tolerance) & (high <= level + tolerance)
        bare = np.zeros_like(near)
    # Two of the three pixels before the line are at the level and two of three behind it are off: resampling and JPEG
    # leave a soft or ringing edge. Beyond the rim everything is margin.
    steps = _two_of_three(np.pad(near, ((0, 0), (pad + 3, 0)), constant_values=True))[:, :cells]
    steps &= _two_of_three(np.pad(rise > tolerance + 0.03, ((0, 0), (pad, 0))))[:, :cells]
    outside = np.pad(rise, ((0, 0), (pad + 3, 0)))
    inside = outside[:, 3:]
    contrast = sum(inside[:, k : k + cells] - outside[:, k : k + cells] for k in range(3)) / 3
    # What exceeds a clear step counts a little, so that the line settles where the edge is steepest.
    height = np.clip(0.9 * contrast / _CLEAR_STEP, 0.01, 0.9) + 0.1 * np.clip(contrast, 0, 1)
    return near, bare, np.where(steps, height, 0)


def _two_of_three(flags: np.ndarray) -> np.ndarray:
    """Whether at least two of every three neighbors along the last axis are set; two shorter than the input."""
    first, second, third = flags[:, :-2], flags[:, 1:-1], flags[:, 2:]
    return (first & second) | (second & third) | (first & third)


def _believed(candidates: dict[str, dict[str, _Line]], found: dict[str, _Line]) -> dict[str, _Line]:
    """The lines of one kind that are believed, of the kind with the most evidence; empty if none is.

    Margins of the same kind that were found before, on other sides, are witnesses too.
    """
    layers: list[tuple[float, dict[str, _Line]]] = [(0.0, {})]
    for kind in ("dark", "light", "gray"):
        lines = {side: kinds[kind] for side, kinds in candidates.items() if kind in kinds and _extreme(kinds[kind])}
        if not lines:
            continue
        witnesses = {side: line for side, line in found.items() if line.kind == kind} | lines
        surest = max(witnesses.values(), key=_certainty)
        votes = sum(line.coverage for line in witnesses.values() if _agree(line, surest) and _vouched(line, surest))
        lines = {side: line for side, line in lines.items() if _agree(line, surest) and _vouched(line, surest)}
        if votes < 2.2:
            clear = {
                side: line
                for side, line in lines.items()
                if line.coverage >= 0.85 and line.strength >= 0.6 and line.foreign <= 0.2 and kind != "gray"
            }
            lines = clear if len(clear) >= 2 else {side: line for side, line in clear.items() if _perfect(line)}
        if lines:
            layers.append((votes, lines))
    return max(layers, key=lambda entry: entry[0])[1]


def _certainty(line: _Line) -> float:
    return line.coverage - line.foreign


def _extreme(line: _Line) -> bool:
    return {
        "dark": line.level <= 0.2,
        "light": line.level >= 0.8,
        "gray": line.spread <= 0.06 and line.depths.mean() >= 4,
    }[line.kind]


def _vouched(line: _Line, surest: _Line) -> bool:
    """Whether a line that agrees with a sure one is good enough."""
    if line.exact < 0.4 * line.coverage:
        return False
    if line.spread <= 0.02 and line.foreign <= 0.02 and abs(line.level - surest.level) <= 0.03:
        return line.strength >= 0.1 and line.coverage >= 0.25
    return line.strength >= 0.2 and line.coverage >= (0.4 if line.spread <= 0.12 else 0.7) and line.foreign <= 0.4


def _perfect(line: _Line) -> bool:
    """Good enough to be a margin on its own."""
    if line.exact < 0.8 or line.coverage < 0.9 or abs(line.rotation) > 0.01:
        return False
    if line.spread <= 0.01 and line.foreign <= 0.01:
        return True
    return (line.level <= 0.1 or line.level >= 0.92) and line.spread <= 0.03 and line.foreign <= 0.1


def _agree(line: _Line, other: _Line) -> bool:
    """Whether two margins can belong to the same frame."""
    leeway = 0.06 if line.kind == "gray" else 0.12
    return abs(line.level - other.level) <= leeway and abs(line.rotation - other.rotation) <= 0.012


def _full_size_depth(gray: np.ndarray, line: _Line, row_edges: np.ndarray, column_edges: np.ndarray) -> int:
    """The line's depth in full-size pixels at its outer end, measured in the segments where it was seen."""
    turned = _turned(gray, line.side)
    across, along = (column_edges, row_edges) if line.side in ("left", "right") else (row_edges, column_edges)
    if line.side in ("right", "bottom"):
        across = across[-1] - across[::-1]
    depths = []
    for segment in np.flatnonzero(line.seen):
        first = across[max(0, line.depths[segment] - 2)]
        last = across[min(len(across) - 1, line.depths[segment] + 4)]
        begin, end = along[line.bounds[segment]], along[line.bounds[segment + 1]]
        profile = turned[begin:end, first:last].mean(axis=0, dtype=np.float64)
        rim = max(1, len(profile) // 6)
        outside, inside = profile[:rim].mean(), profile[-rim:].mean()
        crossed = (profile - outside) * np.sign(inside - outside) >= 0.5 * abs(inside - outside)
        depths.append(first + int(np.argmax(crossed)))
    return int(np.quantile(depths, 0.1))
