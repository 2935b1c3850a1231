"""Layers and tensors of an HDF5 file that Keras wrote, with or without its architecture beside the weights."""

import contextlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..errors import UserError

# What a file that holds its architecture too says of layers without changing the shape of any tensor.
PUBLISHED_SETTINGS: dict[str, dict[str, Any]] = {
    "BatchNormalization": {"epsilon": 1e-3},
    "Conv2D": {"padding": "same", "data_format": "channels_last"},
    "UpSampling2D": {"interpolation": "nearest", "data_format": "channels_last"},
}


class ConversionError(UserError):
    """The file is not the published network; "FILE: reason"."""


@dataclass(frozen=True)
class KerasLayer:
    """One layer of a file.

    Args:
        name: as in the file, such as `conv2d_7` or `block1_conv1`.
        tensors: its arrays in the file, by Keras' names (`kernel`, `bias`, `gamma` ...), read when they are indexed.
    """

    name: str
    tensors: dict[str, Any]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors, kernel or gamma first."""
        order = ["kernel", "bias", "gamma", "beta", *sorted(self.tensors)]
        return {name: tuple(self.tensors[name].shape or ()) for name in sorted(self.tensors, key=order.index)}

    @property
    def kind(self) -> type[nn.Module] | None:
        """The torch class that has such tensors, if any does."""
        if "gamma" in self.tensors:
            return nn.BatchNorm2d
        return {4: nn.Conv2d, 2: nn.Linear}.get(len(self.shapes.get("kernel", ())))

    @property
    def numbers(self) -> tuple[int, ...]:
        """What Keras counted: (7,) of conv2d_7, () of conv2d."""
        return tuple(map(int, re.findall(r"_(\d+)(?=_|$)", self.name)))


@contextlib.contextmanager
def open_layers(source: Path) -> Iterator[dict[str, KerasLayer]]:
    """The layers of an HDF5 file that have tensors, by name, while the file is open; errors inside name the file.

    Raises:
        ConversionError: if the file is damaged, is of another kind, or says that it is another network.
    """
    import h5py

    try:
        if not h5py.is_hdf5(source):
            raise ConversionError("not an HDF5 file")
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(h5py.File(source, "r"))
                layers = read_layers(file.get("model_weights", file))
                architecture = file.attrs.get("model_config")
            except (OSError, RuntimeError, KeyError, ValueError) as error:  # what h5py raises for damaged files
                raise ConversionError(f"damaged HDF5 file: {error}") from error
            check_settings(architecture)
            yield layers
    except ConversionError as error:
        raise ConversionError(f"{source}: {error}") from error


def read_layers(root: Any) -> dict[str, KerasLayer]:
    """Layers by name, of the group that holds one group for each layer and each nested model.

    A layer's group holds its tensors under the name that TensorFlow gave them (`conv2d_7/conv2d_7/kernel:0`, or
    `conv2d_7/conv2d_7_1/kernel:0` where a name was taken), so the outer name counts; that of a nested model holds
    those of all its layers (`model_1/block1_conv1/kernel:0`), so the inner names count. Links are not followed.
    """
    import h5py

    layers = {}
    for outer in root:
        scopes: dict[str, dict[str, Any]] = {}

        def visit(path: str, item: Any, scopes: dict = scopes) -> None:
            if isinstance(item, h5py.Dataset):
                scope, _, name = path.rpartition("/")
                scopes.setdefault(scope, {})[name.partition(":")[0]] = item

        if isinstance(root.get(outer, getlink=True), h5py.HardLink) and isinstance(root[outer], h5py.Group):
            root[outer].visititems(visit)
        for scope, tensors in scopes.items():
            name = outer if len(scopes) == 1 else scope.rpartition("/")[2]
            if name in layers:
                raise ConversionError(f"{name} is there twice; accepted: one network")
            layers[name] = KerasLayer(name, tensors)
    return layers


def read_tensor(layer: KerasLayer, name: str) -> np.ndarray:
    """A tensor of the file, in float32.

    Raises:
        ConversionError: naming the layer, if these are no finite numbers, or are not in the file.
    """
    dataset = layer.tensors[name]
    if dataset.dtype.kind != "f" or dataset.external or dataset.is_virtual:
        raise ConversionError(f"{layer.name} has a {name} of type {dataset.dtype}; accepted: floats inside the file")
    try:
        array = dataset[()].astype(np.float32, copy=False)
    except OSError as error:
        raise ConversionError(f"{layer.name} has a {name} that cannot be read: {error}") from error
    if not np.isfinite(array).all():
        raise ConversionError(f"{layer.name} has a {name} with values that are no finite numbers")
    return array


def check_settings(architecture: str | bytes | None) -> None:
    """Compares what a whole model says of its layers with the published network; weights-only files say nothing.

    Raises:
        ConversionError: naming the first layer that differs.
    """
    if architecture is None:
        return
    try:
        pending = [json.loads(architecture)]
    except ValueError as error:
        raise ConversionError(f"damaged model_config: {error}") from error
    while pending:
        layer = pending.pop(0)
        settings = layer.get("config") if isinstance(layer, dict) else None
        if not isinstance(settings, dict):
            continue
        pending += settings["layers"] if isinstance(settings.get("layers"), list) else []
        for name, published in PUBLISHED_SETTINGS.get(str(layer.get("class_name")), {}).items():
            found = settings.get(name, published)
            if found != published and not (isinstance(published, float) and math.isclose(found, published)):
                raise ConversionError(f"{settings.get('name')} has {name} {found!r}; accepted: {published!r}")


__all__ = ["ConversionError", "KerasLayer", "open_layers", "read_tensor"]
