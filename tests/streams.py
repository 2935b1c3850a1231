"""Streamed sources of drawn pictures, for tests of the data path."""

import functools
from pathlib import Path

import numpy as np
from drawn_pictures import picture_bytes, write_row_groups

from modeling_chromagan.training.data.found_source import find_source
from modeling_chromagan.training.data.photographs import Photographs
from modeling_chromagan.training.data.shuffled_stream import PooledOrder, StreamedRows, open_stream
from modeling_chromagan.training.recipe import Data, Source


def write_stream(folder: Path) -> Path:
    """Ninety rows in ten row groups of two files, labelled 0 to 89, and a validation split."""
    for number, rows in enumerate((55, 35)):
        contents = [picture_bytes(i % 7) for i in range(rows)]
        write_row_groups(folder / "data" / f"train-{number:05}-of-00002.parquet", contents, first=55 * number)
    write_row_groups(folder / "data" / "valid-00000-of-00001.parquet", [picture_bytes(i) for i in range(7)])
    return folder


def streamed_source(where, **settings) -> Source:
    return Source(path=str(where), streaming=True, use_labels=True, **settings)


def open_rows(where, pool: int = 3, seed: int = 0, pool_bytes: int = 2**28, tries: int = 5, **source) -> StreamedRows:
    settings = Data(sources={}, connection_tries=tries)
    found = find_source("tiny", streamed_source(where, **source), tries)
    files, groups = open_stream(found, "train", settings)
    return StreamedRows(files, groups, seed, pool_bytes, pool)


def streamed_photographs(where, pool: int = 3) -> Photographs:
    return Photographs(open_rows(where, pool), streamed_source(where), Data(sources={}))


def labels_at(rows: StreamedRows, positions) -> list[int]:
    return [row["label"] for row in rows.rows(positions)]


def row_numbers(order: PooledOrder, positions) -> np.ndarray:
    """Numbers of the rows in the groups' own sequence."""
    starts = np.cumsum(order.rows) - order.rows
    within = functools.cache(order.within)
    found = [(position // order.total, *order.at(position)[:2]) for position in positions]
    return np.array([starts[group] + within(epoch, group)[place] for epoch, group, place in found])
