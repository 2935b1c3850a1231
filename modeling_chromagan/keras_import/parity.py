"""What `chromagan convert --report` measures: a converted generator beside NumPy on the tensors of its file."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..modeling_chromagan import ChromaGANGenerator
from .file import KerasLayer, read_tensor

# Largest difference that `--report` accepts: of ab, and of the class logits as a part of the largest of them.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Differences:
    """Largest differences between a converted generator and an evaluation of its file.

    Args:
        ab: of encoded ab.
        ab_span: least and greatest encoded ab; a narrow span proves little.
        class_logits: of the class logits; `None` without a class head.
        logit_peak: the greatest absolute logit.
        size: side of the picture, in pixels.
    """

    ab: float
    ab_span: tuple[float, float]
    class_logits: float | None
    logit_peak: float
    size: int

    @property
    def small(self) -> bool:
        """Whether both are what float32 arithmetic explains."""
        return self.ab <= TOLERANCE and (self.class_logits or 0.0) <= TOLERANCE * max(1.0, self.logit_peak)

    def __str__(self) -> str:
        classes = ""
        if self.class_logits is not None:
            classes = f", class logits {self.class_logits:.1e} (up to {self.logit_peak:.3g})"
        low, high = self.ab_span
        return (
            f"largest differences from NumPy on the file's own tensors, random {self.size}x{self.size} picture: "
            f"ab {self.ab:.1e} (spans {low:.2f} to {high:.2f}){classes}"
        )


def compare(generator: ChromaGANGenerator, roles: dict[str, KerasLayer], seed: int = 0) -> Differences:
    """Runs a converted generator and `evaluate_in_numpy` on one random picture of the training size."""
    size = generator.config.image_size
    random = np.random.default_rng(seed)
    coarse = random.random((size // 16, size // 16), dtype=np.float32).repeat(16, axis=0).repeat(16, axis=1)
    luminance = 0.7 * coarse + 0.3 * random.random((size, size), dtype=np.float32)
    with torch.no_grad():
        output = generator(torch.from_numpy(luminance)[None, None])
    logits: Any
    ab, logits = evaluate_in_numpy(roles, luminance)
    ours = output.reconstruction[0].permute(1, 2, 0).numpy()
    heads = output.logits is not None
    return Differences(
        ab=float(np.abs(ours - ab).max()),
        ab_span=(float(ab.min()), float(ab.max())),
        class_logits=float(np.abs(output.logits[0].numpy() - logits).max()) if heads else None,
        logit_peak=float(np.abs(logits).max()) if heads else 0.0,
        size=size,
    )


def evaluate_in_numpy(roles: dict[str, KerasLayer], luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The published network on the tensors of a file as they are, channels last, with nothing of our modules in it.

    It proves the arithmetic and the order of every axis. Which layer is which it takes from `find_roles`, as the
    conversion does.

    Args:
        roles: layers of the file, as `find_roles` gives them.
        luminance: L/100, (H, W), float32, of the training size.

    Returns:
        ab in 0..1, (H, W, 2), and the class logits, (num_labels,), or `None` where the file has no class head.
    """

    def convolve(x: np.ndarray, path: str, stride: int = 1) -> np.ndarray:
        kernel, bias = (read_tensor(roles[path], name) for name in ("kernel", "bias"))
        height, width = (-(-side // stride) for side in x.shape[:2])
        pads = [
            max((result - 1) * stride + kernel.shape[i] - x.shape[i], 0) for i, result in enumerate((height, width))
        ]
        x = np.pad(x, [*((total // 2, total - total // 2) for total in pads), (0, 0)])
        result = np.zeros((height, width, kernel.shape[3]), np.float32) + bias
        for i, j in np.ndindex(kernel.shape[:2]):
            shifted = x[i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
            result += np.tensordot(shifted, kernel[i, j], axes=1)
        return result

    def block(x: np.ndarray, path: str, stride: int = 1) -> np.ndarray:
        x = np.maximum(convolve(x, f"{path}.conv", stride), 0)
        if f"{path}.norm" not in roles:
            return x
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (read_tensor(roles[f"{path}.norm"], name) for name in names)
        return gamma * (x - mean) / np.sqrt(variance + np.float32(1e-3)) + beta

    def multiply(x: np.ndarray, prefix: str) -> np.ndarray:
        for path in sorted(
            (path for path in roles if path.startswith(prefix)), key=lambda path: int(path[len(prefix) :])
        ):
            x = x @ read_tensor(roles[path], "kernel") + read_tensor(roles[path], "bias")
        return x

    def enlarge(x: np.ndarray) -> np.ndarray:
        return x.repeat(2, axis=0).repeat(2, axis=1)

    x = np.repeat(luminance[..., None], 3, axis=2)  # (H, W, 3)
    for stage, count in enumerate((2, 2, 3, 3)):
        if stage:
            height, width, channels = x.shape
            x = x.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))
        for i in range(count):
            x = block(x, f"trunk.{stage}.conv{stage + 1}_{i + 1}")  # (H, W, 64) ... (H/8, W/8, 512)
    deep = x
    for i, stride in enumerate((2, 1, 2, 1)):
        deep = block(deep, f"global_convs.conv{i + 1}", stride)  # (H/32, W/32, 512)
    flat = deep.reshape(-1)  # channels last
    logits = multiply(flat, "class_head.dense") if "class_head.dense1" in roles else None  # (num_labels,)
    features = multiply(flat, "global_dense.dense")  # (256,)

    mid = block(block(x, "mid_level.conv1"), "mid_level.conv2")  # (H/8, W/8, 256)
    grid = np.broadcast_to(features, (*mid.shape[:2], len(features)))  # (H/8, W/8, 256)
    x = block(np.concatenate([mid, grid], axis=2), "fusion.conv1")  # (H/8, W/8, 256)
    x = enlarge(block(x, "decoder1.conv1"))  # (H/4, W/4, 128)
    x = enlarge(block(block(x, "decoder2.conv1"), "decoder2.conv2"))  # (H/2, W/2, 64)
    x = convolve(block(x, "decoder3.conv1"), "chroma")  # (H/2, W/2, 2)
    return enlarge(1 / (1 + np.exp(-x))), logits  # (H, W, 2)


__all__ = ["Differences", "compare", "evaluate_in_numpy"]
