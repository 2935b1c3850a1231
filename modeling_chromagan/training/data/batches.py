"""Pictures of opened sources -> batches of parts of them, the same at every run of a seed.

What a batch holds is a function of (seed, phase, step) alone, not of how much was read before, so that a resumed run
continues with the pictures an uninterrupted one would have seen, on any number of processes and data workers.
"""

import numpy as np
import torch

from ...errors import SettingError
from ..recipe import Batches
from .crops import DRAWN, RandomCrops
from .photographs import Photographs


class BatchPlan(torch.utils.data.Dataset):
    """The batches of one phase: item `step` is this process' share of the global batch of that step.

    An item is {"rgb": (B, 3, H, W) uint8, "label": (B,) int64, "kind": index into the phase's batches, "rows": (B,),
    places of these pictures in the global batch}.
    """

    def __init__(
        self, photographs: dict[str, Photographs], kinds: list[Batches], steps: int, seed: int, rank: int, ranks: int
    ):
        self.photographs = photographs
        self.kinds = kinds
        self.steps = steps
        self.seed = seed
        self.rank = rank
        self.ranks = ranks
        for kind in kinds:
            if kind.batch_size % ranks:
                raise SettingError(f"batch_size is {kind.batch_size}; accepted: a multiple of the {ranks} processes")

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict:
        number = step % len(self.kinds)
        kind = self.kinds[number]
        random = np.random.default_rng([self.seed, step])
        order = random.permutation(kind.batch_size)
        # For every place of the global batch, whoever takes it.
        drawn = np.concatenate([random.random((kind.batch_size, n)) for n in (4, DRAWN - 4)], axis=1).tolist()
        places = self.places(step)
        rows = torch.arange(kind.batch_size)[self.rank :: self.ranks]
        mine = [int(row) for row in order[self.rank :: self.ranks]]
        crops, labels = RandomCrops(len(mine), kind.shape), torch.empty(len(mine), dtype=torch.int64)
        for name, source in self.photographs.items():
            of_source = [place for place, row in enumerate(mine) if places[row][0] == name]
            pictures = source.pictures([places[mine[place]][1] for place in of_source])
            for place, (picture, label) in zip(of_source, pictures, strict=True):
                crops.add(place, picture, source.source, drawn[mine[place]])
                labels[place] = label
        return {"rgb": crops.finish(), "label": labels, "kind": number, "rows": rows}

    def places(self, step: int) -> list[tuple[str, int]]:
        """Source and position of every row of a batch; shares are kept exactly over time.

        All kinds of batches draw from one order of a source, one after the other, so that an epoch shows every
        picture once, and a source that is read from its beginning to its end is read so.
        """
        turn, number = divmod(step, len(self.kinds))
        places = []
        for name in self.photographs:
            drawn = [
                self.drawn(kind, name, turn + (1 if k < number else 0)) for k, kind in enumerate(self.kinds)
            ]  # by every kind before this step
            count = self.drawn(self.kinds[number], name, turn + 1) - drawn[number]
            places += [(name, position) for position in range(sum(drawn), sum(drawn) + count)]
        return places

    def drawn(self, kind: Batches, name: str, batches: int) -> int:
        """How many pictures of a source the first batches of a kind hold together."""
        weights = {key: kind.weights[key] for key in self.photographs if kind.weights.get(key)}
        if name not in weights:
            return 0
        edges = np.cumsum([0.0, *weights.values()]) / sum(weights.values())
        at = list(weights).index(name)
        before, after = (int(np.round(edge * kind.batch_size * batches)) for edge in edges[at : at + 2])
        return after - before
