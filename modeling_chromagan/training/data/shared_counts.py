"""Counts that the data workers of a process add to, for the process itself to read."""

import torch


class SharedCounts:
    """Counts by name; `dict()` takes them."""

    def __init__(self, names: tuple[str, ...]):
        self.names = names
        self.values = torch.zeros(65, len(names), dtype=torch.int64).share_memory_()  # a row for every writer

    def add(self, name: str) -> None:
        worker = torch.utils.data.get_worker_info()
        self.values[0 if worker is None else 1 + worker.id % 64, self.names.index(name)] += 1

    def update(self, counts: dict[str, int]) -> None:
        """Adds counts, of a checkpoint for instance; names that are none of ours are left out."""
        for name, count in counts.items():
            if name in self.names:
                self.values[0, self.names.index(name)] += count

    def keys(self) -> tuple[str, ...]:
        return self.names

    def __getitem__(self, name: str) -> int:
        return int(self.values[:, self.names.index(name)].sum())


__all__ = ["SharedCounts"]
