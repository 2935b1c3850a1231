"""Results of an evaluation as files: Markdown for people, JSON with CSV for programs, equal bytes from equal runs."""

import contextlib
import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

from ..durable_files import replacing, write_text
from ..trunk_efficientnet_lite import HEAD_CHANNELS
from .metrics import METRICS, csv_values

OF_ROWS = ("own_loss", "predicted_label_is_right", "lite2_label_is_right", "lite2_agrees")


def csv_columns() -> list[str]:
    """Columns of the CSV files: the picture, its values in the order of `METRICS`, what rows measure besides."""
    first, *others = csv_values()
    return ["row", "picture", "label", first, "psnr_grey", *others, *OF_ROWS]


def markdown_report(results: dict[str, Any]) -> str:
    """The tables of `results` (see `Evaluation.run`) with what was measured, as Markdown."""
    rows, counts, protocol = results["rows"], results["counts"], results["protocol"]
    lines = [
        f"Protocol `{protocol['name']}`: {protocol['summary']}. Data: {results['data']}.",
        f"Pictures: {counts['measured']:,} measured of {counts['seen']:,} "
        f"({counts['near_gray']:,} nearly gray left out, {counts['broken']:,} skipped as unreadable).",
    ]
    if protocol["averaging"] == "batches":
        lines.append(f"PSNR is averaged within batches of {results['batch_size']}, then over batches.")
    names = [
        name
        for name, metric in METRICS.items()
        if metric.title and (not metric.optional or any(name in row["figures"] for row in rows))
    ]
    lines += ["", *_table(_heading(names), [_figures(row, names) for row in rows])]

    with_interval = [name for name in names if any(row["intervals"].get(name) for row in rows)]
    if with_interval:
        lines += ["", "95 % intervals (bootstrap over pictures):", ""]
        cells = [
            [row["name"], *(_interval(row["intervals"].get(name), METRICS[name].decimals) for name in with_interval)]
            for row in rows
        ]
        lines += _table(_heading(with_interval), cells)

    lines += ["", f"Minus {rows[0]['name']}, with 95 % intervals:", ""]
    gains = [name for name in names if METRICS[name].gain]
    cells = [[row["name"], *(_gain(row, name) for name in gains)] for row in rows[1:]]
    lines += _table(_heading(gains), cells)
    if any(row["name"] != row["model"] for row in rows[1:]):
        lines += ["", f"PSNR over {rows[0]['name']} and color at each saturation:", ""]
        names = [name for name in names if METRICS[name].curve]
        cells = [[row["name"], _gain(row, "psnr_mean"), *_figures(row, names)[1:]] for row in rows[1:]]
        lines += _table(["", "PSNR mean over gray (dB)", *_heading(names)[1:]], cells)
    if "lite2_agreement" in names:
        lines += ["", *_lite2_lines(results["truth"], rows[0]["figures"]["pictures"])]
    lines.append("")
    for model in dict.fromkeys(row["model"] for row in rows[1:]):
        of_model = [row for row in rows[1:] if row["model"] == model]
        lines.append(_model_line(of_model[0], [row["saturation"] for row in of_model]))
    return "\n".join(lines)


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Writes results.json (figures that are not finite become null) and results.md."""
    text = json.dumps(_finite(results), indent=2, ensure_ascii=False) + "\n"
    write_text(folder / "results.json", text)
    write_text(folder / "results.md", markdown_report(results) + "\n")


class PictureTable:
    """One model's CSV file, a line for every measured picture, written as they come."""

    def __init__(self, file: BinaryIO):
        text = SimpleNamespace(write=lambda line: file.write(line.encode("utf-8")))
        self.writer = csv.DictWriter(text, csv_columns(), restval="", lineterminator="\n")
        self.writer.writeheader()

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> "Iterator[PictureTable]":
        """A table that takes its name when the block ends without an error."""
        with replacing(path) as file:
            yield cls(file)

    def write(self, **values: Any) -> None:
        """Adds a line; `values` are named by `csv_columns`, missing ones stay empty."""
        self.writer.writerow(
            {name: f"{value:.6f}" if isinstance(value, float) else value for name, value in values.items()}
        )


def _lite2_lines(truth: dict, pictures: int) -> list[str]:
    """What has to be said where figures of EfficientNet-Lite2 are printed."""
    line = "Lite2 is EfficientNet-Lite2, trained on ImageNet-1k; agreement is with its own answer on the photograph."
    if truth:
        top1, bounds = truth["figures"]["lite2_top1"], truth["intervals"]["lite2_top1"]
        line += f" Its top-1 on the photographs themselves: {top1:.1f} % ({_interval(bounds, 1)})."
    rank = ", too few for covariances of full rank" if pictures <= HEAD_CHANNELS else ""
    return [
        line,
        f"FD-Lite2 is the Fréchet distance of its {HEAD_CHANNELS:,} features (no FID, which takes Inception's). Of "
        f"few pictures it comes out too large: here they are {pictures:,}{rank}. It compares on the same pictures "
        "only, and has no interval: resampling repeats pictures, which moves it.",
    ]


def _model_line(row: dict, saturations: Sequence[float]) -> str:
    """What stands below the tables about a model: the same in all of its rows but for the saturation."""
    named = (f"{saturation:g}{' (as predicted)' if saturation == 1 else ''}" for saturation in saturations)
    working_size = "" if row["working_size"] is None else f" Working size: {row['working_size']}."
    return (
        f"- {row['model']}: {row['place']}, {row['parameters']:,} weights stored as {row['stored_dtype']}, computed "
        f"in {row['dtype']}. Saturation: {', '.join(named)}.{working_size} Class head: {row['class_head']}. Own "
        f"validation loss: mean squared error of {row['own_loss_of']}."
    )


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = "|---|" + "---:|" * (len(heading) - 1)
    return [f"| {' | '.join(heading)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]


def _heading(names: Sequence[str]) -> list[str]:
    return ["", *(METRICS[name].title for name in names)]


def _figures(row: dict, names: Sequence[str]) -> list[str]:
    return [row["name"], *(_number(row["figures"].get(name), METRICS[name].decimals) for name in names)]


def _number(value: float | None, decimals: int, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.{decimals}f}"


def _interval(bounds: Sequence[float] | None, decimals: int) -> str:
    return "-" if bounds is None else f"{bounds[0]:.{decimals}f} to {bounds[1]:.{decimals}f}"


def _gain(row: dict, name: str) -> str:
    decimals = METRICS[name].decimals
    bounds = row["gain_intervals"].get(name)
    interval = "" if bounds is None else f" ({bounds[0]:+.{decimals}f} to {bounds[1]:+.{decimals}f})"
    return _number(row["gain"].get(name), decimals, "+") + interval


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


__all__ = ["PictureTable", "markdown_report", "write_results"]
