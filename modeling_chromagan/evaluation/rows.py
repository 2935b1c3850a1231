"""The rows of an evaluation's table while pictures come in: everyone colors them, the 8-bit results are compared.

The row "grey (ab = 0)" always comes first and is treated like a model's answer.
"""

from collections.abc import Sequence

import torch
from torch import nn

from ..color import rgb8_to_lab
from .color_metrics import ColorMetrics
from .colorizers import Colored, GrayColorizer, ModelColorizer
from .lpips_fid import update_perceptual
from .metrics import colorfulness
from .protocols import Protocol
from .recognition import Recognition, RecognitionMetrics


class Row:
    """One row of the table while it is measured.

    Args:
        colorizer: what colors.
        protocol: how it is compared.
        full: all measures with intervals, or those of `ColorMetrics` that training can afford.
        label_mapping: (labels of the data set,), the class of the head for each; without it top-1 is not measured.
        perceptual: further measures by name.
        saturation: which of the colorizer's results these are.
        recognition: what EfficientNet-Lite2 makes of the pictures, if it looks at them.
    """

    def __init__(
        self,
        colorizer: GrayColorizer | ModelColorizer,
        protocol: Protocol,
        full: bool = False,
        label_mapping: torch.Tensor | None = None,
        perceptual: dict[str, nn.Module] | None = None,
        saturation: float = 1.0,
        recognition: RecognitionMetrics | None = None,
    ):
        self.recognition = recognition
        self.colorizer, self.label_mapping, self.perceptual = colorizer, label_mapping, perceptual or {}
        self.saturation = saturation
        self.name = colorizer.name if colorizer.saturations == (1,) else f"{colorizer.name} x {saturation:g}"
        self.metrics = ColorMetrics(protocol, full)
        self.loss_sum = 0.0
        self.loss_pictures = self.labeled = self.correct = 0

    def update(
        self, colored: Colored, rgb: torch.Tensor, lab: torch.Tensor, labels: torch.Tensor | None
    ) -> dict[str, list]:
        """Adds a batch that the colorizer colored; returns what was measured of every picture."""
        values = self.metrics.update(colored.rgb, rgb, lab)
        if colored.own_loss is not None:
            values["own_loss"] = colored.own_loss.tolist()
            self.loss_sum += sum(values["own_loss"])
            self.loss_pictures += len(rgb)
        if self.label_mapping is not None and colored.logits is not None and labels is not None:
            known = labels >= 0
            right = colored.logits.cpu()[:, self.label_mapping.cpu()].argmax(1) == labels
            self.labeled += int(known.sum())
            self.correct += int((right & known).sum())
            pairs = zip(known.tolist(), right.tolist(), strict=True)
            values["predicted_label_is_right"] = [int(is_right) if is_known else "" for is_known, is_right in pairs]
        for name, measure in self.perceptual.items():
            update_perceptual(name, measure, colored.rgb, rgb)
        return values

    def figures(self) -> dict[str, float]:
        """`ColorMetrics.result()`, and as far as measured `own_loss`, `top1` in percent, `lpips`, `fid`."""
        figures = self.metrics.result()
        if self.loss_pictures:
            figures["own_loss"] = self.loss_sum / self.loss_pictures
        if self.labeled:
            figures["top1"] = 100 * self.correct / self.labeled
        for name, measure in self.perceptual.items():
            figures[name] = float(measure.compute())
        return figures


def color_batch(rows: Sequence[Row], rgb: torch.Tensor, lab: torch.Tensor) -> list[Colored]:
    """Every row's picture of truths, (B, 3, H, W), as uint8 and in Lab units; one pass for all rows of a colorizer."""
    colorizers = dict.fromkeys(row.colorizer for row in rows)  # in their order, as their rows are
    return [colored for colorizer in colorizers for colored in colorizer.color(rgb, lab)]


def measure_batch(
    rows: Sequence[Row],
    rgb: torch.Tensor,
    labels: torch.Tensor | None,
    min_colorfulness: float,
    recognition: Recognition | None = None,
) -> tuple[torch.Tensor, list[dict[str, list]]]:
    """Lets every row's colorizer color a batch, (B, 3, H, W) uint8, and measures the results.

    Returns:
        (B,) which pictures are colorful enough and were measured; what each row measured of these, `[]` if of none.
    """
    colored = colorfulness(rgb) >= min_colorfulness  # (B,)
    if not colored.any():
        return colored, []
    rgb = rgb[colored.to(rgb.device)]
    labels = None if labels is None else labels.cpu()[colored]
    lab = rgb8_to_lab(rgb)  # (B, 3, H, W)
    # Everything is colored before anything is counted: a picture that one colorizer cannot do is none of any row.
    results = color_batch(rows, rgb, lab)
    pictures = (rgb, *(result.rgb for result in results))
    seen = [] if recognition is None else [recognition.recognizer.recognize(of_row) for of_row in pictures]
    values = [row.update(result, rgb, lab, labels) for row, result in zip(rows, results, strict=True)]
    if recognition is not None:
        in_truth, *in_rows = seen
        recognition.of_truth.update(in_truth, in_truth, labels)
        for row, of_row, in_row in zip(rows, values, in_rows, strict=True):
            of_row |= row.recognition.update(in_row, in_truth, labels)
    return colored, values


__all__ = ["Row", "color_batch", "measure_batch"]
