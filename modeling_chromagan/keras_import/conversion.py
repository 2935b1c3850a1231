"""The published Keras weights of ChromaGAN (HDF5, as Keras 2.2.4 wrote it) as a model folder.

Neither Keras nor TensorFlow is needed, only h5py. Which layer of the file is which of the generator is found by the
shapes of its tensors and by the numbers that Keras gave its layers, in order of their making; the numbers start
anywhere, because other networks were made earlier in the same process. Only the VGG-16 trunk has names of its own.

What Keras does differently, and where it is taken care of:

- kernels are (height, width, in, out) and (in, out): `to_torch`;
- pictures are flattened channels last, so the rows of the first dense kernels are in another order: `to_torch`;
- "same" padding at stride 2 is asymmetric: `same_padding` in layers.py, for the critic too;
- batch norm has epsilon 1e-3 and momentum 0.99, upsampling repeats pixels: generator_chromagan.py.
"""

import math
import re
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..configuration_chromagan import ChromaGANConfig
from ..durable_files import replacing_folder
from ..image_processing_chromagan import ChromaGANImageProcessor
from ..layers import scale_width
from ..modeling_chromagan import ChromaGANGenerator
from ..pipeline_chromagan import ChromaGANPipeline
from .file import ConversionError, KerasLayer, open_layers, read_tensor
from .parity import Differences, compare

# Keras' names of a layer's tensors, and torch's.
WEIGHT_AND_BIAS = {"kernel": "weight", "bias": "bias"}
TENSOR_NAMES = {
    nn.Conv2d: WEIGHT_AND_BIAS,
    nn.Linear: WEIGHT_AND_BIAS,
    nn.BatchNorm2d: {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    },
}
KINDS = {nn.Conv2d: "convolution", nn.Linear: "dense layer", nn.BatchNorm2d: "batch norm"}


def convert(
    source: Path, folder: Path, class_head: bool | None = None, report: bool = False
) -> tuple[ChromaGANGenerator, Differences | None]:
    """Writes a Keras file of the published network as a `from_pretrained` folder, complete or not at all.

    Widths, sizes of the dense layers, picture size and number of classes are taken from the shapes in the file.

    Args:
        source: HDF5 file, of a whole model or of weights only.
        folder: new or empty.
        class_head: `False` leaves the class head out, `True` demands it, `None` does as the file does.
        report: also compare what was written with `evaluate_in_numpy`.

    Returns:
        The generator, and the differences if they were asked for.

    Raises:
        ConversionError: naming the file and the first layer that differs from the published network.
        ImportError: without h5py.
        OSError, SafetensorError: if the folder cannot be written.
    """
    with open_layers(source) as layers:
        config = infer_config(layers)
        if class_head and not config.class_head:
            raise ConversionError("no class head; accepted without --class-head")
        with torch.device("meta"):
            roles = find_roles(layers, ChromaGANGenerator(config).network)
            if class_head is False:
                config.class_head = False
                roles = {path: layer for path, layer in roles.items() if not path.startswith("class_head.")}
            generator = ChromaGANGenerator(config).eval()
        generator.network.load_state_dict(to_state(roles, generator.network), assign=True)
        processor = ChromaGANImageProcessor(encoding=config.encoding, size=config.image_size)
        with replacing_folder(folder) as partial:
            ChromaGANPipeline(generator, processor).save_pretrained(partial)
            differences = None
            if report:
                # What a user will load, not what is in memory.
                generator = ChromaGANGenerator.from_pretrained(partial, dtype=torch.float32).eval()
                differences = compare(generator, roles)
                if not differences.small:
                    raise ConversionError(differences)
            if folder.exists():
                folder.rmdir()  # an error where something is in it
    return generator, differences


# ------------------------------------------------------------------------------------------------------- the roles


def infer_config(layers: dict[str, KerasLayer]) -> ChromaGANConfig:
    """The published network in the sizes that the shapes of a file say.

    Raises:
        ConversionError: naming the first layer without which, or with which, there is no such network.
    """
    first = next((layer for layer in layers.values() if trunk_position(layer.name) == (1, 1)), None)
    if first is None or first.kind != nn.Conv2d:
        found = ", ".join(sorted(layers)[:3]) or "none"
        raise ConversionError(f"no convolution block1_conv1, the first of the VGG-16 trunk (layers: {found} ...)")
    width = first.shapes["kernel"][-1] / 64
    deep_channels, mid_channels = scale_width(512, width), scale_width(256, width)

    dense = in_order_of_making(layers, nn.Linear)
    if not dense:
        raise ConversionError("no dense layer, where the global features have three")
    flat = dense[0].shapes["kernel"][0]
    chains: list[list[int]] = []  # each starts at the flattened grid
    for layer in dense:
        features = layer.shapes["kernel"][0]
        if chains and features == chains[-1][-1]:
            chains[-1].append(layer.shapes["kernel"][1])
        elif features == flat and len(chains) < 2:
            chains.append([layer.shapes["kernel"][1]])
        else:
            raise ConversionError(
                f"{layer.name} takes {features} features; accepted: {chains[-1][-1]}, what the layer before it gives"
            )
    grid = math.isqrt(flat // deep_channels)
    if grid < 1 or grid * grid * deep_channels != flat:
        raise ConversionError(f"{dense[0].name} takes {flat} features; accepted: {deep_channels} times a square")

    # The 1x1 convolution takes the mid-level features and the last of the global ones.
    shapes = [layer.shapes["kernel"] for layer in in_order_of_making(layers, nn.Conv2d)]
    fused = next((shape[2] for shape in shapes if shape[:2] == (1, 1)), None)
    chains.sort(key=lambda sizes: fused is not None and sizes[-1] != fused - mid_channels)
    head = chains[1] if len(chains) > 1 else None
    try:
        return ChromaGANConfig(
            architecture="chromagan",
            encoding="unit8",
            width_multiplier=width,
            image_size=32 * grid,
            global_hidden_sizes=chains[0],
            **({"class_head": False} if head is None else {"class_hidden_sizes": head[:-1], "num_labels": head[-1]}),
        )
    except ValueError as error:
        raise ConversionError(error) from error


def in_order_of_making(layers: dict[str, KerasLayer], kind: type[nn.Module]) -> list[KerasLayer]:
    """The layers of a kind outside the trunk, by the numbers in their names."""
    found = [layer for layer in layers.values() if layer.kind is kind and not trunk_position(layer.name)]
    return sorted(found, key=lambda layer: layer.numbers)


def trunk_position(name: str) -> tuple[int, int] | None:
    """Stage and layer of a name that VGG-16 gives its convolutions, (1, 2) of block1_conv2; `None` of others."""
    match = re.match(r"block(\d+)_conv(\d+)", name)
    return (int(match[1]), int(match[2])) if match else None


def find_roles(layers: dict[str, KerasLayer], network: nn.Module) -> dict[str, KerasLayer]:
    """The layer of the file for each module of `network` (a `FusionGenerator`) that has weights, by module name.

    Raises:
        ConversionError: naming the first layer that differs, what it is and what is there in the published network.
    """
    modules = {path: module for path, module in network.named_modules() if type(module) in TENSOR_NAMES}
    trunk = {trunk_position(layer.name): layer for layer in layers.values() if trunk_position(layer.name)}
    roles, used = {}, set()

    def check(path: str, layer: KerasLayer | None) -> None:
        module = modules[path]
        expected = expected_shapes(module)
        place = f"{KINDS[type(module)]} {path.removesuffix('.conv').removesuffix('.norm')}, {describe(expected)}"
        if layer is None:
            raise ConversionError(f"no layer left for the {place}")
        if layer.shapes != expected:
            raise ConversionError(f"{layer.name} has {describe(layer.shapes)}; accepted: the {place}")
        roles[path] = layer
        used.add(layer.name)

    for path in modules:
        if path.startswith("trunk."):
            stage, position = map(int, re.findall(r"conv(\d+)_(\d+)", path)[0])
            check(path, trunk.get((stage, position)))
    for kind in TENSOR_NAMES:
        candidates = in_order_of_making(layers, kind)
        paths = [path for path, module in modules.items() if type(module) is kind and not path.startswith("trunk.")]
        # Sister branches may have been made in either order; their shapes tell. The published order is tried first.
        orders = [paths, swap(paths, "global_convs.", "mid_level."), swap(paths, "global_dense.", "class_head.")]
        paths = max(orders, key=lambda order: leading_fits([modules[path] for path in order], candidates))
        for i, path in enumerate(paths):
            check(path, candidates[i] if i < len(candidates) else None)
    for name, layer in layers.items():
        if name not in used:
            raise ConversionError(f"{name} has {describe(layer.shapes)}; accepted: no further layer")
    return roles


def expected_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of a module's tensors as Keras has them, by Keras' names."""
    shapes = {}
    for keras_name, name in TENSOR_NAMES[type(module)].items():
        shape = tuple(getattr(module, name).shape)
        shapes[keras_name] = (*shape[2:], *shape[1::-1]) if len(shape) > 1 else shape
    return shapes


def swap(paths: list[str], one: str, other: str) -> list[str]:
    """`paths` with those of two prefixes exchanged."""
    first = [path for path in paths if path.startswith((one, other))]
    second = sorted(first, key=lambda path: path.startswith(one))  # stable: `other` first
    replaced = dict(zip(first, second, strict=True))
    return [replaced.get(path, path) for path in paths]


def leading_fits(modules: list[nn.Module], candidates: list[KerasLayer]) -> int:
    """How many of the first candidates have the shapes of their modules."""
    for i, (module, layer) in enumerate(zip(modules, candidates, strict=False)):
        if layer.shapes != expected_shapes(module):
            return i
    return min(len(modules), len(candidates))


def describe(shapes: dict[str, tuple[int, ...]]) -> str:
    """Names and shapes of tensors, for messages."""
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())


# ----------------------------------------------------------------------------------------------------- the weights


def to_state(roles: dict[str, KerasLayer], network: nn.Module) -> dict[str, torch.Tensor]:
    """The state dictionary of `network` from the layers of a file.

    Raises:
        ConversionError: naming the first layer that cannot be read.
    """
    state = {}
    for path, module in network.named_modules():
        for keras_name, name in TENSOR_NAMES.get(type(module), {}).items():
            array = read_tensor(roles[path], keras_name)
            state[f"{path}.{name}"] = torch.from_numpy(to_torch(array, network, path))
        if isinstance(module, nn.BatchNorm2d):
            state[f"{path}.num_batches_tracked"] = torch.tensor(0)
    return state


def to_torch(array: np.ndarray, network: nn.Module, path: str) -> np.ndarray:
    """A tensor of the file in the order of axes that the module `path` of `network` has."""
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(3, 2, 0, 1))  # (h, w, in, out) -> (out, in, h, w)
    if array.ndim == 2 and path in ("global_dense.dense1", "class_head.dense1"):
        return from_channels_last(array, network.pooled_size)
    return np.ascontiguousarray(array.T)


def from_channels_last(kernel: np.ndarray, grid: int) -> np.ndarray:
    """A dense kernel (grid * grid * channels, out) as weights (out, channels * grid * grid)."""
    channels = len(kernel) // grid**2
    kernel = kernel.reshape(grid, grid, channels, -1).transpose(3, 2, 0, 1)  # (out, channels, grid, grid)
    return np.ascontiguousarray(kernel).reshape(len(kernel), -1)


__all__ = ["ConversionError", "convert"]
