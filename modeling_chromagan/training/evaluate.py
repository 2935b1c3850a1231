"""Measures a generator on the validation pictures of a data set, beside the same pictures left gray.

    python -m modeling_chromagan.training.evaluate --data zh-plus/tiny-imagenet --json result.json --grid grid.png

The generator sees every picture at its own size and its chroma is taken as it comes, without resizing or a guided
filter: with the picture's lightness it is brought into sRGB (less chroma, same lightness and hue) and rounded to
8 bits. The row "grey (ab = 0)" is treated the same way. Only color pictures count: a gray one asks for nothing.
"""

import argparse
import contextlib
import csv
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from huggingface_hub.utils import logging as hub_logging
from PIL import Image
from safetensors import SafetensorError
from tqdm import tqdm

from ..color import decode_ab, encode_luminance, lab_to_rgb8
from ..configuration_chromagan import ChromaGANConfig
from ..modeling_chromagan import ChromaGANGenerator
from .metrics import ColorMetrics, colorfulness, lab_from_rgb8

PACKAGED_MODEL = Path(__file__).resolve().parents[1] / "pretrained"
CLASS_TABLE = Path(__file__).with_name("tiny_imagenet_classes.csv")
MIN_COLORFULNESS = 12.0
GRID_PICTURES = 32
COLUMNS = {  # of the printed table: key of the measure, heading, decimals
    "psnr_mean": ("PSNR mean (dB)", 2),
    "psnr_median": ("PSNR median (dB)", 2),
    "colorfulness_ratio": ("colorfulness ratio", 3),
    "rebalanced_auc": ("rebalanced AuC (%)", 2),
    "auc": ("AuC (%)", 2),
}


class EvaluationError(ValueError):
    """What was asked cannot be measured; the message is one line for the user."""


@dataclass(frozen=True)
class PictureRows:
    """Rows of a data set's split, still compressed: `rows` with `image` and perhaps `label`, and the label names."""

    rows: list[dict]
    class_names: list[str] | None


# --- measuring -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def colorize(generator: ChromaGANGenerator, lightness: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Colors pictures at the size they have, without resizing or filtering.

    Args:
        generator: in the mode (`eval()`) and on the device that it is to be used.
        lightness: CIE L in 0..100, (B, 1, H, W), on any device.

    Returns:
        The pictures, (B, 3, H, W) uint8, on the device of `lightness`, and the class logits, (B, num_labels), `None`
        without a class head.
    """
    encoding = generator.config.encoding
    pixel_values = encode_luminance(lightness, encoding).to(generator.device, generator.dtype)  # (B, 1, H, W)
    output = generator(pixel_values)
    ab = decode_ab(output.reconstruction.float(), encoding).to(lightness.device)  # (B, 2, H, W)
    return lab_to_rgb8(torch.cat((lightness, ab), dim=1)), output.logits


@torch.no_grad()
def evaluate_model(
    generator: ChromaGANGenerator,
    batches: Iterable[dict[str, torch.Tensor]],
    *,
    min_colorfulness: float = MIN_COLORFULNESS,
    label_mapping: torch.Tensor | None = None,
) -> dict[str, dict[str, float]]:
    """Measures a generator; it runs in evaluation mode and leaves in the mode in which it came.

    Args:
        generator: any device and precision; the measures are taken on the device of the pictures.
        batches: `rgb`, (B, 3, H, W) uint8, and optionally `label`, (B,), negative where there is none.
        min_colorfulness: pictures whose truth is less colorful (Hasler and Suesstrunk) are left out.
        label_mapping: (labels of the data set,), the class of the head for each; without it top-1 is not measured.

    Returns:
        `grey` and `model`: `ColorMetrics.result()` of either; `gain`: model minus grey for PSNR and AuC;
        `counts`: `pictures` measured out of `pictures_seen`; with `label_mapping`, labels and a class head also
        `classes`: `top1` in percent over `pictures`.

    Raises:
        EvaluationError: if no picture is colorful enough.
    """
    grey_metrics, model_metrics = ColorMetrics(), ColorMetrics()
    seen = labeled = correct = 0
    was_training = generator.training
    generator.eval()
    try:
        for batch in batches:
            seen += len(batch["rgb"])
            colored = colorfulness(batch["rgb"]) >= min_colorfulness  # (B,)
            if not colored.any():
                continue
            rgb = batch["rgb"][colored.to(batch["rgb"].device)]
            lab = lab_from_rgb8(rgb)  # (B, 3, H, W)
            lightness, ab = lab[:, :1], lab[:, 1:]
            grey = lab_to_rgb8(torch.cat((lightness, torch.zeros_like(ab)), dim=1))  # (B, 3, H, W) uint8
            grey_metrics.update(grey, rgb, ab)
            prediction, logits = colorize(generator, lightness)
            model_metrics.update(prediction, rgb, ab)
            if label_mapping is not None and logits is not None and "label" in batch:
                labels = batch["label"].cpu()[colored]
                known = labels >= 0
                labeled += int(known.sum())
                correct += int((logits.argmax(1).cpu()[known] == label_mapping.cpu()[labels[known]]).sum())
    finally:
        generator.train(was_training)
    if not model_metrics.psnr:
        raise EvaluationError(f"none of {seen:,} pictures has a colorfulness of {min_colorfulness:g} or more")
    grey_row, model_row = grey_metrics.result(), model_metrics.result()
    gains = ("psnr_mean", "psnr_median", "auc", "rebalanced_auc")
    result = {
        "grey": grey_row,
        "model": model_row,
        "gain": {name: model_row[name] - grey_row[name] for name in gains},
        "counts": {"pictures": model_row["pictures"], "pictures_seen": seen},
    }
    if labeled:
        result["classes"] = {"top1": 100 * correct / labeled, "pictures": labeled}
    return result


def match_classes(config: ChromaGANConfig, class_names: Sequence[str] | None) -> tuple[torch.Tensor | None, str]:
    """Finds for every label of the data set the class of the head that means the same.

    Args:
        config: of the generator.
        class_names: the data set's labels in their order; for Tiny ImageNet WordNet ids.

    Returns:
        (number of labels,) int64, or `None` where there is no such class; and among which classes the head chooses,
        or why they cannot be compared.
    """
    if not config.class_head:
        return None, "the generator has no class head"
    if class_names is None:
        return None, "the data set has no named labels"
    head_names = [str(config.id2label[index]) for index in range(config.num_labels)]
    unnamed = [f"LABEL_{index}" for index in range(config.num_labels)]  # transformers' names where none are given
    if len(class_names) == config.num_labels and head_names in (list(class_names), unnamed):
        return torch.arange(config.num_labels), f"among the {config.num_labels:,} classes of the data set"
    if config.num_labels == 1000:
        with CLASS_TABLE.open(encoding="utf-8", newline="") as file:
            imagenet_labels = {row["wnid"]: int(row["imagenet1k_label"]) for row in csv.DictReader(file)}
        if all(name in imagenet_labels for name in class_names):
            mapping = torch.tensor([imagenet_labels[name] for name in class_names])
            return (
                mapping,
                f"among the 1,000 classes of ImageNet-1k, the data set's {len(class_names):,} mapped to them",
            )
    return None, f"its {config.num_labels:,} classes are not the {len(class_names):,} labels of the data set"


# --- pictures --------------------------------------------------------------------------------------------------------


def load_rows(data: str, split: str, samples: int | None = None) -> PictureRows:
    """Reads the compressed pictures of one split, or evenly spaced ones of them: data sets are often sorted by class.

    Args:
        data: id of a data set on the Hub, or a local folder of the same layout.
        split: name of the split.
        samples: how many pictures at most; `None` is all.

    Raises:
        EvaluationError: if the data set, the split or the column `image` is missing or unreadable.
    """
    try:
        import datasets
    except ImportError as error:
        raise EvaluationError("data sets are read by the library datasets: pip install 'chromagan[train]'") from error
    try:
        # Streaming reads this split only; otherwise the training pictures would be fetched and copied too.
        dataset = datasets.load_dataset(data, split=split, streaming=True)
        features = dataset.features or {}
        if not isinstance(features.get("image"), datasets.Image):
            raise EvaluationError(f"{data}: no column image with pictures; columns: {', '.join(features) or 'none'}")
        label = features.get("label")
        class_names = label.names if isinstance(label, datasets.ClassLabel) else None
        columns = ["image"] if class_names is None else ["image", "label"]
        rows = list(dataset.select_columns(columns).decode(False))
    except EvaluationError:
        raise
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{data}: {_first_line(error)}") from error
    if not rows:
        raise EvaluationError(f"{data}: split {split} is empty")
    return PictureRows(rows if samples is None else evenly_spaced(rows, samples), class_names)


def evenly_spaced(items: Sequence, count: int) -> list:
    """`count` items from all over the sequence, in its order; all of them where there are no more."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def read_batches(
    pictures: PictureRows, batch_size: int, *, minimum_size: int = 1
) -> Iterator[dict[str, torch.Tensor]]:
    """Decodes pictures to batches `rgb`, (B, 3, H, W) uint8, and, where labels have names, `label`, (B,), -1 is none.

    Raises:
        EvaluationError: naming the first picture that is broken, smaller than `minimum_size` or not of the size of
            the first one.
    """
    from datasets import Image as ImageFeature

    feature = ImageFeature(mode="RGB")
    size = None
    for start in range(0, len(pictures.rows), batch_size):
        rows = pictures.rows[start : start + batch_size]
        images = []
        for index, row in enumerate(rows, start=start):
            try:
                image = feature.decode_example(row["image"])
            except (OSError, ValueError, SyntaxError, TypeError) as error:
                raise EvaluationError(f"picture {index} cannot be decoded: {_first_line(error)}") from error
            size = size or image.size
            if image.size != size or min(image.size) < minimum_size:
                raise EvaluationError(
                    f"picture {index} is {image.width}x{image.height} and the first {size[0]}x{size[1]}; "
                    f"accepted: pictures of one size, at least {minimum_size} pixels a side"
                )
            images.append(torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8))
        width, height = size
        rgb = torch.stack(images).view(-1, height, width, 3).permute(0, 3, 1, 2).contiguous()  # (B, 3, H, W)
        batch = {"rgb": rgb}
        if pictures.class_names is not None:
            batch["label"] = torch.tensor([-1 if row["label"] is None else row["label"] for row in rows])
        yield batch


def picture_grid(stacks: Sequence[torch.Tensor], columns: int = 4, enlarge: int = 2, gap: int = 4) -> Image.Image:
    """Draws pictures as one white sheet: the first of every stack side by side, then the second of every stack, ...

    Args:
        stacks: each (N, 3, H, W) uint8, for instance inputs, predictions and truths.
        columns: groups per row of the sheet.
        enlarge: whole factor by which pixels are repeated.
        gap: white pixels between groups and around them.

    Raises:
        ValueError: if the stacks differ in shape.
    """
    if len({tuple(stack.shape) for stack in stacks}) != 1:
        raise ValueError(f"stacks have shapes {[tuple(stack.shape) for stack in stacks]}; accepted: one shape")
    groups = torch.cat([stack.cpu() for stack in stacks], dim=3)  # (N, 3, H, stacks*W)
    groups = groups.repeat_interleave(enlarge, dim=2).repeat_interleave(enlarge, dim=3)
    groups = F.pad(groups, (0, gap, 0, gap), value=255)
    empty = torch.full((-len(groups) % columns, *groups.shape[1:]), 255, dtype=torch.uint8)
    cells = torch.cat((groups, empty)).unflatten(0, (-1, columns))  # (rows, columns, 3, h, w)
    sheet = cells.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)  # (3, rows*h, columns*w)
    sheet = F.pad(sheet, (gap, 0, gap, 0), value=255)
    return Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy())


def sample_grid(generator: ChromaGANGenerator, rgb: torch.Tensor, **layout: int) -> Image.Image:
    """Draws input, prediction and truth of photographs, (N, 3, H, W) uint8; `layout` is passed to `picture_grid`."""
    lab = lab_from_rgb8(rgb)
    was_training = generator.training
    generator.eval()
    try:
        prediction, _ = colorize(generator, lab[:, :1])
    finally:
        generator.train(was_training)
    grey = lab_to_rgb8(torch.cat((lab[:, :1], torch.zeros_like(lab[:, 1:])), dim=1))
    return picture_grid((grey, prediction, rgb), **layout)


# --- command ---------------------------------------------------------------------------------------------------------


def load_generator(model: str | Path) -> ChromaGANGenerator:
    """The generator of a folder or Hub id in float32 on the CPU, in evaluation mode.

    Raises:
        EvaluationError: if it cannot be loaded or its file lacks weights.
    """
    if not Path(model).is_dir() and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(model)):
        raise EvaluationError(f"{model}: there is no such folder; accepted: a folder or a Hub id, owner/name")
    try:
        generator, info = ChromaGANGenerator.from_pretrained(
            model, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise EvaluationError(f"{model}: {_first_line(error)}") from error
    # These were filled with random numbers: nothing measured with them would mean anything.
    unfit = sorted(info["missing_keys"]) + sorted(name for name, *_ in info["mismatched_keys"])
    if unfit:
        raise EvaluationError(
            f"{model}: {len(unfit)} weights are missing or of another shape, {unfit[0]} is the first"
        )
    return generator.eval()


def markdown_table(result: dict[str, dict[str, float]]) -> str:
    """The rows grey and model of `evaluate_model` as a markdown table."""
    lines = [
        f"| | {' | '.join(heading for heading, _ in COLUMNS.values())} |",
        f"|---|{'---:|' * len(COLUMNS)}",
    ]
    for name, key in (("grey (ab = 0)", "grey"), ("model", "model")):
        figures = (f"{result[key][column]:.{decimals}f}" for column, (_, decimals) in COLUMNS.items())
        lines.append(f"| {name} | {' | '.join(figures)} |")
    return "\n".join(lines)


def write_json(path: Path, settings: dict, result: dict[str, dict[str, float]]) -> None:
    """Writes settings and figures; infinite figures (a picture equal to its truth) become null."""
    finite = {
        row: {name: value if math.isfinite(value) else None for name, value in figures.items()}
        for row, figures in result.items()
    }
    path.write_text(json.dumps({"settings": settings, **finite}, indent=2) + "\n", encoding="utf-8")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m modeling_chromagan.training.evaluate",
        description="Measures a generator on the color pictures of a data set: PSNR, colorfulness, AuC, top-1.",
    )
    parser.add_argument(
        "--model", default=str(PACKAGED_MODEL), help="folder or Hub id (default: the packaged weights)"
    )
    parser.add_argument("--data", default="zh-plus/tiny-imagenet", help="Hub id or folder (default: %(default)s)")
    parser.add_argument("--split", default="valid", help="split of the data set (default: %(default)s)")
    parser.add_argument("--samples", type=int, metavar="N", help="only N pictures, evenly spaced (default: all)")
    parser.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="pictures at once (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    parser.add_argument(
        "--grid", type=Path, metavar="FILE.png", help="draw input, prediction and truth of some pictures"
    )
    return parser.parse_args(arguments)


def check_arguments(options: argparse.Namespace) -> None:
    """Refuses what could not be finished, before the work starts.

    Raises:
        EvaluationError: naming the option.
    """
    for option, value in (("--samples", options.samples), ("--batch-size", options.batch_size)):
        if value is not None and value < 1:
            raise EvaluationError(f"{option} is {value}; accepted: 1 or more")
    for option, path in (("--json", options.json), ("--grid", options.grid)):
        if path is not None and not path.parent.is_dir():
            raise EvaluationError(f"{option} {path}: there is no folder {path.parent}")
    if options.grid is not None and options.grid.suffix.lower() != ".png":
        raise EvaluationError(f"--grid {options.grid}: accepted: a name that ends in .png")


def run(options: argparse.Namespace) -> None:
    """Measures, prints and writes what `options` ask for.

    Raises:
        EvaluationError: one line for the user.
    """
    check_arguments(options)
    generator = load_generator(options.model)
    pictures = load_rows(options.data, options.split, options.samples)
    label_mapping, classes = match_classes(generator.config, pictures.class_names)

    batches = read_batches(pictures, options.batch_size, minimum_size=generator.network.minimum_size)
    total = math.ceil(len(pictures.rows) / options.batch_size)
    progress = tqdm(batches, total=total, desc="evaluating", unit="batch", disable=None)
    result = evaluate_model(generator, progress, label_mapping=label_mapping)

    counts, gain = result["counts"], result["gain"]
    print(f"model: {options.model} ({generator.num_parameters():,} parameters, float32, CPU)")
    print(f"data: {options.data}, split {options.split}, {counts['pictures_seen']:,} pictures")
    print(f"color pictures measured: {counts['pictures']:,} (colorfulness of the truth >= {MIN_COLORFULNESS:g})\n")
    print(markdown_table(result))
    print(
        f"\nmodel - grey: PSNR {gain['psnr_mean']:+.2f} dB mean, {gain['psnr_median']:+.2f} dB median; "
        f"AuC {gain['rebalanced_auc']:+.2f} points rebalanced, {gain['auc']:+.2f} plain"
    )
    if "classes" in result:
        print(f"top-1 of the class head: {result['classes']['top1']:.2f} % {classes}")
    else:
        print(f"top-1 of the class head: not measured, {classes}")

    if options.json is not None:
        settings = {
            "model": options.model,
            "data": options.data,
            "split": options.split,
            "min_colorfulness": MIN_COLORFULNESS,
            "class_head": classes,
        }
        write_json(options.json, settings, result)
    if options.grid is not None:
        chosen = PictureRows(evenly_spaced(pictures.rows, GRID_PICTURES), pictures.class_names)
        (batch,) = read_batches(chosen, GRID_PICTURES)
        sample_grid(generator, batch["rgb"]).save(options.grid)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Inside it, nothing hides the one line that says what is wrong: no retries, no reports, no bars of libraries."""
    loggers = (hub_logging, transformers.logging)
    verbosities = [logger.get_verbosity() for logger in loggers]
    had_bars = transformers.logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.set_verbosity(transformers.logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        for logger, verbosity in zip(loggers, verbosities, strict=True):
            logger.set_verbosity(verbosity)
        if had_bars:
            transformers.logging.enable_progress_bar()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: prints to standard output, errors as one line to standard error; 0 is success, 1 is not."""
    options = parse_arguments(arguments)
    try:
        with quiet_libraries():
            run(options)
    except EvaluationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


__all__ = [
    "EvaluationError",
    "PictureRows",
    "colorize",
    "evaluate_model",
    "evenly_spaced",
    "load_generator",
    "load_rows",
    "markdown_table",
    "match_classes",
    "picture_grid",
    "read_batches",
    "sample_grid",
]

if __name__ == "__main__":
    sys.exit(main())
