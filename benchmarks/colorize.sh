#!/bin/sh
# Memory and time of the whole `chromagan colorize` command, start-up included, on generated pictures:
#   start-up      a 64 x 64 picture, so almost only imports and loading the model
#   12 megapixel  4,000 x 3,000 JPEG, 8-bit gray; limit 5 s of wall clock on two cores
#   100 megapixel 10,000 x 10,000 PNG, 8-bit gray; limit 2.5 GiB resident
# Usage: benchmarks/colorize.sh [more options of chromagan colorize, such as --model FOLDER]
# Needs `chromagan` on the PATH and GNU time as /usr/bin/time. Each command runs twice, so that the second has its
# files in the page cache; both are shown. Writes into a temporary folder and removes it.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python - "$folder" <<'PYTHON'
import sys

import numpy as np
from PIL import Image

folder = sys.argv[1]
random = np.random.default_rng(0)


def photograph(width, height):
    """Shapes of all scales with edges, and film grain: neither smoother nor rougher than a scan."""
    gray = np.zeros((height, width), np.float32)
    for cells, weight in ((4, 80), (32, 40), (256, 20)):
        shapes = Image.fromarray(random.uniform(-1, 1, (cells, cells)).astype(np.float32))
        smooth = np.asarray(shapes.resize((width, height), Image.Resampling.BICUBIC))
        gray += weight * (np.tanh(8 * smooth) if cells == 32 else smooth)
    gray += random.standard_normal((height, width), dtype=np.float32) * 3
    return Image.fromarray(np.clip(gray + 120, 0, 255).astype(np.uint8))


photograph(64, 64).save(f"{folder}/start-up.png")
photograph(4_000, 3_000).save(f"{folder}/12-megapixel.jpg", quality=90)
photograph(10_000, 10_000).save(f"{folder}/100-megapixel.png")
PYTHON

for name in start-up.png 12-megapixel.jpg 100-megapixel.png; do
    for round in 1 2; do
        echo "/usr/bin/time -v chromagan colorize $name -o out --overwrite $*"
        /usr/bin/time -v -o "$folder/time.txt" chromagan colorize "$folder/$name" -o "$folder/out" --overwrite "$@"
        grep -E 'Elapsed|User time|System time|Maximum resident' "$folder/time.txt"
    done
done
