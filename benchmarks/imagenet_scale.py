"""An epoch of ImageNet-1k on paper: operations, time and cost on 1, 8 and 64 GPUs, and where data is the limit.

    python benchmarks/imagenet_scale.py --photographs FOLDER [--peak 989] [--share 0.35] [--price 2.5]

Counted here: the operations of a step of recipes/chromagan.yaml. Measured here: decoding, judging and cropping
of photographs of ImageNet's size on one core; start-up and memory of a stream of simulated shards. Assumed, and
arguments: a GPU's peak in bfloat16 (TFLOP/s; an H100's is 989), the share of it that is reached, and the price of
an hour.
"""

import argparse
import math
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # of this checkout, installed or not

from modeling_chromagan import ChromaGANCritic, ChromaGANGenerator
from modeling_chromagan.sources.picture_files import decode_picture
from modeling_chromagan.training.data.crops import DRAWN, RandomCrops
from modeling_chromagan.training.data.filters import failed_filters
from modeling_chromagan.training.data.found_source import find_source
from modeling_chromagan.training.data.shuffled_stream import StreamedRows, open_stream
from modeling_chromagan.training.objectives import critic_loss
from modeling_chromagan.training.recipe import Data, Source, load_recipe

PICTURES, SHARDS = 1_281_167, 294  # of ILSVRC/imagenet-1k's training split
MEBIBYTES_PER_SHARD = 470  # 138 GB in 294 files
TEACHER_OPERATIONS = 2 * 15.47e9  # VGG-16 forward at 224 pixels, multiply and add counted apart


def operations_per_picture(batch: int = 2) -> dict[str, float]:
    """Of generator and critic at 224 pixels, both steps, as `train.py` takes them."""
    recipe = load_recipe(ROOT / "recipes" / "chromagan.yaml")
    settings, config = recipe.phases[-1].objective, recipe.build_config()
    generator, critic = ChromaGANGenerator(config), ChromaGANCritic(config)
    luminance, ab = torch.rand(batch, 1, 224, 224), torch.rand(batch, 2, 224, 224)
    counted = {}
    with FlopCounterMode(display=False) as counter:
        output = generator(luminance)
        (output.reconstruction.square().mean() + output.logits.square().mean()).backward()
    counted["generator, forward and backward"] = counter.get_total_flops() / batch
    fake = output.reconstruction.detach()
    with FlopCounterMode(display=False) as counter:
        shown = fake.clone().requires_grad_()
        torch.autograd.grad(critic(torch.cat([luminance, shown], dim=1)).scores.mean(), shown)
        pictures = (torch.cat([luminance, colors], dim=1) for colors in (ab, fake))
        critic_loss(settings, critic, *pictures, torch.rand(batch, 1, 1, 1))[0].backward()
    counted["critic, all of its parts"] = counter.get_total_flops() / batch
    if not settings.reuse_forward:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            generator(luminance)
        counted["generator, fresh fakes for the critic"] = counter.get_total_flops() / batch
    counted["teacher"] = TEACHER_OPERATIONS
    return counted


def seconds_per_picture(folder: Path) -> tuple[float, float]:
    """Of the data path on one thread, and the mean mebibytes of a file."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:64]
    content = [path.read_bytes() for path in files]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    started = time.perf_counter()
    random = np.random.default_rng(0)
    pictures = [decode_picture(data) for data in content]
    failed_filters(pictures, Data(sources={}))
    crops, source = RandomCrops(len(pictures), (224, 224)), Source(path="-", min_crop=0.875)
    for place, picture in enumerate(pictures):
        crops.add(place, picture, source, random.random(DRAWN))
    crops.finish()  # Lab is computed where the networks are
    spent = time.perf_counter() - started
    torch.set_num_threads(threads)
    return spent / len(files), sum(map(len, content)) / len(files) / 2**20


def simulate_shards(shards: int) -> tuple[float, float]:
    """Seconds until the first picture, and mebibytes held by the pool, of a stream of so many small shards."""
    rows = 4 * 1000
    with tempfile.TemporaryDirectory() as place:
        image = {"bytes": os.urandom(1000), "path": None}
        table = pa.table({"image": [image] * rows, "label": np.zeros(rows, dtype=np.int64)})
        first = Path(place) / "train-00000.parquet"
        pq.write_table(table, first, row_group_size=1000, compression="none", use_dictionary=False)
        for number in range(1, shards):
            (first.parent / f"train-{number:05}.parquet").hardlink_to(first)
        source = Source(path=place, streaming=True)
        started = time.perf_counter()
        files, groups = open_stream(find_source("simulated", source), "train", Data(sources={}))
        stream = StreamedRows(files, groups, 0, 64 * 2**20)
        next(stream.candidates(0))
        spent = time.perf_counter() - started
        for position in range(0, len(stream), len(stream) // 200):
            next(stream.candidates(position))
        return spent, stream.held_bytes / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of JPEG files of about 500 x 375")
    parser.add_argument("--peak", type=float, default=989, help="of a GPU, TFLOP/s in bfloat16")
    parser.add_argument("--share", type=float, default=0.35, help="of the peak that training reaches")
    parser.add_argument("--price", type=float, default=2.5, help="of a GPU's hour")
    parser.add_argument("--cores", type=int, default=16, help="CPU cores beside each GPU")
    options = parser.parse_args()
    counted = operations_per_picture()
    for name, operations in counted.items():
        print(f"{name}: {operations / 1e9:.1f} GFLOP a picture")
    rate = options.peak * 1e12 * options.share / sum(counted.values())
    print(f"one GPU of {options.peak:g} TFLOP/s at {100 * options.share:g} %: {rate:,.0f} pictures/s\n")
    print("| GPUs | pictures/s | minutes an epoch | cost an epoch | data read, MB/s |")
    print("|---:|---:|---:|---:|---:|")
    bytes_per_picture = SHARDS * MEBIBYTES_PER_SHARD * 2**20 / PICTURES
    for gpus in (1, 8, 64):
        seconds = PICTURES / (rate * gpus)
        cost = gpus * seconds / 3600 * options.price
        read = rate * gpus * bytes_per_picture / 1e6
        print(f"| {gpus} | {rate * gpus:,.0f} | {seconds / 60:.1f} | {cost:.1f} | {read:,.0f} |")
    seconds, mebibytes = seconds_per_picture(options.photographs)
    needed = math.ceil(rate * seconds)
    print(
        f"\ndata path of photographs of {1000 * mebibytes:.0f} kB: {1000 * seconds:.1f} ms each on one core, "
        f"{1 / seconds:.0f} pictures/s; cores that feed one GPU: {needed} (beside it: {options.cores})"
    )
    for shards in (SHARDS // 10, SHARDS, SHARDS * 10):
        started, held = simulate_shards(shards)
        print(f"{shards:,} shards: first picture after {started:.2f} s, pool of {held:.0f} MiB")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
