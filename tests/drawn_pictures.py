"""Tables and files of small drawn pictures, for tests of the data path."""

import io

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PillowImage


def picture_bytes(number: int, mode: str = "RGB", size: tuple[int, int] = (48, 40)) -> bytes:
    random = np.random.default_rng(number)
    colors = random.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    picture = PillowImage.fromarray(colors).resize(size, PillowImage.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def make_dataset(contents: list[bytes], labels: list[int] | None = None) -> Dataset:
    columns = {"image": [{"bytes": content, "path": None} for content in contents]}
    features = {"image": Image(decode=False)}
    if labels is not None:
        columns["label"], features["label"] = labels, ClassLabel(names=["first", "second", "third"])
    return Dataset.from_dict(columns, features=Features(features))


def write_parquet(folder, contents, labels=None, split="train"):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    data = make_dataset(contents, labels).cast_column("image", Image())
    data.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
