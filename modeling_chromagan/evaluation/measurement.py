"""One pass over photographs that measures every model of an evaluation or a training."""

import importlib.metadata
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ..errors import UserError, first_line
from ..modeling_chromagan import ChromaGANGenerator
from ..sources.models import find_stored_dtype, hash_weights
from .bootstrap import interval, intervals
from .colorizers import GrayColorizer, ModelColorizer, evaluation_mode
from .label_mapping import match_classes
from .metrics import METRICS
from .pictures import Picture, PictureSource, evenly_spaced, read_pictures
from .protocols import MIN_COLORFULNESS, Protocol
from .recognition import Recognition, Recognizer
from .report import PictureTable
from .rows import Row, measure_batch

AS_GIVEN = Protocol("as-given", "batches as they are")
BROKEN_NAMED = 20  # pictures that are named; if there are more, the protocol does not fit the data
VERSIONS = ("chromagan", "torch", "transformers", "pillow", "numpy", "scikit-image")


class EvaluationError(UserError, ValueError):
    """What was asked cannot be measured."""


def evaluate_model(
    generator: ChromaGANGenerator,
    batches: Iterable[dict[str, torch.Tensor]],
    *,
    min_colorfulness: float = MIN_COLORFULNESS,
    label_mapping: torch.Tensor | None = None,
) -> dict[str, dict[str, float]]:
    """Measures a generator during training; it runs in evaluation mode and leaves in the mode in which it came.

    Args:
        generator: any device and precision; the measures are taken on the device of the pictures.
        batches: `rgb`, (B, 3, H, W) uint8, and optionally `label`, (B,), negative where there is none.
        min_colorfulness: pictures whose truth is less colorful (Hasler and Suesstrunk) are left out.
        label_mapping: (labels of the data set,), the class of the head for each; without it top-1 is not measured.

    Returns:
        `grey` and `model`: `Row.figures()` of either; `gain`: model minus grey where that says something;
        `counts`: `pictures` measured out of `pictures_seen`; with `label_mapping`, labels and a class head also
        `classes`: `top1` in percent over `pictures`.

    Raises:
        EvaluationError: if no picture is colorful enough.
    """
    seen = 0
    with evaluation_mode(generator):
        model = Row(ModelColorizer("model", "model", generator, AS_GIVEN), AS_GIVEN, label_mapping=label_mapping)
        rows = [Row(GrayColorizer(AS_GIVEN), AS_GIVEN), model]
        for batch in batches:
            seen += len(batch["rgb"])
            measure_batch(rows, batch["rgb"], batch.get("label"), min_colorfulness)
    if not model.metrics.values["psnr"]:
        raise EvaluationError(f"none of {seen:,} pictures has a colorfulness of {min_colorfulness:g} or more")
    grey_figures, model_figures = (row.figures() for row in rows)
    result = {
        "grey": grey_figures,
        "model": model_figures,
        "gain": gain(model_figures, grey_figures),
        "counts": {"pictures": model_figures["pictures"], "pictures_seen": seen},
    }
    if "top1" in model_figures:
        result["classes"] = {"top1": model_figures.pop("top1"), "pictures": model.labeled}
    return result


def gain(figures: dict[str, Any], grey_figures: dict[str, Any]) -> dict[str, Any]:
    """A row's figures minus the grey row's, of the metrics for which that says something."""
    names = [name for name, metric in METRICS.items() if metric.gain and name in figures]
    return {name: figures[name] - grey_figures[name] for name in names}


@dataclass
class Counts:
    """What became of the pictures: `broken` holds name and reason of the first `BROKEN_NAMED`."""

    seen: int = 0
    measured: int = 0
    near_gray: int = 0
    broken_count: int = 0
    broken: tuple[tuple[str, str], ...] = ()


class Evaluation:
    """A pass over a source that measures every colorizer.

    Args:
        colorizers: the models; the grey row is added before them.
        source: the pictures.
        protocol: how they are measured.
        batch_size: pictures at once; 1 is taken where pictures keep their own sizes.
        samples: only so many, evenly spaced; `None` is all that the protocol takes.
        perceptual: makers of further measures by name.
        recognizer: the classifier that looks at every picture, if one does.
        say: told a line about every picture that is skipped.
    """

    def __init__(
        self,
        colorizers: Sequence[ModelColorizer],
        source: PictureSource,
        protocol: Protocol,
        *,
        batch_size: int = 64,
        samples: int | None = None,
        perceptual: dict[str, Callable[[], nn.Module]] | None = None,
        recognizer: Recognizer | None = None,
        say: Callable[[str], None] = lambda line: None,
    ):
        self.source, self.protocol, self.samples, self.say = source, protocol, samples, say
        self.batch_size = batch_size if protocol.size is not None else 1
        self.classes = {
            colorizer: match_classes(colorizer.generator.config, source.class_names) for colorizer in colorizers
        }
        self.recognition = None if recognizer is None else Recognition(recognizer, source.class_names)
        mappings = [None, *(mapping for mapping, _ in self.classes.values())]
        everyone = [GrayColorizer(protocol), *colorizers]
        self.rows = [
            Row(
                colorizer,
                protocol,
                True,
                mapping,
                {name: make() for name, make in (perceptual or {}).items()},
                saturation,
                self.recognition and self.recognition.metrics(),
            )
            for colorizer, mapping in zip(everyone, mappings, strict=True)
            for saturation in colorizer.saturations
        ]
        self.counts = Counts()
        self.indices = array("q")  # of the measured pictures in the source

    def run(self, tables: Sequence[PictureTable] = (), show_progress: bool | None = None) -> dict[str, Any]:
        """Measures; writes a line per picture into the tables of the models, if any are given.

        Returns:
            `protocol`, `data`, `batch_size`, `counts`, `broken`, `rows` (each with `name`, `figures`, `intervals`,
            and the models' `gain` over grey) and `versions`.

        Raises:
            EvaluationError: if nothing could be measured.
            CollectionError: if the source breaks off.
        """
        indices, total = self.chosen()
        disable = None if show_progress is None else not show_progress
        with tqdm(total=total, desc="evaluating", unit=" pictures", disable=disable) as self.bar:
            pictures = read_pictures(self.source, self.protocol, indices, self.skip)
            for batch in in_batches(pictures, self.batch_size):
                self.measure(batch, tables)
                self.bar.update(len(batch))
        self.counts.seen += self.counts.broken_count
        if not self.counts.measured:
            raise EvaluationError(f"{self.source.name}{self.why_nothing()}")
        return self.results()

    def chosen(self) -> tuple[Iterable[int] | None, int | None]:
        """Rows that are read, `None` for all of them, and how many these are, where that is known."""
        first = self.protocol.first
        if self.samples is None:
            total = self.source.known_count
            return None, total if total is None or first is None else min(total, first)
        count = self.source.count()
        count = count if first is None else min(count, first)
        return evenly_spaced(count, self.samples), min(count, self.samples)

    def why_nothing(self) -> str:
        """Why no picture was measured, to be written behind the source's name."""
        if self.counts.seen == 0:
            return " is empty"
        if self.counts.near_gray == 0:
            return f": none of {self.counts.seen:,} pictures could be measured"
        least = self.protocol.min_colorfulness
        return f": none of {self.counts.seen:,} pictures has a colorfulness of {least:g} or more"

    def measure(self, batch: list[Picture], tables: Sequence[PictureTable]) -> None:
        """Adds a batch of pictures of one size."""
        rgb = torch.stack([picture.rgb for picture in batch])
        labels = torch.tensor([picture.label for picture in batch])
        try:
            measured, values = measure_batch(self.rows, rgb, labels, self.protocol.min_colorfulness, self.recognition)
        except (MemoryError, OSError, RuntimeError, ValueError) as error:
            if len(batch) > 1:
                raise EvaluationError(f"a batch of {len(batch)} cannot be colored: {first_line(error)}") from error
            self.skip(batch[0].name, first_line(error))
            return
        self.counts.seen += len(batch)
        self.counts.near_gray += int((~measured).sum())
        kept = [picture for picture, is_measured in zip(batch, measured.tolist(), strict=True) if is_measured]
        self.counts.measured += len(kept)
        self.indices.extend(picture.index for picture in kept)
        for table, of_model in zip(tables, values[1:], strict=False):
            for number, picture in enumerate(kept):
                label = "" if picture.label < 0 else self.source.class_names[picture.label]
                written = {name: values_of[number] for name, values_of in of_model.items()}
                grey = values[0]["psnr"][number]
                table.write(row=picture.index, picture=picture.name, label=label, psnr_grey=grey, **written)

    def skip(self, name: str, reason: str) -> None:
        """Counts a picture that cannot be measured, and names it while they are few."""
        self.counts.broken_count += 1
        if self.counts.broken_count <= BROKEN_NAMED:
            self.counts.broken += ((name, reason),)
            self.say(f"skipped: {name}: {reason}")
        elif self.counts.broken_count == BROKEN_NAMED + 1:
            self.say("skipped: further pictures are counted, not named")
        self.bar.update()

    def results(self) -> dict[str, Any]:
        counts = self.counts
        return {
            "protocol": asdict(self.protocol),
            "data": self.source.name,
            "samples": self.samples,
            "batch_size": self.batch_size,
            "counts": {
                "seen": counts.seen,
                "measured": counts.measured,
                "near_gray": counts.near_gray,
                "broken": counts.broken_count,
            },
            "broken": [{"picture": name, "reason": reason} for name, reason in counts.broken],
            "rows": self.row_results(),
            "truth": self.truth_results(),
            "versions": {name: importlib.metadata.version(name) for name in VERSIONS if is_installed(name)},
        }

    def row_results(self) -> list[dict[str, Any]]:
        """Figures and intervals of every row, and of a model's what it is and gains over grey."""
        measured = [self.figures(row) for row in self.rows]
        rows = [
            {"name": row.name, "figures": figures, "intervals": intervals(replicates)}
            for row, (figures, replicates) in zip(self.rows, measured, strict=True)
        ]
        grey_figures, grey_replicates = measured[0]
        for row, entry, (figures, replicates) in zip(self.rows[1:], rows[1:], measured[1:], strict=True):
            entry |= describe_model(row.colorizer, self.classes[row.colorizer][1])
            entry["saturation"] = row.saturation
            entry["gain"] = gain(figures, grey_figures)
            entry["gain_intervals"] = intervals(gain(replicates, grey_replicates))
        return rows

    def figures(self, row: Row) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """A row's figures, and each of those that have an interval in every resampling."""
        figures, replicates = row.figures(), row.metrics.replicates()
        if row.recognition is not None:
            figures |= row.recognition.result(self.recognition.of_truth)
            replicates |= row.recognition.replicates()
        return figures, replicates

    def truth_results(self) -> dict[str, Any]:
        """What the classifier makes of the photographs themselves: `lite2_top1` with its interval, where measured."""
        if self.recognition is None or self.recognition.label_mapping is None:
            return {}
        of_truth = self.recognition.of_truth
        top1 = of_truth.top1()
        if top1 is None:
            return {}
        bounds = interval(of_truth.replicates()["lite2_top1"])
        return {"figures": {"lite2_top1": top1}, "intervals": {"lite2_top1": bounds}}


def in_batches(pictures: Iterable[Picture], batch_size: int) -> Iterator[list[Picture]]:
    """Lists of `batch_size` pictures; the last may be shorter."""
    batch = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def describe_model(colorizer: ModelColorizer, class_head: str) -> dict[str, Any]:
    """What stands beside a model's figures."""
    generator = colorizer.generator
    is_rgb = generator.network.output_space == "rgb"
    return {
        "model": colorizer.name,
        "place": colorizer.place,
        "architecture": generator.config.architecture,
        "parameters": generator.num_parameters(),
        "weights": hash_weights(generator),
        "stored_dtype": find_stored_dtype(colorizer.place),
        "dtype": str(generator.dtype).removeprefix("torch."),
        "class_head": class_head,
        "working_size": colorizer.working_size,
        "own_loss_of": "RGB in 0..1" if is_rgb else f"ab in {generator.config.encoding} units",
    }


def is_installed(distribution: str) -> bool:
    """Whether the distribution's version can be asked for: a checkout on the path has none."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


__all__ = ["Evaluation", "EvaluationError", "evaluate_model"]
