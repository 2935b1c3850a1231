"""Counts of data workers arrive in the process that started them."""

import torch

from modeling_chromagan.training.data.shared_counts import SharedCounts


class Counting(torch.utils.data.Dataset):
    def __init__(self, counts: SharedCounts):
        self.counts = counts

    def __len__(self) -> int:
        return 8

    def __getitem__(self, number: int) -> int:
        self.counts.add("even" if number % 2 == 0 else "odd")
        return number


def test_counts_of_data_workers_arrive():
    counts = SharedCounts(("even", "odd", "none"))
    list(torch.utils.data.DataLoader(Counting(counts), batch_size=None, num_workers=2))
    Counting(counts)[1]
    assert dict(counts) == {"even": 4, "odd": 5, "none": 0}


def test_counts_of_a_checkpoint_are_added():
    counts = SharedCounts(("even", "odd"))
    counts.add("odd")
    counts.update({"odd": 3, "unheard of": 1})
    assert dict(counts) == {"even": 0, "odd": 4}
