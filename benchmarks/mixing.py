"""How well streamed row groups of a data set that is sorted by class mix, and how many pictures fail which filter.

    CHROMAGAN_DATA=FOLDER python benchmarks/mixing.py [--filters]

Prints, for pools of several sizes, the distinct classes in batches of 128 over an epoch of Tiny ImageNet; with
`--filters` also how many training pictures are passed over, by reason.
"""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # of this checkout, installed or not

from modeling_chromagan.sources.picture_files import decode_picture
from modeling_chromagan.training.data.filters import failed_filter
from modeling_chromagan.training.data.found_source import find_source
from modeling_chromagan.training.data.shuffled_stream import StreamedRows, open_stream
from modeling_chromagan.training.recipe import Data, Source

BATCH = 128
UNIFORM = 94.7  # distinct classes of 200 among 128 drawn uniformly: 200 (1 - (1 - 1/200)^128)


def labels_in_order(rows: StreamedRows, labels: list[np.ndarray]) -> np.ndarray:
    """The labels of one epoch in the order in which a training sees them."""
    order, orders_within, found = rows.order, {}, []
    for slot in range(len(labels)):
        groups, places, _ = order.slot(0, slot)
        for group, place in zip(groups.tolist(), places.tolist(), strict=True):
            if group not in orders_within:
                orders_within[group] = order.within(0, group)
            found.append(labels[group][orders_within[group][place]])
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filters", action="store_true", help="also count pictures that are passed over, a minute")
    options = parser.parse_args()
    local = Path(os.environ.get("CHROMAGAN_DATA", "")) / "tiny-imagenet"
    if not local.is_dir():
        sys.exit(f"CHROMAGAN_DATA: there is no folder {local}; accepted: a folder that holds tiny-imagenet as parquet")
    source = Source(path=str(local), use_labels=True, streaming=True)
    settings = Data(sources={})
    files, groups = open_stream(find_source("tiny_imagenet", source), "train", settings)
    tables = [
        pq.ParquetFile(files.files[file]).read_row_group(number, columns=["label"])
        for file, number in zip(groups.file, groups.number, strict=True)
    ]
    labels = [table["label"].to_numpy() for table in tables]
    for pool in (40, 64, 70, len(labels)):
        seen = labels_in_order(StreamedRows(files, groups, 0, 2**40, pool), labels)
        starts = range(0, len(seen) - BATCH + 1, BATCH)
        distinct = np.sort([len(np.unique(seen[start : start + BATCH])) for start in starts])
        worst = distinct[: len(distinct) // 20].mean()
        share = 100 * distinct.mean() / UNIFORM
        print(f"{pool} row groups: mean {distinct.mean():.1f} ({share:.0f} % of uniform), worst 5 % {worst:.1f}")
    print(StreamedRows(files, groups, 0, settings.pool_mebibytes * 2**20).describe())
    if options.filters:
        reasons: Counter[str] = Counter()
        for file, number in zip(groups.file, groups.number, strict=True):
            column = pq.ParquetFile(files.files[file]).read_row_group(number, columns=["image"])["image"]
            for cell in column.to_pylist():
                reasons[failed_filter(decode_picture(cell), settings) or "kept"] += 1
        print(dict(reasons))


if __name__ == "__main__":
    main()
