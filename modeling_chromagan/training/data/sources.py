"""The sources of a recipe are found, opened and described: data sets, local copies of them, folders of pictures."""

import math
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image, get_dataset_split_names, load_dataset
from datasets.exceptions import DatasetsError
from PIL import Image as PillowImage

from ...errors import SettingError, one_line
from ...image_loading import ACCEPTED_FORMATS
from ...sources.picture_files import data_set_options, is_picture_folder, list_pictures
from ..recipe import Data, Source
from .batches import Photographs
from .filters import FLAWS, find_flaw
from .shuffled_stream import StreamedRows, class_names, list_splits, open_stream

LOOKED_THROUGH = 2000  # pictures of a folder, at most, that are all judged before training begins
VALIDATION_POOL = 16  # row groups of a streamed split, all read before training begins


def locate(name: str, source: Source) -> str | None:
    """The folder or Hub id that a source is read from; `None` for an optional source that is not to be had.

    A folder that `path` names comes first, then a local copy below the folder that CHROMAGAN_DATA names, then the Hub.

    Raises:
        SettingError: for a source that is neither local nor on the Hub.
    """
    path = os.path.expanduser(source.path)  # no shell does it behind an equals sign
    if path and Path(path).exists():
        return path
    root = os.environ.get("CHROMAGAN_DATA", "")
    if root and source.local and (Path(root) / source.local).is_dir():
        return str(Path(root) / source.local)
    if source.optional:
        return None
    if path.startswith((".", "/", "~")) or (path.count("/") > 1 and "://" not in path):  # a Hub id is OWNER/NAME
        raise SettingError(
            f"data.sources.{name}.path is {source.path!r}; accepted: a folder that is there, or a Hub id"
        )
    if path:
        return path
    raise SettingError(
        f"data.sources.{name}: no folder {source.local!r} in CHROMAGAN_DATA ({root or 'unset'}); "
        "accepted: set CHROMAGAN_DATA to the folder that holds it, or give the source a path"
    )


def open_split(name: str, source: Source, split: str) -> Dataset:
    """One split of a source that is not streamed, its pictures still encoded.

    Raises:
        SettingError: naming the source, for a data set, split or column that does not exist or cannot be reached.
    """
    where = locate(name, source)
    try:
        if is_picture_folder(where):
            data = open_folder(name, Path(where), split, source.use_labels)
        else:
            data = load_dataset(**data_set_options(where), split=split)
    except SettingError:
        raise
    except (DatasetsError, OSError, ValueError) as error:
        reason = one_line(error)
        raise SettingError(f"data.sources.{name}: {where}, split {split!r}: {reason}") from error
    if source.image_column not in data.column_names:
        raise SettingError(
            f"data.sources.{name}.image_column is {source.image_column!r}; "
            f"accepted: one of {', '.join(data.column_names)}"
        )
    if source.use_labels and source.label_column not in data.column_names:
        raise SettingError(
            f"data.sources.{name}.label_column is {source.label_column!r}; "
            f"accepted: one of {', '.join(data.column_names)}"
        )
    return data.cast_column(source.image_column, Image(decode=False))


def open_folder(name: str, folder: Path, split: str, use_labels: bool) -> Dataset:
    """The pictures of a folder, whatever they are called and however deep they lie, in the order of their paths.

    Args:
        name: of the source, for messages.
        folder: that the recipe names.
        split: `train` is all of it, another name one of its sub-folders.
        use_labels: every picture's class is then called like the folder it lies in.

    Raises:
        SettingError: for a folder without pictures, or a picture without a class.
    """
    root = folder if split == "train" else folder / split
    if not root.is_dir():
        raise SettingError(
            f"data.sources.{name}: {folder} has no sub-folder {split!r}; accepted: train, which is all of its "
            "pictures, or the name of a sub-folder"
        )
    files = list_pictures(root)
    if not files:
        accepted = f"parquet files or pictures ({ACCEPTED_FORMATS})"
        raise SettingError(f"data.sources.{name}: {root} holds no pictures; accepted: {accepted}")
    columns, features = (
        {"image": [{"path": str(file), "bytes": None} for file in files]},
        {"image": Image(decode=False)},
    )
    if use_labels:
        loose = [file for file in files if file.parent == root]
        if loose:
            raise SettingError(
                f"data.sources.{name}.use_labels is true and {loose[0]} lies in no sub-folder; accepted: a sub-folder "
                "for every class"
            )
        classes = sorted({file.parent.name for file in files})
        columns["label"], features["label"] = [file.parent.name for file in files], ClassLabel(names=classes)
    return Dataset.from_dict(columns, features=Features(features))


def open_sources(
    settings: Data, seed: int, say: Callable[[str], None] | None = print, longest_side: int | None = None
) -> tuple[dict[str, Photographs], list[PillowImage.Image], list[str] | None]:
    """Every source of a recipe, the validation pictures, and the class names of the labelled source.

    Args:
        settings: of the recipe.
        seed: of the order of the pictures.
        say: is told where each source is read from, how a streamed one is mixed, which pictures of a folder are not
            fit to learn from, and which optional sources were left out; `None`: nobody asks.
        longest_side: that pictures are ever resized to, so that larger ones need not be decoded whole; `None`: any.

    Raises:
        SettingError: if a source that is not optional cannot be had.
    """
    opened, validation, names = {}, None, None
    tell = say or (lambda line: None)
    validation_name = settings.validation.source or next(iter(settings.sources))
    for number, (name, source) in enumerate(settings.sources.items()):
        where = locate(name, source)
        if where is None:
            tell(f"data: {name} left out: optional and not found")
            continue
        own_seed = seed * 1000 + number
        if source.streaming:
            files, groups = open_stream(name, where, source, source.split, settings)
            data = StreamedRows(files, groups, own_seed, settings.pool_mebibytes * 2**20)
            tell(f"data: {name} streamed from {where}: {data.describe()}")
            features = class_names(files, where, source.label_column) if source.use_labels else None
        else:
            data = open_split(name, source, source.split)
            tell(f"data: {name} from {where}")
            features = getattr(data.features[source.label_column], "names", None) if source.use_labels else None
        if source.use_labels:
            if not features:
                raise SettingError(f"data.sources.{name}: column {source.label_column!r} holds no class labels")
            names = features
        short_side = longest_side and max(math.ceil(longest_side / source.min_crop), settings.min_side)
        if is_picture_folder(where) and say is not None:
            say(f"data: {name}: {describe_folder(Photographs(data, source, settings, short_side=short_side))}")
        rows = None
        if name == validation_name:
            rows, held_out = split_for_validation(name, source, settings, data, seed)
            validation = collect_validation(held_out, source, settings, short_side)
        opened[name] = Photographs(data, source, settings, own_seed, rows, short_side)
    if validation is None:
        raise SettingError(
            f"data.validation.source: {validation_name} is not to be had; accepted: {', '.join(opened)}"
        )
    return opened, validation, names


def describe_folder(photographs: Photographs) -> str:
    """How many pictures of a folder are fit to learn from, and which are not, where it is small enough to look."""
    total = len(photographs.data)
    if total > LOOKED_THROUGH:
        return f"{total:,} pictures; those that are unfit are passed over as they come"
    unfit = defaultdict(list)
    for row in range(total):
        cell = photographs.data[row]
        picture, _ = photographs.read(cell)
        flaw = "broken" if picture is None else find_flaw(picture, photographs.settings)
        if flaw is not None:
            unfit[flaw].append(Path(cell["image"]["path"]).name)
    if not unfit:
        return f"all {total:,} pictures"
    groups = []
    for flaw in FLAWS:
        if unfit[flaw]:
            more = ["..."] if len(unfit[flaw]) > 3 else []
            groups.append(f"{len(unfit[flaw])} {flaw} ({', '.join(unfit[flaw][:3] + more)})")
    return f"{total - sum(map(len, unfit.values())):,} of {total:,} pictures; left out: {', '.join(groups)}"


def describe_rejected(rejected: dict[str, int]) -> str:
    """What a training passed over, from its counts by flaw."""
    groups = [f"{count:,} {flaw}" for flaw, count in rejected.items() if count]
    if not groups:
        return "nothing was passed over"
    return f"passed over {sum(rejected.values()):,} times: {', '.join(groups)}; other pictures took these places"


def split_for_validation(
    name: str, source: Source, settings: Data, data: Dataset | StreamedRows, seed: int
) -> tuple[np.ndarray | None, Dataset | StreamedRows]:
    """Training rows (`None`: all) and the held-out data of the validation source."""
    wanted = settings.validation
    where = locate(name, source)
    if wanted.split is not None and is_picture_folder(where):
        held_out = open_split(name, source, wanted.split)
        paths = {cell["path"] for cell in held_out["image"]}
        return np.array([i for i, cell in enumerate(data["image"]) if cell["path"] not in paths]), held_out
    if wanted.split is not None:
        available = (
            list_splits(name, where) if source.streaming else get_dataset_split_names(**data_set_options(where))
        )
        if available is not None and wanted.split not in available:
            raise SettingError(f"data.validation.split is {wanted.split!r}; accepted: {', '.join(available)}")
        if not source.streaming:
            return None, open_split(name, source, wanted.split)
        unlimited = source.model_copy(update={"max_samples": None})
        files, groups = open_stream(name, where, unlimited, wanted.split, settings)
        return None, StreamedRows(files, groups, 0, settings.pool_mebibytes * 2**20, VALIDATION_POOL)
    if source.streaming:
        raise SettingError(f"data.validation.split is null; accepted: a split's name while {name} is streamed")
    order = np.random.default_rng([seed, 1]).permutation(len(data))
    held_out = max(1, round(len(data) * wanted.fraction))
    return np.sort(order[held_out:]), data.select(np.sort(order[:held_out]))


def collect_validation(
    data: Dataset | StreamedRows, source: Source, settings: Data, short_side: int | None
) -> list[PillowImage.Image]:
    """The first suitable pictures of a fixed shuffle (data sets are sorted by class)."""
    if isinstance(data, StreamedRows):
        rows = (next(data.candidates(position)) for position in range(len(data)))
    else:
        rows = (data[int(index)] for index in np.random.default_rng(0).permutation(len(data)))
    photographs = Photographs(data, source, settings, short_side=short_side)
    colorful = settings.model_copy(update={"min_colorfulness": max(settings.min_colorfulness, 12.0)})
    pictures = []
    for row in rows:
        picture, _ = photographs.read(row)
        if picture is not None and find_flaw(picture, colorful) is None:
            pictures.append(picture)
        if len(pictures) == settings.validation.samples:
            break
    if not pictures:
        raise SettingError("data.validation: no readable color picture that is large enough")
    return pictures
