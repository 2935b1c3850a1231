"""RGB spaces, and colors in them, of 8 or 16 bits, that keep the luminance of the gray pixels they are given to."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from .color import (
    LUMINANCE_WEIGHTS,
    SRGB_MIXING,
    add_chroma,
    lab_root,
    lab_unroot,
    lightness_to_gray,
    linear_to_srgb,
    require_three_channels,
    srgb_to_linear,
)

DEPTHS = (8, 16)  # bits of a channel

ROOT_STEPS = 1 << 18  # of the table from square roots of linear light to codes: a sixth of a 16-bit code off at most


class CodeTables(NamedTuple):
    """Linear light to the nearest code of one depth, and back.

    `nearest` has the code of evenly spaced linear light, or of evenly spaced square roots of it, which are finer near
    black. `to_linear` has the linear light of the 256 codes, `to_luminance` for each channel their part of the
    luminance; neither is needed of 16 bits. Linear light may be `tolerance` outside 0..1.
    """

    nearest: torch.Tensor
    by_root: bool
    tolerance: float
    to_linear: torch.Tensor | None = None
    to_luminance: list[torch.Tensor] | None = None


@dataclass(frozen=True, eq=False)
class RGBSpace:
    """A space of red, green and blue whose grays are R = G = B, with one tone curve for the three channels.

    name: what messages call it.
    mixing: linear light of the channels from luminance and chroma, see `color.add_chroma`.
    weights: the channels' parts of the luminance, of sum 1; in a space of an ICC profile relative to D50.
    decode: codes 0..1 to linear light, any shape, float64; below 0 and above 1 it goes on.
    encode: the inverse.
    """

    name: str
    mixing: tuple[tuple[float, float, float], ...]
    weights: tuple[float, float, float]
    decode: Callable[[torch.Tensor], torch.Tensor]
    encode: Callable[[torch.Tensor], torch.Tensor]

    @functools.cached_property
    def eight_bits(self) -> CodeTables:
        """The tables of 8-bit codes."""
        to_linear = self.decode(torch.arange(256, dtype=torch.float64) / 255.0).float()
        to_luminance = [to_linear * weight for weight in self.weights]
        if self is SRGB:
            # The curve is straight near black: even steps of 1 / 65535 miss by 0.05 of a level at most. Rounding alone
            # takes white 1e-6 outside of the space.
            levels = self.encode(torch.arange(65536, dtype=torch.float64) / 65535.0).mul_(255.0).round_().int()
            return CodeTables(levels, False, 1e-6, to_linear, to_luminance)
        return CodeTables(self._codes_by_root(255), True, 0.0, to_linear, to_luminance)

    @functools.cached_property
    def sixteen_bits(self) -> CodeTables:
        """The tables of 16-bit codes."""
        return CodeTables(self._codes_by_root(65535), True, 0.0)

    def _codes_by_root(self, white: int) -> torch.Tensor:
        roots = torch.arange(ROOT_STEPS + 1, dtype=torch.float64) / ROOT_STEPS
        return self.encode(roots.square()).mul_(white).round_().clamp_(0, white).int()


SRGB = RGBSpace("sRGB", SRGB_MIXING, LUMINANCE_WEIGHTS, srgb_to_linear, linear_to_srgb)


class LuminanceTarget(NamedTuple):
    """What `chroma_to_codes` needs to know of the luminance, float32 planes of one shape.

    `root` is f(Y) of the Lab formulas, `neutral` what it gives back as Y in single precision, `luminance` the
    linear-light Y in 0..1; for 8 bits `lowest` and `highest` are the Y half a step below and above its code. It
    depends on the gray alone: pictures of 256 or 65,536 gray levels look it up.
    """

    root: torch.Tensor
    neutral: torch.Tensor
    luminance: torch.Tensor
    lowest: Any = None
    highest: Any = None


def luminance_target(luminance: torch.Tensor, code: torch.Tensor, space: RGBSpace, depth: int) -> LuminanceTarget:
    """The target of linear-light luminance in 0..1 (any shape, float64), whose code 0..1 in `space` is `code`."""
    root = lab_root(luminance).float()
    target = LuminanceTarget(root, lab_unroot(root), luminance.float())
    if depth == 16:
        return target
    # A little inside of the half step, so that whoever measures in single precision agrees.
    half_step = 0.4999 / 255.0
    lowest, highest = (space.decode(code + step).float() for step in (-half_step, half_step))
    return target._replace(lowest=lowest, highest=highest)


def lab_to_rgb8(lab: torch.Tensor) -> torch.Tensor:
    """Convert CIE Lab to 8-bit sRGB that keeps the luminance: see `chroma_to_codes`.

    `lab` is (..., 3, H, W) with L in 0..100; the result is uint8 of the same shape. Raises ValueError for another
    shape or values that are not finite.
    """
    require_three_channels(lab, "lab")
    lightness, a, b = lab.detach().float().unbind(-3)
    if not all(torch.isfinite(plane).all() for plane in (lightness, a, b)):
        raise ValueError("lab must be finite, got NaN or infinite values")
    gray = lightness_to_gray(lightness).double().clamp(0.0, 1.0)
    target = luminance_target(srgb_to_linear(gray), gray, SRGB, 8)
    return torch.stack(chroma_to_codes(target, a, b), dim=-3).byte()


def chroma_to_codes(
    target: LuminanceTarget, a: torch.Tensor, b: torch.Tensor, space: RGBSpace = SRGB, depth: int = 8
) -> tuple[torch.Tensor, ...]:
    """Give gray pixels the Lab chroma `a`, `b`: three int32 planes of codes of `space` that keep the luminance.

    All planes have one shape, `a` and `b` are float32 in Lab units. Colors outside the space lose chroma at constant
    L and hue angle, to within 1/4096 no more than needed. Every channel is rounded to the nearest of its levels.

    With 16 bits that moves the coded luminance by half a step at most: the derivative of the inverse curve is concave
    in linear light, so that the mean of the channels' errors, weighted by their parts of the luminance and by that
    derivative, is no larger than the largest one. The tables add a sixth of a step.

    With 8 bits, where rounding would move the coded luminance by half a step or more, the neighbors above and below
    are searched for the nearest color that does not. So 8-bit gray g comes back as round(255 * coded(Y)) = g from
    every pixel, and is (g, g, g) where a = b = 0. Only sums, products, square roots and look-ups, so that a pixel's
    result depends on nothing but the pixel.
    """
    tables = space.eight_bits if depth == 8 else space.sixteen_bits
    linear = _chroma_to_linear(target, a, b, space)
    lowest, highest = _ends(*linear)
    outside = _positions_beyond(lowest, -tables.tolerance, highest, 1.0 + tables.tolerance)
    if len(outside):
        target_outside = LuminanceTarget(*(_picked(plane, outside) for plane in target[:3]))
        a, b = _picked(a, outside), _picked(b, outside)
        scale = _gamut_scale(target_outside, a, b, space, tables.tolerance)
        fitted = _chroma_to_linear(target_outside, a * scale, b * scale, space)
        for channel, plane in zip(linear, fitted, strict=True):
            channel.view(-1).index_copy_(0, outside, plane)
    nearest = tuple(_nearest_code(channel, tables) for channel in linear)
    if tables.to_linear is None or tables.to_luminance is None:
        return nearest
    red, green, blue = (look_up(table, code) for table, code in zip(tables.to_luminance, nearest, strict=True))
    rounded = red.add_(green).add_(blue)
    missed = _positions_beyond(rounded, target.lowest, rounded, target.highest)
    if len(missed):
        neighbors = _neighbor_keeping_luminance(
            torch.stack([_picked(plane, missed) for plane in linear]),
            torch.stack([_picked(plane, missed) for plane in nearest]),
            LuminanceTarget(*(_picked(plane, missed) for plane in target)),
            tables.to_linear,
            space.weights,
        )
        for code, neighbor in zip(nearest, neighbors, strict=True):
            code.view(-1).index_copy_(0, missed, neighbor)
    return nearest


def _chroma_to_linear(
    target: LuminanceTarget, a: torch.Tensor, b: torch.Tensor, space: RGBSpace
) -> tuple[torch.Tensor, ...]:
    tinted = target.luminance
    if (_compared(a) == 0).any():
        tinted = tinted * ((a != 0) | (b != 0))
    return add_chroma(target.root, target.neutral, target.luminance, tinted, a, b, space.mixing)


def _ends(red: torch.Tensor, green: torch.Tensor, blue: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The lowest and the highest channel of every pixel."""
    return torch.minimum(torch.minimum(red, green), blue), torch.maximum(torch.maximum(red, green), blue)


def _gamut_scale(
    target: LuminanceTarget, a: torch.Tensor, b: torch.Tensor, space: RGBSpace, tolerance: float
) -> torch.Tensor:
    """The factors in 0..1, (N,), that bring the chroma of colors outside the space (N,) just inside.

    By bisection, two halvings at a time: the quarters of what is left are tried together, as (3, N).
    """
    scale = torch.zeros_like(a)
    quarter = 0.25
    while quarter >= 1.0 / 4096.0:
        candidates = scale + torch.tensor([[quarter], [2.0 * quarter], [3.0 * quarter]], device=a.device)
        lowest, highest = _ends(*_chroma_to_linear(target, a * candidates, b * candidates, space))
        first, second, third = ((lowest >= -tolerance) & (highest <= 1.0 + tolerance)).float()
        scale.add_(torch.lerp(first, third + 2.0, second), alpha=quarter)
        quarter /= 4.0
    return scale


# `index_select` and `index_copy_` where indexing would do: on CPUs they are faster, and do not wait for other threads.


def _positions_beyond(
    low: torch.Tensor, lowest: float | torch.Tensor, high: torch.Tensor, highest: float | torch.Tensor
) -> torch.Tensor:
    """The positions in the flattened planes where `low` is below `lowest` or `high` above `highest`."""
    beyond = (_compared(low) < _compared(lowest)) | (_compared(high) > _compared(highest))
    if isinstance(beyond, np.ndarray):
        return torch.from_numpy(np.flatnonzero(beyond))
    return beyond.flatten().nonzero().squeeze(1)


def _compared(values: Any) -> Any:
    """`values` as NumPy has them, which compares ten times as fast as torch; on other devices as they are."""
    return values.numpy() if isinstance(values, torch.Tensor) and values.device.type == "cpu" else values


def _picked(plane: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return plane.flatten().index_select(0, positions)


def look_up(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """The entries of `table` (N,) at `index` (any shape), on its device."""
    return table.to(index.device).index_select(0, index.flatten()).view(index.shape)


def _nearest_code(linear: torch.Tensor, tables: CodeTables) -> torch.Tensor:
    steps = float(len(tables.nearest) - 1)
    return look_up(tables.nearest, (linear.sqrt() if tables.by_root else linear).mul(steps).add_(0.5).int())


def _neighbor_keeping_luminance(
    linear: torch.Tensor,
    nearest: torch.Tensor,
    target: LuminanceTarget,
    to_linear: torch.Tensor,
    weights: tuple[float, float, float],
) -> torch.Tensor:
    """Of the eight codes around each color (3, N), the nearest whose luminance lies in its limits."""
    below = (nearest - (look_up(to_linear, nearest) > linear).int()).clamp_(0, 254)
    corners = torch.stack((below, below + 1))
    corner_linear = look_up(to_linear, corners)
    fraction = (linear - corner_linear[0]) / (corner_linear[1] - corner_linear[0])
    distance = torch.stack((fraction, 1.0 - fraction)).square_()
    best_cost = torch.full_like(target.luminance, float("inf"))
    best = nearest.clone()
    for choice in itertools.product((0, 1), repeat=3):
        rounded = sum(corner_linear[choice[i], i] * weights[i] for i in range(3))
        # If no neighbor were within the half step, the one nearest in luminance would win.
        missed = (rounded < target.lowest) | (rounded > target.highest)
        cost = sum(distance[choice[i], i] for i in range(3)) + missed * (10.0 + (rounded - target.luminance).abs())
        better = cost < best_cost
        best_cost = torch.where(better, cost, best_cost)
        best = torch.where(better, torch.stack([corners[choice[i], i] for i in range(3)]), best)
    return best
