"""Which class of a classifier means the same as which label of a data set."""

from collections.abc import Sequence

import torch

from ..configuration_chromagan import ChromaGANConfig
from ..sources.imagenet_classes import read_classes


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
    if config.num_labels == 1000 and (mapping := imagenet_labels(class_names)) is not None:
        return mapping, f"ImageNet-1k's, choosing among the {len(class_names):,} of the data set"
    return None, f"its {config.num_labels:,} classes are not the {len(class_names):,} labels of the data set"


def imagenet_labels(class_names: Sequence[str]) -> torch.Tensor | None:
    """The class of ImageNet-1k, 0 to 999 in its order, that each label of a data set means.

    Args:
        class_names: WordNet ids or names of `imagenet_classes.csv`, any of them; or the thousand of ImageNet-1k in its
            order, in other words.

    Returns:
        (number of labels,) int64, or `None` if they are none of these.
    """
    classes = read_classes("imagenet_classes.csv")
    for column in ("wnid", "name"):
        labels = {row[column]: int(row["label"]) for row in classes}
        if all(name in labels for name in class_names):
            return torch.tensor([labels[name] for name in class_names])
    if len(class_names) == len(classes):
        pairs = zip(class_names, classes, strict=True)
        in_place = sum(_first_word(name) == _first_word(row["name"]) for name, row in pairs)
        if in_place > len(classes) / 2:  # many a class has several names: those that agree tell the order
            return torch.arange(len(classes))
    return None


def _first_word(names: str) -> str:
    return names.partition(",")[0].strip().casefold()


__all__ = ["imagenet_labels", "match_classes"]
