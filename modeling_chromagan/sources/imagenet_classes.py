"""Names and WordNet ids of the classes of ImageNet-1k, and which of them Tiny ImageNet's are."""

import csv
from pathlib import Path


def imagenet_class_names() -> list[str]:
    """English names of the 1,000 ImageNet classes, in the order of its classifiers; no two are equal."""
    return [row["name"] for row in read_classes("imagenet_classes.csv")]


def read_classes(name: str) -> list[dict[str, str]]:
    """The rows of `imagenet_classes.csv` (`label`, `wnid`, `name`) or `tiny_imagenet_classes.csv`."""
    with open(Path(__file__).with_name(name), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


__all__ = ["imagenet_class_names", "read_classes"]
