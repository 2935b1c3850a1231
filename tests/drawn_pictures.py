"""Tables and files of small drawn pictures, for tests of the data path."""

import functools
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PillowImage
from PIL import ImageCms

CLASS_NAMES = ["first", "second", "third"]


@functools.cache
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
        columns["label"], features["label"] = labels, ClassLabel(names=CLASS_NAMES)
    return Dataset.from_dict(columns, features=Features(features))


def write_parquet(folder, contents, labels=None, split="train"):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    data = make_dataset(contents, labels).cast_column("image", Image())
    data.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


def write_row_groups(path: Path, contents: list[bytes], first: int = 0, group: int = 10) -> None:
    """A parquet file as `datasets` writes it, `group` rows to a row group; the label of a row is its number."""
    features = {"image": {"_type": "Image"}, "label": {"names": CLASS_NAMES, "_type": "ClassLabel"}}
    image_type = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([{"bytes": content, "path": None} for content in contents], image_type)
    labels = pa.array(range(first, first + len(contents)), pa.int64())
    table = pa.table({"image": images, "label": labels})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)


def sunset() -> PillowImage.Image:
    """Blue above, orange below, 48 wide and 40 high: it shows which way is up, and what was done to its colors."""
    pixels = np.zeros((40, 48, 3), dtype=np.uint8)
    pixels[:20], pixels[20:] = (60, 110, 200), (200, 130, 60)
    return PillowImage.fromarray(pixels)


def sideways(picture: PillowImage.Image) -> bytes:
    """What a camera saves that was held upright: the picture turned, and how to turn it back."""
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    picture.transpose(PillowImage.Transpose.ROTATE_90).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def swapped(picture: PillowImage.Image) -> bytes:
    """What a program saves whose working space is not sRGB; here red and blue of sRGB changed places."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = srgb.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")
    red, green, blue = picture.split()
    file = io.BytesIO()
    PillowImage.merge("RGB", (blue, green, red)).save(file, "JPEG", quality=95, icc_profile=profile)
    return file.getvalue()
