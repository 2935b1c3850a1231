"""Whether a picture is in color already, or gray with a tone: sepia, a faded or stained print, a stamp on it.

Of a toned gray picture the color is a smooth function of lightness, plus something smooth in space where paper has
yellowed or silver has tarnished. So curves of a and b over lightness and a smooth field are fitted to a small copy,
robustly, so that stamps, spots and pencil marks do not bend them, and what remains is judged: how much it is, in one
direction of color or in two, how far it changes where lightness does, as at the edges of things, how far above the
noise; and what tone it would need: how strong, how bent, and whether of a color that gray photographs are toned in.
In dark pictures, as underexposed slides are, the same colors have less chroma, so how dark its brightest parts are
counts too. The edges of the picture, where mounts and color targets are, do not count.
"""

import math

import numpy as np
import torch
from PIL import Image

from ..color import rgb8_to_lab

SIDE = 90  # pixels of the copy's longer side, at most
EDGE = 1 / 8  # of each side, which is left out
KNOTS, RARE = 7, 0.02  # of the curves over lightness; share of the pixels that a knot must have to count
NEAR, WIDE = 3, 7  # sides of the squares of pixels that are averaged
APART, EQUAL = (3, 6), 3.0  # pixels between two that are compared, and levels of lightness that make no difference
ACROSS, SHARPEST = 5, 0.2  # pixels between two on both sides of an edge; share of the pairs that is taken for edges
REPETITIONS, USUAL = 5, 2.5  # of the robust fit; chroma from which a pixel begins to weigh less
BRIGHTEST, NOISIEST = 15.0, 5.0  # chroma to which remainders and their noise are cut, so that spots do not decide
# Hue of sepia in the plane of a and b; opposite lies the blue of cyanotypes.
SEPIA = math.radians(72)
PURPLE = np.array((math.sin(SEPIA), -math.cos(SEPIA)))  # at right angles to both in (a, b); opposite lies green
BRIGHT = 0.98  # quantile of lightness that is taken for the picture's white
STRONG = 30.0  # chroma that no cast of fading dyes reaches, but the blue of cyanotypes does

# Of the logarithms that `color_features` gives, as `benchmarks/already_color.py --fit` prints them for photographs in
# color, as they are, faded and as old slides, and for the same in gray, toned and damaged.
WEIGHTS = (-0.42, 2.66, 0.87, 4.05, -4.55, -2.76, -5.46, 1.79, 1.12, 1.0, 4.64)
BIAS = 20.16


def shows_color(colors: Image.Image | np.ndarray) -> bool:
    """Whether an sRGB picture (mode RGB, or (H, W, 3) uint8) has colors of its own, not only the tone of a gray one.

    A photograph that was colored by hand has; one that is nearly gray may be taken for toned.
    """
    return float(np.dot(WEIGHTS, color_features(colors))) + BIAS > 0


def color_features(colors: Image.Image | np.ndarray) -> np.ndarray:
    """What the decision rests on: logarithms of eleven amounts, all but the last of Lab chroma, (11,).

    Of what remains of the color, averaged over 7 x 7 pixels: its 80th percentile, its two principal deviations. Of the
    same averaged over 3 x 3: how far it changes across edges, at the median; what that averaging took away. Of the
    curve over lightness: its largest chroma, the same where it is above STRONG, and its sharpest bend, since no toning
    goes from one color to another within a few levels. How far the mean color lies off the line from sepia to
    cyanotype. Of pixels near one another and of one lightness: how far their colors are apart, at the median, between
    green and purple alone, where paper and silver hardly change. How dark the brightest parts are.
    """
    picture = Image.fromarray(colors) if isinstance(colors, np.ndarray) else colors
    factor = math.ceil(max(picture.size) / SIDE)
    small = np.array(picture.reduce(factor) if factor > 1 and min(picture.size) > factor else picture)
    lab = rgb8_to_lab(torch.from_numpy(small).permute(2, 0, 1)[None])[0].double().numpy()  # (3, h, w)
    down, across = (int(side * EDGE) for side in lab.shape[1:])
    lab = lab[:, down : lab.shape[1] - down, across : lab.shape[2] - across]
    curves, field = _design(lab)
    tone, remainder = _fit(np.hstack([curves, field]), lab[1:].reshape(2, -1).T, curves.shape[1])
    tone = tone[curves.mean(axis=0) > RARE]
    planes = remainder.T.reshape(2, *lab.shape[1:])
    smooth, smoother = _averaged(planes, NEAR), _averaged(planes, WIDE)
    deviations = np.linalg.eigvalsh(np.cov(np.clip(smoother.reshape(2, -1), -BRIGHTEST, BRIGHTEST), bias=True))
    strongest = np.hypot(*tone.T).max(initial=0) + 0.5
    amounts = (
        np.quantile(np.hypot(*smoother), 0.8) + 0.05,
        *(np.sqrt(np.maximum(deviations, 0)) + 0.1),
        np.median(_changes_across_edges(smooth, _averaged(lab[:1], NEAR)[0])) + 0.05,
        np.sqrt(np.square(np.minimum(np.hypot(*(planes - smooth)), NOISIEST)).mean()) + 0.05,
        strongest,
        max(strongest, STRONG),
        np.hypot(*np.diff(tone, 2, axis=0).T).max(initial=0) + 0.5,
        abs(PURPLE @ lab[1:].mean(axis=(1, 2))) + 1,
        np.median(_equals_apart(lab)) + 0.05,
        # The exposure by which the brightest become white multiplies chroma by this.
        116 / (np.quantile(lab[0], BRIGHT) + 16),
    )
    return np.log(amounts)


def _design(lab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Functions of lightness, (n, KNOTS), and smooth fields, alone and growing with lightness, (n, 10)."""
    lightness = lab[0].ravel()
    knots, step = np.linspace(lightness.min(), max(lightness.max(), lightness.min() + 1), KNOTS, retstep=True)
    curves = np.clip(1 - np.abs(lightness[:, np.newaxis] - knots) / step, 0, 1)
    y, x = (
        plane.ravel() for plane in np.meshgrid(*(np.linspace(-1, 1, side) for side in lab.shape[1:]), indexing="ij")
    )
    field = np.stack([x, y, x * x, x * y, y * y], axis=1)
    return curves, np.hstack([field, field * (lightness[:, np.newaxis] / 100)])


def _fit(design: np.ndarray, ab: np.ndarray, curves: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors of the first `curves` functions, (curves, 2), and what all leave of ab, (n, 2); weights are Cauchy's."""
    weights = np.ones((len(design), 1))
    ridge = 1e-3 * len(design) * np.eye(design.shape[1])
    for _ in range(REPETITIONS):
        weighted = design * weights
        factors = np.linalg.solve(design.T @ weighted + ridge, weighted.T @ ab)
        remainder = ab - design @ factors
        weights = 1 / (1 + np.square(remainder / USUAL).sum(axis=1, keepdims=True))
    return factors[:curves], remainder


def _averaged(planes: np.ndarray, side: int) -> np.ndarray:
    """Means over squares of pixels, `side` odd, of (n, h, w); the edge goes on as it is."""
    before, after = side // 2 + 1, side // 2
    sums = np.pad(planes, ((0, 0), (before, after), (before, after)), mode="edge").cumsum(axis=1).cumsum(axis=2)
    rows = sums[:, side:] - sums[:, :-side]
    return (rows[..., side:] - rows[..., :-side]) / side**2


def _changes_across_edges(ab: np.ndarray, lightness: np.ndarray) -> np.ndarray:
    """Differences of ab between pixels a few apart, across and down, whose lightness differs most; at least one."""
    steps, changes = [np.zeros(1)], [np.zeros(1)]
    for axis in (0, 1):
        ordered, of_ab = np.moveaxis(lightness, axis, 0), np.moveaxis(ab, axis + 1, 1)
        steps.append(np.abs(ordered[ACROSS:] - ordered[:-ACROSS]).ravel())
        changes.append(np.hypot(*(of_ab[:, ACROSS:] - of_ab[:, :-ACROSS])).ravel())
    step = np.concatenate(steps)
    return np.concatenate(changes)[step >= np.quantile(step, 1 - SHARPEST)]


def _equals_apart(lab: np.ndarray) -> np.ndarray:
    """Differences from green to purple between pixels a few apart, across and down, of one lightness; at least one."""
    found = [np.zeros(1)]
    for apart in APART:
        for axis in (1, 2):
            ordered = np.moveaxis(lab, axis, 1)
            change = ordered[:, apart:] - ordered[:, :-apart]
            found.append(np.abs(PURPLE @ change[1:, np.abs(change[0]) < EQUAL]))
    return np.concatenate(found)
