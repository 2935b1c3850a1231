"""Colors of frames that do not flicker: within a scene, what looks the same at the same place has the same color.

A network that sees every frame by itself colors the same wall a little differently each time. So the colors of a frame
become means over frames of its scene, weighted at every place by how much alike the gray around it is there: what
stands still gets one color for the whole scene, and what moves, which matches nowhere, keeps its own (a bilateral
filter along time, as Lang et al., "Practical Temporal Consistency for Image-Based Graphics", 2012, smooth theirs).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

SAME_SCENE = 0.5  # correlation of the grays of successive frames; below, the scene is cut
FLAT = 0.02  # deviation of gray, 0..1, of a frame that has no structure
WITNESSES = 24  # frames of a scene that colors are taken from, evenly spread
ALIKE = 0.05  # difference of gray, 0..1, at which a frame has half its weight; the fourth power keeps noise out
AROUND = 5  # side of the square, in pixels, over which grays are compared


def steady_chroma(grays: Sequence[np.ndarray], chroma: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Colors of the frames of one file, without flicker.

    Args:
        grays: (h, w) of each frame, as the network saw it: float of 0..1, or integers up to their type's maximum.
        chroma: (2, h, w) ab of each frame, any float type.

    Returns:
        (2, h, w) of each frame, of the same type.

    Raises:
        ValueError: if frames and colors are not as many, or not of one size.
    """
    shapes = {(*gray.shape, *planes.shape) for gray, planes in zip(grays, chroma, strict=True)}
    if len(shapes) > 1 or any(len(shape) != 5 or shape[:2] != shape[3:] for shape in shapes):
        raise ValueError(f"frames and colors of one size are needed, got {sorted(shapes)}")
    frames = [_unit(gray) for gray in grays]
    steady: list[torch.Tensor] = []
    for start, end in find_scenes(frames):
        steady += _steady_scene(frames[start:end], chroma[start:end])
    return steady


def find_scenes(frames: Sequence[torch.Tensor]) -> list[tuple[int, int]]:
    """First frame, and the one after the last, of each scene; frames are gray, (h, w) of 0..1."""
    cuts = [number for number in range(1, len(frames)) if _is_cut(frames[number - 1], frames[number])]
    return list(zip([0, *cuts], [*cuts, len(frames)], strict=True)) if frames else []


def _unit(gray: np.ndarray) -> torch.Tensor:
    white = 1 if gray.dtype.kind == "f" else np.iinfo(gray.dtype).max
    return torch.from_numpy(gray.astype(np.float32) / np.float32(white))


def _is_cut(before: torch.Tensor, after: torch.Tensor) -> bool:
    deviations = before.std(correction=0), after.std(correction=0)
    if min(deviations) < FLAT:
        return max(deviations) >= 2 * FLAT
    product = ((before - before.mean()) * (after - after.mean())).mean()
    return bool(product < SAME_SCENE * deviations[0] * deviations[1])


def _steady_scene(frames: Sequence[torch.Tensor], chroma: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    count = len(frames)
    witnesses = sorted({round(number) for number in np.linspace(0, count - 1, min(count, WITNESSES))})
    steady = []
    for number, (frame, own) in enumerate(zip(frames, chroma, strict=True)):
        total, colors = torch.zeros_like(frame), torch.zeros_like(own, dtype=torch.float32)
        for witness in witnesses:
            weight = _likeness(frame, frames[witness])
            total += weight
            colors += weight * chroma[witness]
        if number not in witnesses:  # so that what is nowhere else keeps its colors
            rest = (1 - total).clamp(min=0)
            total, colors = total + rest, colors + rest * own
        steady.append((colors / total).to(own.dtype))
    return steady


def _likeness(frame: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """1 where the grays around a place are the same, falling to 0 where they differ, (h, w)."""
    difference = avg_pool2d((frame - other).square()[None], AROUND, 1, AROUND // 2, count_include_pad=False)[0]
    return 1 / (1 + (difference / ALIKE**2).square())
