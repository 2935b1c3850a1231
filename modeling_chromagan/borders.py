"""Finds the picture inside a scan by the straight edges of its near-uniform margins (film rebates, mounts, paper).

The search runs on a copy of at most 512 pixels a side. Each side is turned so that it lies on the left and cut into
short segments along its length. Every straight line up to a quarter deep, also slightly slanted, is then asked three
things: is the strip outside it at one level (writing and notches are forgiven), does the picture leave that level
exactly there, and along how much of the side? Sides that agree about level and angle vouch for each other, because
margins on several sides hardly happen in a photograph, while a straight horizon under a blank sky does: a margin on a
single side has to be near-perfect. Nested margins are peeled one after the other. A missed frame costs some color, a
cut picture costs part of the picture: in doubt it stays whole.
"""

from itertools import pairwise

import numpy as np

from .border_lines import DARK, DEEPEST, SMALLEST_SIDE, Line, best_lines, quantiles_of, turned_to

SIDES = ("left", "top", "right", "bottom")
_SCALES = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}

_WORKING_SIDE = 512
_MOST_LAYERS = 4
_LEAST_RANGE = 0.04  # of full scale: a picture whose tones span less is uniform everywhere


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
    if min(height, width) < SMALLEST_SIDE:
        return 0, 0, width, height
    small, row_edges, column_edges = _reduced(gray)
    darkest, lightest = quantiles_of(small.ravel(), (0.005, 0.995))
    if lightest - darkest < _LEAST_RANGE:
        return 0, 0, width, height
    small = (small - darkest) / max(lightest - darkest, DARK)

    margins = dict.fromkeys(SIDES, 0)
    found: dict[str, Line] = {}
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
    strips = np.empty((len(rows) - 1, gray.shape[1]), np.float32)
    for strip, (top, bottom) in zip(strips, pairwise(rows), strict=True):
        gray[top:bottom].sum(axis=0, out=strip)
    small = np.add.reduceat(strips, columns[:-1], axis=1)
    scale = np.float32(_SCALES[gray.dtype.name])
    small /= np.outer(np.diff(rows).astype(np.float32), np.diff(columns).astype(np.float32) * scale)
    return small, rows, columns


def _next_layer(small: np.ndarray, margins: dict[str, int], found: dict[str, Line]) -> dict[str, Line]:
    """The next margins inside those already found; empty if there are none."""
    # The corners belong to two margins at once. So first look at the middle of each side, which no margin of the
    # neighbors reaches, then again along exactly the length that the neighbors' lines leave.
    ends = {side: round(turned_to(small, side).shape[1] * DEEPEST) for side in SIDES}
    candidates = {side: best_lines(small, side, margins, ends) for side in SIDES}
    layer = _believed(candidates, found)
    if not layer:
        return {}
    surest = max(layer.values(), key=_certainty)
    ends = dict(margins)
    for side, lines in candidates.items():
        line = layer.get(side) or lines.get(surest.kind)
        if line and (side in layer or (line.foreign <= 0.1 and _agree(line, surest))):
            ends[side] = int(line.depths.max())
    candidates = {side: best_lines(small, side, margins, ends) for side in SIDES}
    kind = surest.kind
    return _believed({side: {kind: lines[kind]} for side, lines in candidates.items() if kind in lines}, found)


def _believed(candidates: dict[str, dict[str, Line]], found: dict[str, Line]) -> dict[str, Line]:
    """The lines of one kind that are believed, of the kind with the most evidence; empty if none is.

    Margins of the same kind that were found before, on other sides, are witnesses too.
    """
    layers: list[tuple[float, dict[str, Line]]] = [(0.0, {})]
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


def _certainty(line: Line) -> float:
    return line.coverage - line.foreign


def _extreme(line: Line) -> bool:
    return {
        "dark": line.level <= 0.2,
        "light": line.level >= 0.8,
        "gray": line.spread <= 0.06 and line.depths.mean() >= 4,
    }[line.kind]


def _vouched(line: Line, surest: Line) -> bool:
    """Whether a line that agrees with a sure one is good enough."""
    if line.exact < 0.4 * line.coverage:
        return False
    if line.spread <= 0.02 and line.foreign <= 0.02 and abs(line.level - surest.level) <= 0.03:
        return line.strength >= 0.1 and line.coverage >= 0.25
    return line.strength >= 0.2 and line.coverage >= (0.4 if line.spread <= 0.12 else 0.7) and line.foreign <= 0.4


def _perfect(line: Line) -> bool:
    """Good enough to be a margin on its own."""
    if line.exact < 0.8 or line.coverage < 0.9 or abs(line.rotation) > 0.01:
        return False
    if line.spread <= 0.01 and line.foreign <= 0.01:
        return True
    return (line.level <= 0.1 or line.level >= 0.92) and line.spread <= 0.03 and line.foreign <= 0.1


def _agree(line: Line, other: Line) -> bool:
    """Whether two margins can belong to the same frame."""
    leeway = 0.06 if line.kind == "gray" else 0.12
    return abs(line.level - other.level) <= leeway and abs(line.rotation - other.rotation) <= 0.012


def _full_size_depth(gray: np.ndarray, line: Line, row_edges: np.ndarray, column_edges: np.ndarray) -> int:
    """The line's depth in full-size pixels at its outer end, measured in the segments where it was seen."""
    turned = turned_to(gray, line.side)
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
