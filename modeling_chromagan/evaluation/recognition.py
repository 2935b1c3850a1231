"""What EfficientNet-Lite2 recognizes in colorized pictures.

PSNR rewards whoever dares little; a classifier that was trained on color photographs knows how things look. Its
figures bear its name: they are no accuracies of a class head, and the distance of its features is no FID, which takes
those of Inception-v3.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from ..errors import SettingError
from ..sources.pretrained_weights import load_lite_classifier, variant_of
from ..trunk_efficientnet_lite import EfficientNetLiteClassifier, normalize_picture
from .bootstrap import Bootstrap
from .label_mapping import imagenet_labels

SHORT_SIDE = 224  # what Lite's weights were trained to see
LONG_SIDE = 448  # of longer pictures the middle
MULTIPLE = 32
AT_ONCE = 32  # pictures, whose features of all scales exist together
PENDING = 256  # features waiting for one product of matrices instead of one each


class Recognized(NamedTuple):
    """What the classifier says of pictures."""

    logits: torch.Tensor  # (B, 1000)
    features: torch.Tensor  # (B, 1280), averaged over the picture, before the linear layer


class Recognizer:
    """EfficientNet-Lite2 on 8-bit pictures of any size. Its batch norms are folded: it cannot be trained or saved.

    Args:
        classifier: of 1,000 classes; it is changed.
        device: that it runs on.
    """

    def __init__(self, classifier: EfficientNetLiteClassifier, device: torch.device | str = "cpu"):
        for module in classifier.modules():
            if hasattr(module, "fold_batch_norms"):
                module.fold_batch_norms()
        self.classifier = classifier.eval().to(device, memory_format=torch.channels_last)
        self.device = device

    @torch.no_grad()
    def recognize(self, rgb: torch.Tensor) -> Recognized:
        """Looks at pictures, (B, 3, H, W) uint8; the answers are on the CPU."""
        parts = []
        for pictures in rgb.split(AT_ONCE):
            fitted = torch.stack([fit_classifier(picture) for picture in pictures]).to(self.device)  # (B, 3, h, w)
            seen = normalize_picture(fitted.float() / 255).contiguous(memory_format=torch.channels_last)
            features = self.classifier.features(seen)  # (B, 1280)
            parts.append((self.classifier.class_head(features).cpu(), features.cpu()))
        return Recognized(*(torch.cat(of_all) for of_all in zip(*parts, strict=True)))


def fit_classifier(rgb: torch.Tensor) -> torch.Tensor:
    """A picture, (3, H, W) uint8, as the classifier takes it: (3, h, w) uint8.

    The short side becomes 224 pixels by Pillow's bicubic filter, the long side the largest multiple of 32 up to 448
    that is no longer than in proportion. What is over at its ends is cut off: nothing is stretched and nothing added.
    """
    height, width = rgb.shape[1:]
    short = min(height, width)
    sides = [min(LONG_SIDE, side * SHORT_SIDE // short // MULTIPLE * MULTIPLE) for side in (width, height)]
    box_width, box_height = (side * short / SHORT_SIDE for side in sides)
    left, top = (width - box_width) / 2, (height - box_height) / 2
    picture = Image.fromarray(rgb.permute(1, 2, 0).contiguous().cpu().numpy())
    fitted = picture.resize(
        sides, Image.Resampling.BICUBIC, box=(left, top, left + box_width, top + box_height), reducing_gap=3.0
    )
    return torch.from_numpy(np.array(fitted)).permute(2, 0, 1)


def load_recognizer(where: str, device: torch.device | str = "cpu") -> Recognizer:
    """EfficientNet-Lite2 with ImageNet weights of a folder, a Hub id or an installed package.

    Raises:
        SettingError: one line, if there are none; for a missing package with the command that installs it.
    """
    classifier = load_lite_classifier("--classifier", where)
    variant, classes = variant_of(classifier.trunk.state_dict()), len(classifier.class_head.bias)
    if (variant, classes) != ("lite2", 1000):
        raise SettingError(f"--classifier: {where} is {variant} with {classes:,} classes; accepted: lite2 with 1,000")
    return Recognizer(classifier, device)


class FeatureStatistics:
    """Mean and covariance of features, gathered over batches in float64: memory does not grow with the pictures."""

    def __init__(self):
        self.count = 0
        self.sum: torch.Tensor | float = 0.0  # (width,) from the first features on
        self.products: torch.Tensor | float = 0.0  # (width, width)
        self.pending: list[torch.Tensor] = []

    def update(self, features: torch.Tensor) -> None:
        """Adds (B, width)."""
        self.count += len(features)
        self.pending.append(features.double())
        if sum(map(len, self.pending)) >= PENDING:
            self._add_pending()

    def mean_and_covariance(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(width,) and (width, width), the covariance as of a sample: divided by the number of pictures less one."""
        self._add_pending()
        mean = self.sum / self.count
        covariance = (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)
        return mean, covariance

    def _add_pending(self) -> None:
        if self.pending:
            features = torch.cat(self.pending)
            self.sum = self.sum + features.sum(0)
            self.products = self.products + features.T @ features
            self.pending = []


def frechet_distance(
    mean1: torch.Tensor, covariance1: torch.Tensor, mean2: torch.Tensor, covariance2: torch.Tensor
) -> float:
    """Squared Fréchet distance of two Gaussians: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    Heusel et al., "GANs trained by a two time-scale update rule" (2017), equation 6. C1 C2 is not symmetric, but has
    the eigenvalues of R C2 R with R = C1^(1/2), which is: they are real, whatever the rank of the covariances.

    Args:
        mean1: (D,), float64.
        covariance1: (D, D), symmetric.
        mean2: (D,).
        covariance2: (D, D), symmetric.
    """
    values, vectors = torch.linalg.eigh(covariance1)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    common = torch.linalg.eigvalsh(root @ covariance2 @ root).clamp(min=0).sqrt().sum()  # only rounding is below zero
    distance = (mean1 - mean2).square().sum() + covariance1.trace() + covariance2.trace() - 2 * common
    return max(0.0, distance.item())


class RecognitionMetrics:
    """What is recognized in one row's pictures, against labels and against what is recognized in the photographs.

    Args:
        label_mapping: (labels of the data set,), the class of ImageNet-1k for each; without it top-1 is not measured.
    """

    def __init__(self, label_mapping: torch.Tensor | None = None):
        self.label_mapping = label_mapping
        self.features = FeatureStatistics()
        self.sums = torch.zeros(3, dtype=torch.float64)  # pictures that agree, are labeled, are right
        self.bootstrap = Bootstrap()

    def update(
        self, seen: Recognized, in_truth: Recognized, labels: torch.Tensor | None
    ) -> dict[str, list[int | str]]:
        """Adds a batch.

        Args:
            seen: in the row's pictures.
            in_truth: in the photographs.
            labels: (B,), negative where there is none.

        Returns:
            Of every picture `lite2_agrees` and, where classes are mapped, `lite2_label_is_right`: 1, 0 or `""` for
            none.
        """
        self.features.update(seen.features)
        agrees = seen.logits.argmax(1) == in_truth.logits.argmax(1)  # (B,)
        known = right = torch.zeros_like(agrees)
        if self.label_mapping is not None and labels is not None:
            known = labels >= 0
            right = known & (seen.logits[:, self.label_mapping].argmax(1) == labels)
        counted = torch.stack((agrees, known, right), dim=1).double()  # (B, 3)
        self.sums += counted.sum(0)
        self.bootstrap.update(counted)
        values: dict[str, list[int | str]] = {"lite2_agrees": agrees.int().tolist()}
        if known.any():
            pairs = zip(known.tolist(), right.tolist(), strict=True)
            values["lite2_label_is_right"] = [int(is_right) if is_known else "" for is_known, is_right in pairs]
        return values

    def result(self, of_truth: "RecognitionMetrics") -> dict[str, float]:
        """`lite2_agreement` and, where there are labels, `lite2_top1`, in percent; from two pictures on `fd_lite2`."""
        figures = {"lite2_agreement": 100 * self.sums[0].item() / self.features.count}
        if (top1 := self.top1()) is not None:
            figures["lite2_top1"] = top1
        if self.features.count > 1:
            gaussians = (*of_truth.features.mean_and_covariance(), *self.features.mean_and_covariance())
            figures["fd_lite2"] = frechet_distance(*gaussians)
        return figures

    def top1(self) -> float | None:
        """In percent of the labeled pictures, among the classes of the data set; `None` without labels."""
        _, known, right = self.sums.tolist()
        return 100 * right / known if known else None

    def replicates(self) -> dict[str, np.ndarray]:
        """The percentages of `result` for each resampling of the pictures, drawn as `ColorMetrics.replicates` draws.

        None of the Fréchet distance: drawing with replacement repeats pictures and so flattens the covariance, which
        moves the distance itself.
        """
        agrees, known, right = self.bootstrap.means().T
        replicates = {"lite2_agreement": 100 * agrees}
        if self.sums[1]:
            with np.errstate(divide="ignore", invalid="ignore"):  # a resampling may miss all labeled pictures
                replicates["lite2_top1"] = 100 * right / known
        return replicates


class Recognition:
    """What one classifier recognizes in the photographs, for rows to be compared with.

    Args:
        recognizer: that looks.
        class_names: the data set's labels in their order, if it has any.
    """

    def __init__(self, recognizer: Recognizer, class_names: Sequence[str] | None):
        self.recognizer = recognizer
        self.label_mapping = None if class_names is None else imagenet_labels(class_names)
        self.of_truth = self.metrics()

    def metrics(self) -> RecognitionMetrics:
        """Of one row."""
        return RecognitionMetrics(self.label_mapping)


__all__ = [
    "FeatureStatistics",
    "Recognition",
    "RecognitionMetrics",
    "Recognized",
    "Recognizer",
    "fit_classifier",
    "frechet_distance",
    "load_recognizer",
]
