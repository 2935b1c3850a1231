"""How often a toned gray picture is taken for a color one, and a color one for gray; and the weights that decide it.

    python benchmarks/already_color.py FOLDER_OR_PARQUET ... [--pictures 2000] [--color FOLDER] [--gray FOLDER] [--fit]

Takes color photographs from folders and parquet files (column `image`). Every one becomes three color pictures, as it
is, faded as dyes of prints fade (each by itself, sometimes stretched or stained afterwards) and as an old slide, and
two gray ones: toned by a known process or at random, and most of them damaged as scans of archives are (`DAMAGE`). The
even-numbered photographs of a source are what `--fit` fits to, so that the printed rates of the odd-numbered ones are
held out from it. Color pictures of a mean Lab chroma below 5 are counted apart: they are nearly gray. `--color` and
`--gray` name folders of real scans, which are measured and never fitted to.
"""

import argparse
import io
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from modeling_chromagan.archive.already_color import BIAS, WEIGHTS, color_features
from modeling_chromagan.color import rgb8_to_lab
from modeling_chromagan.color_profiles import linear_to_srgb, srgb_to_linear
from modeling_chromagan.image_loading import load_color

FALSE_COLOR = 0.021  # of the gray pictures fitted to, at which the bias is set; real ones are seldom so damaged
NEARLY_GRAY = 0.3  # how much a color picture that is nearly gray counts in the fit
LUMINANCE = np.array((0.2126, 0.7152, 0.0722))
# Scans have many more pixels than these photographs: so much of their noise, shifts and compression is left in a copy.
FINENESS = (1, 0.5, 0.25)
# What the cyan, magenta and yellow dye of a slide take from red, green and blue light: side absorptions, too.
DYES = np.array(((1.0, 0.2, 0.1), (0.12, 1.0, 0.3), (0.02, 0.1, 1.0)))
TONES = {  # sRGB of black, of white, exponents of the three channels
    "neutral": ((0, 0, 0), (1, 1, 1), (1, 1, 1)),
    "sepia": ((0.10, 0.06, 0.03), (1.0, 0.93, 0.78), (0.85, 1.0, 1.2)),
    "strong sepia": ((0.18, 0.10, 0.05), (0.96, 0.86, 0.66), (0.8, 1.0, 1.25)),
    "albumen": ((0.22, 0.10, 0.08), (0.95, 0.87, 0.68), (0.9, 1.0, 1.1)),
    "selenium": ((0.10, 0.04, 0.08), (0.98, 0.96, 0.92), (0.95, 1.05, 1.0)),
    "gold": ((0.05, 0.06, 0.10), (0.98, 0.95, 0.88), (1.05, 1.0, 0.92)),
    "cyanotype": ((0.02, 0.10, 0.25), (0.92, 0.96, 0.97), (1.6, 1.1, 0.75)),
    "deep cyanotype": ((-0.08, 0.03, 0.40), (0.92, 0.95, 0.98), (1.8, 1.3, 0.8)),
    "blue": ((0.0, 0.05, 0.2), (0.8, 0.92, 1.0), (1.5, 1.0, 0.7)),
    "green": ((0.05, 0.10, 0.05), (0.9, 0.97, 0.85), (1.05, 0.95, 1.05)),
    "yellowed": ((0.08, 0.07, 0.06), (0.93, 0.86, 0.68), (1.0, 1.0, 1.0)),
    "faded": ((0.35, 0.27, 0.2), (0.9, 0.83, 0.7), (1.0, 1.0, 1.05)),
    "warm": ((0.03, 0.02, 0.02), (1.0, 0.98, 0.94), (0.97, 1.0, 1.04)),
    "cool": ((0.02, 0.03, 0.05), (0.96, 0.98, 1.0), (1.04, 1.0, 0.96)),
}
DAMAGE = {  # how often each is
    "stain": 0.4,
    "silvering": 0.12,
    "tideline": 0.12,
    "foxing": 0.1,
    "ink": 0.12,
    "mount": 0.12,
    "target": 0.08,
    "noise": 0.25,
    "misregistered": 0.2,
}
INKS = ((180, 30, 40), (40, 50, 160), (30, 120, 60), (120, 40, 130), (200, 60, 30), (20, 60, 120))
CARDS = ((120, 90, 60), (190, 170, 130), (90, 100, 80), (70, 80, 110), (60, 50, 45), (200, 195, 180))
PATCHES = ((0, 0, 200), (0, 160, 0), (200, 0, 0), (230, 220, 0), (180, 0, 140), (0, 150, 190), (255,) * 3, (0,) * 3)


def toned(random: np.random.Generator, gray: np.ndarray) -> tuple[np.ndarray, str]:
    """Gray (h, w) of 0..1 -> sRGB of a tone, and its name."""
    name = str(random.choice([*TONES, "random", "random", "split"]))
    if name == "split":
        shadows, lights = (vector - vector @ LUMINANCE for vector in random.normal(0, 0.06, (2, 3)))
        share = 1 / (1 + np.exp((gray[..., None] - 0.5) * random.uniform(6, 14)))
        return np.clip(0.95 * gray[..., None] + 0.02 + share * shadows + (1 - share) * lights, 0, 1), name
    if name == "random":
        black = random.uniform(0, 0.25) + random.uniform(-0.08, 0.12, 3)
        white, exponent = 1 - random.uniform(0, 0.3, 3) * random.uniform(0.3, 1), np.exp(random.normal(0, 0.22, 3))
    else:
        black, white, exponent = (np.array(values) for values in TONES[name])
        black, white = black * random.uniform(0.5, 1.3), 1 - (1 - white) * random.uniform(0.6, 1.3)
        exponent = exponent ** random.uniform(0.6, 1.3)
    return np.clip(black + (white - black) * gray[..., None] ** exponent, 0, 1), name


def clouds(random: np.random.Generator, height: int, width: int, count: int) -> np.ndarray:
    """A smooth field, (h, w, 1), of 0..1."""
    y, x = np.mgrid[0:height, 0:width]
    field = np.zeros((height, width))
    for _ in range(count):
        at, size = random.uniform(-0.2, 1.2, 2) * (width, height), random.uniform(0.2, 0.7) * max(height, width)
        field += random.uniform(0.3, 1) * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * size**2))
    return (field / field.max())[..., None]


def gray_scan(
    random: np.random.Generator, picture: Image.Image, fineness: float
) -> tuple[Image.Image, str, list[str]]:
    """The photograph in gray, toned and damaged; the tone; the kinds of damage."""
    gray = linear_to_srgb(srgb_to_linear(np.asarray(picture) / 255) @ LUMINANCE)
    if random.random() < 0.4:
        lowest, highest = random.uniform(0, 0.25), random.uniform(0.7, 1)
        gray = lowest + (highest - lowest) * gray
    colors, tone = toned(random, gray)
    damage = [name for name, rate in DAMAGE.items() if random.random() < rate]
    height, width = gray.shape
    if "stain" in damage:
        density = random.uniform(0.05, 0.35) * np.array((random.uniform(0.1, 0.4), random.uniform(0.4, 0.7), 1))
        colors = colors * 10 ** (-clouds(random, height, width, random.integers(1, 4)) * density)
    if "silvering" in damage:
        y, x = np.abs(np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j])
        edge = np.clip(np.maximum(x, y) - 0.5, 0, 1) ** 2
        colors = colors + ((1 - gray) * edge)[..., None] * np.array((0.05, 0.09, 0.18)) * random.uniform(0.3, 1)
    if "tideline" in damage:
        wet = clouds(random, height, width, 2) > random.uniform(0.5, 0.9)
        colors = colors * np.where(wet, 10 ** (-random.uniform(0.03, 0.12) * np.array((0.3, 0.6, 1))), 1)
    image = Image.fromarray(np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(random.integers(5, 60) if "foxing" in damage else 0):
        x, y, radius = random.uniform(0, width), random.uniform(0, height), random.uniform(0.003, 0.012) * width
        fill = tuple(int(level) for level in random.integers((120, 80, 40), (190, 140, 90)))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    if "ink" in damage:
        ink, line = INKS[random.integers(len(INKS))], max(1, width // 150)
        x, y, size = random.uniform(0.05, 0.75) * width, random.uniform(0.05, 0.75) * height, random.uniform(0.08, 0.2)
        size *= width
        kind = random.integers(3)
        if kind == 0:
            draw.ellipse((x, y, x + size, y + size), outline=ink, width=max(1, int(size / 10)))
            draw.rectangle((x + size * 0.2, y + size * 0.4, x + size * 0.8, y + size * 0.6), fill=ink)
        elif kind == 1:
            for row in range(4):
                draw.line((x, y + row * size / 5, x + size, y + row * size / 5), fill=ink, width=line)
        else:
            draw.line([tuple(random.uniform(0, (width, height))) for _ in range(6)], fill=ink, width=line)
    if "mount" in damage:
        margin = random.uniform(0.03, 0.12)
        x, y = int(width * margin), int(height * margin)
        card = Image.new("RGB", (width + 2 * x, height + 2 * y), CARDS[random.integers(len(CARDS))])
        card.paste(image, (x, y))
        image = card
    if "target" in damage:
        size, count = max(4, int(random.uniform(0.05, 0.1) * image.height)), int(random.integers(6, 20))
        scan = Image.new("RGB", (image.width, image.height + size), (230, 230, 230))
        scan.paste(image, (0, 0))
        for patch in range(count):
            left = image.width * (0.1 + 0.8 * patch / count)
            box = (left, image.height + size * 0.1, left + image.width * 0.8 / count, image.height + size * 0.9)
            ImageDraw.Draw(scan).rectangle(box, fill=PATCHES[patch % len(PATCHES)])
        image = scan
    if "noise" in damage:
        noise = fineness * random.uniform(1, 4)
        noisy = np.asarray(image) + random.normal(0, noise, (image.height, image.width, 3))
        image = Image.fromarray(np.rint(np.clip(noisy, 0, 255)).astype(np.uint8))
    if "misregistered" in damage:
        red, green, blue = image.split()
        shift = (1, 0, fineness * random.uniform(-0.35, 0.35), 0, 1, fineness * random.uniform(-0.3, 0.3))
        red = red.transform(red.size, Image.Transform.AFFINE, shift, Image.Resampling.BILINEAR)
        image = Image.merge("RGB", (red, green, blue))
    return jpeg(random, image, fineness), tone, damage


def faded(random: np.random.Generator, picture: Image.Image, fineness: float) -> Image.Image:
    """The photograph as its dyes fade: the density of each falls to a share, white yellows."""
    density = -np.log10(np.clip(srgb_to_linear(np.asarray(picture) / 255), 1 / 512, 1))
    shares = random.permutation((random.uniform(0.45, 1), random.uniform(0.6, 1), random.uniform(0.5, 1)))
    colors = 10 ** -(density * shares + np.abs(random.normal(0, 0.05, 3)))
    if random.random() < 0.5:  # stretched by the scanner
        lowest, highest = np.quantile(colors, (0.01, 0.995))
        colors = (colors - lowest) / max(highest - lowest, 0.01)
    colors = linear_to_srgb(np.clip(colors, 0, 1))
    if random.random() < 0.3:
        stain = random.uniform(0.05, 0.2) * np.array((0.2, 0.5, 1))
        colors = colors * 10 ** (-clouds(random, *colors.shape[:2], 2) * stain)
    return jpeg(random, Image.fromarray(np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8)), fineness)


def old_slide(random: np.random.Generator, picture: Image.Image, fineness: float) -> Image.Image:
    """The photograph as a slide of low or high contrast, dark, of which most of the yellow dye may be gone.

    What no dye colors any more is not clear, and stray light of the scanner is bluish in the shadows.
    """
    density = -np.log10(np.clip(srgb_to_linear(np.asarray(picture) / 255), 1e-3, 1))
    density = density * random.uniform(1, 1.7) + random.uniform(0, 0.5)
    gray = density.mean(axis=2, keepdims=True)
    dyes = (gray + (density - gray) * random.uniform(0.3, 1)) @ np.linalg.inv(DYES)
    shares = random.uniform((0.4, 0.4, 0.2), (1, 1, 0.9))
    if random.random() < 0.4:
        shares = random.permutation(shares)
    density = np.minimum((dyes * shares) @ DYES, random.uniform(1.7, 3)) + np.abs(random.normal(0, 0.05, 3))
    light = 10 ** (random.normal(0, 0.03, 3) - density)
    light = light / np.quantile(light, 0.98) * random.uniform(0.1, 0.7)
    light = light + random.uniform(0, 0.01) * np.array((0.8, 0.8, 2)) * random.uniform(0.7, 1.3, 3)
    colors = linear_to_srgb(np.clip(light, 0, 1))
    return jpeg(random, Image.fromarray(np.rint(colors * 255).astype(np.uint8)), fineness)


def jpeg(random: np.random.Generator, picture: Image.Image, fineness: float) -> Image.Image:
    """Four out of five through a JPEG file."""
    if random.random() < 0.2:
        return picture
    buffer, lost = io.BytesIO(), fineness * random.uniform(5, 60)
    subsampling = int(random.choice((0, 2))) if fineness == 1 else 0
    picture.save(buffer, "JPEG", quality=int(100 - lost), subsampling=subsampling)
    return load_color(buffer.getvalue())


def photographs(sources: list[Path], limit: int) -> Iterator[tuple[tuple[int, int], Path | bytes]]:
    """At most `limit` of each source: number of the source and within it, file."""
    for source, path in enumerate(sources):
        if path.is_dir():
            files = pictures_of(path)
        else:
            batches = pq.ParquetFile(path).iter_batches(min(200, limit), columns=["image"])
            files = (value["bytes"] for batch in batches for value in batch.column("image").to_pylist())
        for number, file in zip(range(limit), files):  # noqa: B905 - as many as there are
            yield (source, number), file


def pictures_of(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg", ".png")]


def mean_chroma(picture: Image.Image) -> float:
    small = torch.from_numpy(np.array(picture.resize((64, 64)))).permute(2, 0, 1)[None]
    return float(rgb8_to_lab(small)[0, 1:].norm(dim=0).mean())


def fit(features: np.ndarray, is_color: np.ndarray, nearly_gray: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights of a logistic regression, what is nearly gray in color counting less, and the bias for FALSE_COLOR."""
    middle, spread = features.mean(axis=0), features.std(axis=0)
    inputs, wanted = torch.tensor((features - middle) / spread), torch.tensor(is_color.astype(float))
    counting = torch.tensor(np.where(is_color & nearly_gray, NEARLY_GRAY, 1.0))
    layer = torch.nn.Linear(inputs.shape[1], 1, dtype=torch.float64)
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=300)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        error = torch.nn.functional.binary_cross_entropy_with_logits(layer(inputs)[:, 0], wanted, counting)
        error.backward()
        return error

    optimizer.step(loss)
    found = np.round(layer.weight.detach().numpy()[0] / spread, 2)
    return found, -float(np.quantile((features @ found)[~is_color], 1 - FALSE_COLOR))


def examples(numbers: tuple[int, int], file: Path | bytes) -> list[tuple[bool, bool, bool, list[str], np.ndarray]]:
    """What becomes of a photograph: whether held out, in color, nearly gray; names of its kinds; `color_features`."""
    random, picture = np.random.default_rng((7, *numbers)), load_color(file)
    held_out, chroma, fineness = numbers[1] % 2 == 1, mean_chroma(picture), random.choice(FINENESS)
    kind = "nearly gray" if chroma < 5 else "muted (mean chroma 5 to 8)" if chroma < 8 else "colored"
    made = []
    for way, result in (
        ("as it is", jpeg(random, picture, fineness)),
        ("faded", faded(random, picture, fineness)),
        ("old slide", old_slide(random, picture, fineness)),
    ):
        names = [f"{way}, {kind}", f"all {kind}"] + [f"all {way}", "all in color"] * (chroma >= 5)
        made.append((held_out, True, chroma < 5, names, color_features(result)))
    for _ in range(2):
        result, tone, damage = gray_scan(random, picture, fineness)
        count = f"gray, {len(damage)} kinds of damage" if len(damage) < 3 else "gray, 3 and more kinds of damage"
        names = ["all gray", count, f"gray, {tone}", *(f"gray, {name}" for name in damage)]
        made.append((held_out, False, False, names, color_features(result)))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, metavar="FOLDER_OR_PARQUET")
    parser.add_argument("--pictures", type=int, default=2000, help="most of one source")
    parser.add_argument("--color", type=Path, action="append", default=[], metavar="FOLDER", help="real color scans")
    parser.add_argument("--gray", type=Path, action="append", default=[], metavar="FOLDER", help="real gray scans")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--fit", action="store_true", help="fit the weights to the even-numbered photographs")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        found = list(
            pool.map(examples, *zip(*photographs(options.sources, options.pictures), strict=True), chunksize=8)
        )
    rows = [row for made in found for row in made]
    if len(found) < 2:
        sys.exit(f"{', '.join(map(str, options.sources))}: no two photographs; accepted: JPEG, PNG, parquet")
    held_out, is_color, nearly_gray = (np.array([row[column] for row in rows]) for column in range(3))
    table = np.array([row[4] for row in rows])
    weights, bias = np.array(WEIGHTS), BIAS
    if options.fit:
        weights, bias = fit(table[~held_out], is_color[~held_out], nearly_gray[~held_out])
        print(f"WEIGHTS = {tuple(weights.tolist())}\nBIAS = {bias:.2f}")
    wrong = (table @ weights + bias > 0) != is_color
    rates = defaultdict(list)
    for row, mistaken in zip(rows, wrong, strict=True):
        for name in row[3]:
            if row[0]:
                rates[name].append(mistaken)
    for folders, real_color in ((options.color, True), (options.gray, False)):
        for folder in folders:
            for path in pictures_of(folder):
                mistaken = (color_features(load_color(path)) @ weights + bias > 0) != real_color
                rates[f"real {'color' if real_color else 'gray'}, {folder.name}"].append(mistaken)
    for name, mistakes in sorted(rates.items()):
        print(f"{name:44} {len(mistakes):6} {np.mean(mistakes):8.2%} wrong")


if __name__ == "__main__":
    main()
