"""Gathers the metrics of one row over batches of pictures."""

import statistics
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from .ab_histogram import BINS_PER_AXIS
from .auc import AucAccumulator, areas_under_curve
from .bootstrap import Bootstrap
from .metrics import METRICS, Comparison, csv_values, measured_values
from .protocols import PROTOCOLS, Protocol


class ColorMetrics:
    """The figures of `METRICS` that compare 8-bit colorized pictures with their photographs.

    Args:
        protocol: how the PSNR is taken; by default with a peak of 255, averaged over pictures.
        full: also the slow ones, and 95 % intervals: several times the work.
    """

    def __init__(self, protocol: Protocol = PROTOCOLS["tiny64"], full: bool = False):
        self.protocol, self.full = protocol, full
        self.measures = measured_values(full)
        self.in_csv = csv_values()
        # Eight bytes a picture and measure are all that grows with their number.
        self.values = {name: array("d") for name in self.measures}
        self.batch_means = array("d")  # of the PSNR
        self.auc = AucAccumulator()
        self.bootstrap = Bootstrap() if full else None

    def update(
        self, rgb_prediction: torch.Tensor, rgb_truth: torch.Tensor, lab_truth: torch.Tensor | None = None
    ) -> dict[str, list[float]]:
        """Adds a batch.

        Args:
            rgb_prediction: (B, 3, H, W), uint8.
            rgb_truth: the same shape and type.
            lab_truth: (B, 3, H, W), `rgb_truth` in Lab units where the caller has it already.

        Returns:
            The values of every picture that are columns of the CSV files, its own `auc` among them.

        Raises:
            ValueError: for other shapes or types.
        """
        pictures = Comparison(rgb_prediction, rgb_truth, self.protocol, lab_truth)
        pixels, thresholds_met = self.auc.update(pictures.lab_prediction[:, 1:], pictures.lab_truth[:, 1:])
        measured = {name: measure(pictures) for name, measure in self.measures.items()}  # (B,) each
        if self.bootstrap is not None:
            scalars = torch.stack(list(measured.values()), dim=1)  # (B, measures)
            self.bootstrap.update(torch.cat((scalars, pixels, thresholds_met), dim=1))
        values = {name: of_pictures.tolist() for name, of_pictures in measured.items()}
        for name, of_pictures in values.items():
            self.values[name].extend(of_pictures)
        self.batch_means.append(statistics.fmean(values["psnr"]))
        values["auc"] = areas_under_curve(pixels, thresholds_met, self.auc.pixels)[0].tolist()
        return {name: values[name] for name in self.in_csv if name in values}

    def result(self) -> dict[str, float]:
        """Everything measured so far.

        Returns:
            `pictures`, how many, and the figures of `METRICS` that are measured here; the mean PSNR as the protocol
            averages, the areas in percent (see `AucAccumulator`).

        Raises:
            ValueError: if nothing was added.
        """
        if not self.values["psnr"]:
            raise ValueError("no pictures were added")
        means = {name: statistics.fmean(values) for name, values in self.values.items()}
        figures = self._figures(means, statistics.median, self.auc.result())
        if self.protocol.averaging == "batches":
            figures["psnr_mean"] = statistics.fmean(self.batch_means)
        return {"pictures": len(self.values["psnr"])} | figures

    def replicates(self) -> dict[str, np.ndarray]:
        """Every figure of `result` but `pictures` for each resampling of the pictures, (resamplings,); needs `full`.

        Two objects that were given the same pictures in the same order resample them alike, so that the difference of
        two models has its own, narrower interval. Batches are not resampled: the PSNR is averaged over pictures here.
        """
        means = torch.from_numpy(self.bootstrap.means())  # (resamplings, measures + bins + bins)
        count, bins = len(self.measures), BINS_PER_AXIS**2
        scalars = {name: means[:, number].numpy() for number, name in enumerate(self.measures)}
        # Means are as good as sums here, since a ratio is taken.
        areas = areas_under_curve(*means[:, count:].split(bins, dim=1), self.auc.pixels)
        return self._figures(
            scalars, lambda values: self.bootstrap.medians(np.asarray(values)), [area.numpy() for area in areas]
        )

    def _figures(self, means: Mapping[str, Any], median: Callable[[array], Any], areas: Any) -> dict[str, Any]:
        """The figures in the order of the table, of numbers or of one number for every resampling."""
        figures = {"auc": areas[0], "rebalanced_auc": areas[1]}
        for name, metric in METRICS.items():
            key = metric.values or name
            if metric.full and not self.full:
                continue
            if metric.of_means is not None:
                figures[name] = metric.of_means(means)
            elif key in means:
                figures[name] = median(self.values[key]) if metric.median else means[key]
        return {name: figures[name] for name in METRICS if name in figures}


__all__ = ["ColorMetrics"]
