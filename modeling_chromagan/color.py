"""Color arithmetic on tensors: sRGB <-> CIE Lab <-> network units.

Constants are scikit-image's, so that figures agree with its `rgb2lab`: its six-digit sRGB matrix (the standard's
four-digit one misses by 0.02 Lab units), the inverse computed from it, and the D65 white 0.95047, 1, 1.08883.
Everything is channels-first, differentiable with finite gradients everywhere, and uses elementwise arithmetic only:
matrix products would drop to half precision under autocast and to TF32 on GPUs.
"""

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
import torch

RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
XYZ_TO_RGB = tuple(tuple(row) for row in np.linalg.inv(RGB_TO_XYZ).tolist())
WHITE = (0.95047, 1.0, 1.08883)
LUMINANCE_WEIGHTS = RGB_TO_XYZ[1]

# The joints between the line and the power of the two curves. The slope of each line is the one that meets the power
# at the joint, so that every curve and its inverse agree: 1 / 12.92 and 7.787 to five digits.
SRGB_CODED_JOINT = 0.04045
SRGB_LINEAR_JOINT = ((SRGB_CODED_JOINT + 0.055) / 1.055) ** 2.4
SRGB_SLOPE = SRGB_CODED_JOINT / SRGB_LINEAR_JOINT
LAB_JOINT = 0.008856
LAB_ROOT_JOINT = LAB_JOINT ** (1.0 / 3.0)
LAB_SLOPE = (LAB_ROOT_JOINT - 16.0 / 116.0) / LAB_JOINT

AB_SCALE = 50.0  # Lab units of a or b that networks, critics and losses count as 1

# The encodings between Lab and network units: (value - shift) / scale, for the lightness and for a and b; beside them
# the ends of the outputs that give these.
_ENCODINGS = {
    "unit8": {
        "lightness": (0.0, 100.0),
        "ab": (-128.0, 255.0),
        "outputs": (0.0, 1.0),
    },  # OpenCV's 8-bit Lab divided by 255
    "symmetric": {"lightness": (50.0, 50.0), "ab": (0.0, 110.0), "outputs": (-1.0, 1.0)},
}
COLOR_ENCODINGS = tuple(_ENCODINGS)


def rgb_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """Convert sRGB to CIE Lab (D65).

    `rgb` is (..., 3, H, W) in 0..1; the result has its shape and dtype, L in 0..100, a and b about -110..110.
    Half types are computed in float32. Raises ValueError if there is no axis of three channels before H and W.
    """
    _require_three_channels(rgb, "rgb")
    return _linear_to_lab(_srgb_to_linear(_at_least_float32(rgb))).to(rgb.dtype)


def rgb8_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """`rgb_to_lab` of 8-bit pictures, (..., 3, H, W) uint8, to the bit and faster: float32 of that shape.

    Raises ValueError for another shape or type.
    """
    if rgb.dtype != torch.uint8 or rgb.ndim < 3 or rgb.shape[-3] != 3:
        raise ValueError(f"rgb is {rgb.dtype} of shape {tuple(rgb.shape)}; accepted: torch.uint8, (..., 3, H, W)")
    linear = _srgb_to_linear(torch.arange(256, device=rgb.device) / 255)  # of the 256 values that there are
    return _linear_to_lab(linear.index_select(0, rgb.flatten().int()).view(rgb.shape))


def _linear_to_lab(linear: torch.Tensor) -> torch.Tensor:
    red, green, blue = linear.unbind(-3)
    root_x, root_y, root_z = (
        # Dividing the weights by the white saves a pass over the picture.
        _lab_root((red * (row[0] / white)).add_(green, alpha=row[1] / white).add_(blue, alpha=row[2] / white))
        for row, white in zip(RGB_TO_XYZ, WHITE, strict=True)
    )
    return torch.stack((116.0 * root_y - 16.0, 500.0 * (root_x - root_y), 200.0 * (root_y - root_z)), dim=-3)


def lab_to_rgb(lab: torch.Tensor) -> torch.Tensor:
    """Convert CIE Lab (D65) to sRGB, the inverse of `rgb_to_lab`, without clipping.

    `lab` is (..., 3, H, W); the result has its shape and dtype, in 0..1 for colors inside sRGB and outside of it for
    others. Where a = b = 0 the three channels are equal to the bit. Half types are computed in float32.
    Raises ValueError if there is no axis of three channels before H and W.
    """
    _require_three_channels(lab, "lab")
    lightness, a, b = _at_least_float32(lab).unbind(-3)
    return _linear_to_srgb(torch.stack(_lab_to_linear(lightness, a, b), dim=-3)).to(lab.dtype)


def gray_to_lightness(gray: torch.Tensor) -> torch.Tensor:
    """Convert sRGB-coded gray in 0..1 (any shape) to CIE lightness L in 0..100."""
    return (116.0 * _lab_root(_srgb_to_linear(_at_least_float32(gray))) - 16.0).to(gray.dtype)


def lightness_to_gray(lightness: torch.Tensor) -> torch.Tensor:
    """Convert CIE lightness L in 0..100 (any shape) to sRGB-coded gray in 0..1, the inverse of `gray_to_lightness`."""
    luminance = _lab_unroot((_at_least_float32(lightness) + 16.0) / 116.0)
    return _linear_to_srgb(luminance).to(lightness.dtype)


def lab_to_rgb8(lab: torch.Tensor) -> torch.Tensor:
    """Convert CIE Lab to 8-bit sRGB that keeps the luminance: see `chroma_to_rgb8`.

    `lab` is (..., 3, H, W) with L in 0..100; the result is uint8 of the same shape. Raises ValueError for another
    shape or values that are not finite.
    """
    _require_three_channels(lab, "lab")
    lightness, a, b = lab.detach().float().unbind(-3)
    _require_finite(lightness, a, b)
    return torch.stack(chroma_to_rgb8(luminance_target(lightness_to_gray(lightness)), a, b), dim=-3).byte()


class LuminanceTarget(NamedTuple):
    """What `chroma_to_rgb8` needs to know of the luminance, five float32 planes of one shape.

    `root` is f(Y) of the Lab formulas, `neutral` what it gives back as Y in single precision, `luminance` the
    linear-light Y in 0..1, `lowest` and `highest` the Y half an 8-bit step of sRGB-coded gray below and above it. It
    depends on the gray alone: pictures of 256 or 65,536 gray levels look it up.
    """

    root: torch.Tensor
    neutral: torch.Tensor
    luminance: torch.Tensor
    lowest: torch.Tensor
    highest: torch.Tensor


def luminance_target(gray: torch.Tensor) -> LuminanceTarget:
    """Compute the luminance target of sRGB-coded gray in 0..1 (any shape; clamped to this range)."""
    gray = gray.double().clamp(0.0, 1.0)
    luminance = _srgb_to_linear(gray)
    # A little inside of the half step, so that whoever measures in single precision agrees.
    half_step = 0.4999 / 255.0
    lowest, highest = _srgb_to_linear(gray - half_step), _srgb_to_linear(gray + half_step)
    root = _lab_root(luminance).float()
    return LuminanceTarget(root, _lab_unroot(root), *(plane.float() for plane in (luminance, lowest, highest)))


def chroma_to_rgb8(target: LuminanceTarget, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Give gray pixels the Lab chroma `a`, `b`: three int32 planes of 8-bit sRGB that keep the luminance.

    All planes have one shape, `a` and `b` are float32 in Lab units. Colors outside sRGB lose chroma at constant L and
    hue angle, to within 1/4096 no more than needed. Every channel is rounded to the nearest of its 256 levels; where
    that would move the sRGB-coded luminance by half an 8-bit step or more, the neighbors above and below are searched
    for the nearest color that does not. So 8-bit gray g comes back as round(255 * coded(Y)) = g from every pixel, and
    is (g, g, g) where a = b = 0. Only sums, products and look-ups, so that a pixel's result depends on nothing but the
    pixel.
    """
    linear = _chroma_to_linear(target, a, b)
    lowest, highest = _ends(*linear)
    outside = _positions_beyond(lowest, -_GAMUT_TOLERANCE, highest, 1.0 + _GAMUT_TOLERANCE)
    if len(outside):
        target_outside = LuminanceTarget(*(_picked(plane, outside) for plane in target))
        a, b = _picked(a, outside), _picked(b, outside)
        scale = _gamut_scale(target_outside, a, b)
        fitted = _chroma_to_linear(target_outside, a * scale, b * scale)
        for channel, plane in zip(linear, fitted, strict=True):
            channel.view(-1).index_copy_(0, outside, plane)
    nearest = [_nearest_level(channel) for channel in linear]
    red, green, blue = (look_up(table, level) for table, level in zip(_LEVEL_TO_LUMINANCE, nearest, strict=True))
    rounded = red.add_(green).add_(blue)
    missed = _positions_beyond(rounded, target.lowest, rounded, target.highest)
    if len(missed):
        neighbors = _neighbor_keeping_luminance(
            *(torch.stack([_picked(plane, missed) for plane in planes]) for planes in (linear, nearest)),
            *(_picked(plane, missed) for plane in (target.luminance, target.lowest, target.highest)),
        )
        for level, neighbor in zip(nearest, neighbors, strict=True):
            level.view(-1).index_copy_(0, missed, neighbor)
    return tuple(nearest)


def encode_luminance(lightness: torch.Tensor, encoding: str) -> torch.Tensor:
    """Bring L in 0..100 to network units: L / 100 (`unit8`) or L / 50 - 1 (`symmetric`)."""
    shift, scale = _encoding_of(encoding)["lightness"]
    return (lightness - shift) / scale


def decode_luminance(encoded: torch.Tensor, encoding: str) -> torch.Tensor:
    """Bring encoded luminance back to L in 0..100, the inverse of `encode_luminance`."""
    shift, scale = _encoding_of(encoding)["lightness"]
    return encoded * scale + shift


def encode_ab(ab: torch.Tensor, encoding: str) -> torch.Tensor:
    """Bring a and b to network units: (ab + 128) / 255 (`unit8`) or ab / 110 (`symmetric`)."""
    shift, scale = _encoding_of(encoding)["ab"]
    return (ab - shift) / scale


def decode_ab(encoded: torch.Tensor, encoding: str) -> torch.Tensor:
    """Bring encoded a and b back to Lab units, the inverse of `encode_ab`."""
    shift, scale = _encoding_of(encoding)["ab"]
    return encoded * scale + shift


def output_range(encoding: str, channels: int) -> tuple[float, float]:
    """The ends of what a generator's output takes: of encoded ab, 2 channels, or of RGB, 3."""
    return (0.0, 1.0) if channels == 3 else _encoding_of(encoding)["outputs"]


def reconstruction_to_ab(reconstruction: torch.Tensor, encoding: str) -> torch.Tensor:
    """Bring what a generator gives, of either kind, to a and b in Lab units.

    `reconstruction` is (..., 2, H, W), ab in the units of `encoding`, or (..., 3, H, W), sRGB in 0..1, of which only
    the chroma is taken: the luminance of a result is the photograph's own. The result is (..., 2, H, W) of the same
    dtype. Raises ValueError for another number of channels or another encoding.
    """
    channels = reconstruction.shape[-3] if reconstruction.ndim >= 3 else 0
    if channels not in (2, 3):
        raise ValueError(
            f"reconstruction has shape {tuple(reconstruction.shape)}; "
            "accepted: (..., 2, H, W) encoded ab or (..., 3, H, W) sRGB"
        )
    return decode_ab(reconstruction, encoding) if channels == 2 else rgb_to_lab(reconstruction)[..., 1:, :, :]


@functools.cache
def ab_bins(step: int = 10) -> torch.Tensor:
    """Centers of the squares of the ab plane that sRGB reaches, (260, 2) for the step of 10 Lab units.

    Zhang, Isola and Efros (2016, section 2.1) keep 313 of them, some of which no 8-bit sRGB color falls into. float32,
    on the CPU, sorted by a, then b.
    """
    levels = torch.linspace(0, 1, 52, dtype=torch.float64, device="cpu")
    rgb = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).view(3, -1, 1)
    a, b = (rgb_to_lab(rgb)[1:, :, 0] / step).round().long()  # (52^3,) each
    squares = torch.unique(1024 * a + b)  # sorting numbers takes a hundredth of the time of sorting pairs
    a = (squares + 512).div(1024, rounding_mode="floor")
    return torch.stack((a, squares - 1024 * a), dim=1).float() * step


def luminance_to_unit(encoded: torch.Tensor, encoding: str) -> torch.Tensor:
    """Bring encoded luminance to 0..1 (L / 100), what a generator feeds its trunk whatever the encoding."""
    shift, scale = _encoding_of(encoding)["lightness"]
    return encoded * (scale / 100.0) + shift / 100.0


def _encoding_of(encoding: str) -> dict[str, tuple[float, float]]:
    if encoding not in COLOR_ENCODINGS:
        raise ValueError(f"unknown color encoding {encoding!r}; accepted: {', '.join(COLOR_ENCODINGS)}")
    return _ENCODINGS[encoding]


def _require_three_channels(tensor: torch.Tensor, name: str) -> None:
    if tensor.ndim < 3 or tensor.shape[-3] != 3 or not tensor.is_floating_point():
        raise ValueError(
            f"{name} must be a floating point tensor of shape (..., 3, H, W), "
            f"got {tensor.dtype} of shape {tuple(tensor.shape)}"
        )


def _require_finite(*planes: torch.Tensor) -> None:
    if not all(torch.isfinite(plane).all() for plane in planes):
        raise ValueError("lab must be finite, got NaN or infinite values")


def _at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


# Each curve is a power above its joint and a line below. Written as the power of the clamped argument plus the line of
# what was clamped away, both parts have finite derivatives everywhere (the power of zero has none), no `where` is
# needed (slow on CPUs), and the parts meet without a step.
# The in-place steps act on fresh temporaries whose values no gradient formula needs.


def _srgb_to_linear(coded: torch.Tensor) -> torch.Tensor:
    clamped = coded.clamp(min=SRGB_CODED_JOINT)
    power = (clamped + 0.055).div_(1.055).pow(2.4)
    return power.add_(coded - clamped, alpha=1.0 / SRGB_SLOPE)


def _linear_to_srgb(linear: torch.Tensor) -> torch.Tensor:
    clamped = linear.clamp(min=SRGB_LINEAR_JOINT)
    power = clamped.pow(1.0 / 2.4).mul(1.055).sub_(0.055)
    return power.add_(linear - clamped, alpha=SRGB_SLOPE)


def _lab_root(ratio: torch.Tensor) -> torch.Tensor:
    clamped = ratio.clamp(min=LAB_JOINT)
    return clamped.pow(1.0 / 3.0).add_(ratio - clamped, alpha=LAB_SLOPE)


def _lab_unroot(root: torch.Tensor) -> torch.Tensor:
    clamped = root.clamp(min=LAB_ROOT_JOINT)
    return (clamped * clamped * clamped).add_(root - clamped, alpha=1.0 / LAB_SLOPE)


def _lab_to_linear(lightness: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
    root = (lightness + 16.0) / 116.0
    luminance = _lab_unroot(root)
    return _add_chroma(root, luminance, luminance, luminance * ((a != 0) | (b != 0)), a, b)


def _chroma_to_linear(target: LuminanceTarget, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Linear-light red, green and blue, equal to the bit where a = b = 0."""
    tinted = target.luminance
    if (_compared(a) == 0).any():
        tinted = tinted * ((a != 0) | (b != 0))
    return _add_chroma(target.root, target.neutral, target.luminance, tinted, a, b)


def _add_chroma(
    root: torch.Tensor,
    neutral: torch.Tensor,
    luminance: torch.Tensor,
    tinted: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Linear-light red, green and blue from f(Y), Y and chroma; `tinted` is Y where there is chroma, 0 elsewhere."""
    # Written as gray plus what a and b add, so that nothing is added where they are zero.
    excess_x = _lab_unroot(root.add(a, alpha=1.0 / 500.0)).sub_(neutral).mul_(WHITE[0])
    excess_z = _lab_unroot(root.sub(b, alpha=1.0 / 200.0)).sub_(neutral).mul_(WHITE[2])
    # The matrix' own white differs from WHITE in the fifth digit; gray is exempt from that tint.
    return tuple(
        luminance.add(excess_x, alpha=row[0]).add_(excess_z, alpha=row[2]).add_(tinted, alpha=_dot(row, WHITE) - 1.0)
        for row in XYZ_TO_RGB
    )


def _dot(row: tuple[float, ...], column: tuple[float, ...]) -> float:
    return sum(left * right for left, right in zip(row, column, strict=True))


_GAMUT_TOLERANCE = 1e-6  # in linear light; rounding alone takes white this far outside


def _ends(red: torch.Tensor, green: torch.Tensor, blue: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The lowest and the highest channel of every pixel."""
    return torch.minimum(torch.minimum(red, green), blue), torch.maximum(torch.maximum(red, green), blue)


def _gamut_scale(target: LuminanceTarget, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The factors in 0..1, (N,), that bring the chroma of colors outside sRGB (N,) just inside.

    By bisection, two halvings at a time: the quarters of what is left are tried together, as (3, N).
    """
    scale = torch.zeros_like(a)
    quarter = 0.25
    while quarter >= 1.0 / 4096.0:
        candidates = scale + torch.tensor([[quarter], [2.0 * quarter], [3.0 * quarter]], device=a.device)
        lowest, highest = _ends(*_chroma_to_linear(target, a * candidates, b * candidates))
        first, second, third = ((lowest >= -_GAMUT_TOLERANCE) & (highest <= 1.0 + _GAMUT_TOLERANCE)).float()
        scale.add_(torch.lerp(first, third + 2.0, second), alpha=quarter)
        quarter /= 4.0
    return scale


_LEVEL_TO_LINEAR = _srgb_to_linear(torch.arange(256, dtype=torch.float64, device="cpu") / 255.0).float()
_LEVEL_TO_LUMINANCE = [_LEVEL_TO_LINEAR * weight for weight in LUMINANCE_WEIGHTS]
# The nearest level of linear light in steps of 1 / 65535, fine enough to miss by 0.05 of a level at most.
_LINEAR_TO_LEVEL = (
    _linear_to_srgb(torch.arange(65536, dtype=torch.float64, device="cpu") / 65535.0).mul_(255.0).round_().int()
)


# `index_select` and `index_copy_` where indexing would do: on CPUs they are faster, and do not wait for other threads.


def _positions_beyond(
    low: torch.Tensor, lowest: float | torch.Tensor, high: torch.Tensor, highest: float | torch.Tensor
) -> torch.Tensor:
    """The positions in the flattened planes where `low` is below `lowest` or `high` above `highest`."""
    beyond = (_compared(low) < _compared(lowest)) | (_compared(high) > _compared(highest))
    return (
        torch.from_numpy(np.flatnonzero(beyond)) if low.device.type == "cpu" else beyond.flatten().nonzero().squeeze(1)
    )


def _compared(values: Any) -> Any:
    """`values` as NumPy has them, which compares ten times as fast as torch; on other devices as they are."""
    return values.numpy() if isinstance(values, torch.Tensor) and values.device.type == "cpu" else values


def _picked(plane: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return plane.flatten().index_select(0, positions)


def look_up(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The entries of `table` (N,) at `index` (any shape), on its device."""
    return table.to(index.device).index_select(0, index.flatten()).view(index.shape)


def _nearest_level(linear: torch.Tensor) -> torch.Tensor:
    return look_up(_LINEAR_TO_LEVEL, linear.mul(65535.0).add_(0.5).int())


def _neighbor_keeping_luminance(
    linear: torch.Tensor,
    nearest: torch.Tensor,
    luminance: torch.Tensor,
    lowest: torch.Tensor,
    highest: torch.Tensor,
) -> torch.Tensor:
    """Of the eight levels around each color (3, N), the nearest whose luminance lies in lowest..highest (N)."""
    below = (nearest - (look_up(_LEVEL_TO_LINEAR, nearest) > linear).int()).clamp_(0, 254)
    corners = torch.stack((below, below + 1))
    corner_linear = look_up(_LEVEL_TO_LINEAR, corners)
    fraction = (linear - corner_linear[0]) / (corner_linear[1] - corner_linear[0])
    distance = torch.stack((fraction, 1.0 - fraction)).square_()
    best_cost = torch.full_like(luminance, float("inf"))
    best = nearest.clone()
    for choice in itertools.product((0, 1), repeat=3):
        rounded = sum(corner_linear[choice[i], i] * LUMINANCE_WEIGHTS[i] for i in range(3))
        # If no neighbor were within the half step, the one nearest in luminance would win.
        missed = (rounded < lowest) | (rounded > highest)
        cost = sum(distance[choice[i], i] for i in range(3)) + missed * (10.0 + (rounded - luminance).abs())
        better = cost < best_cost
        best_cost = torch.where(better, cost, best_cost)
        best = torch.where(better, torch.stack([corners[choice[i], i] for i in range(3)]), best)
    return best
