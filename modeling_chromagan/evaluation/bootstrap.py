"""Bootstrap intervals of means over a stream of pictures: how much a figure depends on which pictures were measured.

Drawing n of n pictures with replacement, a thousand times, needs all of their values at once. Instead every picture
enters each resampling as often as a Poisson variable of mean one says, the limit for many pictures (Chamandy et al.,
"Estimating uncertainty for massive data streams", 2012): memory does not grow with the number of pictures.
"""

from collections.abc import Mapping

import numpy as np
import torch

RESAMPLINGS = 1000
SEED = 0


class Bootstrap:
    """Weighted sums of the pictures' values in every resampling; picture i is drawn alike in every object."""

    def __init__(self):
        self.pictures = 0
        self.weight = np.zeros((RESAMPLINGS, 1))
        self.sums: np.ndarray | float = 0.0

    def update(self, values: torch.Tensor) -> None:
        """Adds the values of some pictures, (B, values), finite or not."""
        numbers = range(self.pictures, self.pictures + len(values))
        weights = np.stack([np.random.default_rng([SEED, number]).poisson(1.0, RESAMPLINGS) for number in numbers])
        weights = weights.T.astype(np.float64)  # (resamplings, B)
        with np.errstate(invalid="ignore"):  # nothing times infinity
            self.sums = self.sums + weights @ values.double().numpy()
        self.weight += weights.sum(axis=1, keepdims=True)
        self.pictures += len(values)

    def means(self) -> np.ndarray:
        """Mean values of every resampling, (resamplings, values); NaN where it happens to be empty."""
        with np.errstate(invalid="ignore"):
            return self.sums / self.weight

    def medians(self, values: np.ndarray) -> np.ndarray:
        """Medians of `values`, (pictures,), in as many ordinary resamplings, which need all of the values."""
        random = np.random.default_rng(SEED)
        return np.array(
            [np.median(values[random.integers(len(values), size=len(values))]) for _ in range(RESAMPLINGS)]
        )


def interval(replicates: np.ndarray) -> tuple[float, float] | None:
    """The middle 95 % of a figure's values in the resamplings; `None` where they are not finite."""
    finite = replicates[np.isfinite(replicates)]
    if len(finite) < 0.9 * len(replicates):
        return None
    low, high = np.percentile(finite, (2.5, 97.5))
    return float(low), float(high)


def intervals(replicates: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float] | None]:
    """`interval` of every figure."""
    return {name: interval(values) for name, values in replicates.items()}


__all__ = ["RESAMPLINGS", "Bootstrap", "interval", "intervals"]
