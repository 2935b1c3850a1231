"""Weights of colors by how rare they are in the data of a phase."""

import torch

from ..color import decode_ab
from .data.augmentation import to_network_units
from .data.batches import BatchPlan
from .data.photographs import Photographs
from .objectives import TERMS
from .recipe import Phase

# How many batches and pictures are looked at, at most.
COUNTED_BATCHES = 40
COUNTED_PICTURES = 1280


def weigh_colors(photographs: dict[str, Photographs], phase: Phase, seed: int) -> dict[str, torch.Tensor]:
    """The weights of colors of the phase's terms that count them, by name.

    Counted in the first batches of the phase, the same for every process and resumed run.

    Args:
        photographs: the sources by name; what they count as passed over is left as it was.
        phase: with the terms, and the batches of which the first kind is looked at.
        seed: of the recipe.
    """
    terms = {name: TERMS[name] for name in phase.objective.weighted if TERMS[name].count}
    batches = min(COUNTED_BATCHES, -(-COUNTED_PICTURES // phase.batches[0].batch_size)) if terms else 0
    plan = BatchPlan(photographs, phase.batches[:1], batches, seed, 0, 1)
    rejected = {name: source.rejected.values.clone() for name, source in photographs.items()}
    counts = {name: [] for name in terms}
    for i in range(batches):
        ab = decode_ab(to_network_units(plan[i]["rgb"], "unit8")[1], "unit8")
        for name, term in terms.items():
            counts[name].append(term.count(ab))
    for name, source in photographs.items():  # these pictures come again: the report is about the training
        source.rejected.values.copy_(rejected[name])
    return {name: term.weigh(torch.stack(counts[name]).mean(dim=0), phase.objective) for name, term in terms.items()}


__all__ = ["weigh_colors"]
