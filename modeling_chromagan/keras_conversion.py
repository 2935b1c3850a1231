"""`chromagan convert`: the published Keras weights of ChromaGAN (HDF5, as Keras 2.2.4 wrote it) as a model folder.

Neither Keras nor TensorFlow is needed, only h5py. Which layer of the file is which of the generator is found by the
shapes of its tensors and by the numbers that Keras gave its layers, in order of their making; the numbers start
anywhere, because other networks were made earlier in the same process. Only the VGG-16 trunk has names of its own.

What Keras does differently, and where it is taken care of:

- kernels are (height, width, in, out) and (in, out): `to_torch`;
- pictures are flattened channels last, so the rows of the first dense kernels are in another order: `to_torch`;
- "same" padding at stride 2 is asymmetric: `same_padding` in generator_chromagan.py, for the critic too;
- batch norm has epsilon 1e-3 and momentum 0.99, upsampling repeats pixels: generator_chromagan.py.
"""

import argparse
import contextlib
import json
import math
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from .configuration_chromagan import ChromaGANConfig
from .generator_chromagan import scale_width
from .image_processing_chromagan import ChromaGANImageProcessor
from .messages import only_own_output
from .modeling_chromagan import ChromaGANGenerator
from .pipeline_chromagan import ChromaGANPipeline

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

# What a file that holds its architecture too says of layers without changing the shape of any tensor.
PUBLISHED_SETTINGS = {
    "BatchNormalization": {"epsilon": 1e-3},
    "Conv2D": {"padding": "same", "data_format": "channels_last"},
    "UpSampling2D": {"interpolation": "nearest", "data_format": "channels_last"},
}

# Largest difference that `--report` accepts: of ab, and of the class logits as a part of the largest of them.
TOLERANCE = 1e-4


class ConversionError(Exception):
    """The file is not the published network; the text is one line, "FILE: reason"."""


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


@dataclass(frozen=True)
class Differences:
    """Largest differences between a converted generator and an evaluation of its file.

    Args:
        ab: of encoded ab.
        ab_span: least and greatest encoded ab; a narrow span proves little.
        class_logits: of the class logits; `None` without a class head.
        logit_peak: the greatest absolute logit.
        size: side of the picture, in pixels.
    """

    ab: float
    ab_span: tuple[float, float]
    class_logits: float | None
    logit_peak: float
    size: int

    @property
    def small(self) -> bool:
        """Whether both are what float32 arithmetic explains."""
        return self.ab <= TOLERANCE and (self.class_logits or 0.0) <= TOLERANCE * max(1.0, self.logit_peak)

    def __str__(self) -> str:
        classes = ""
        if self.class_logits is not None:
            classes = f", class logits {self.class_logits:.1e} (up to {self.logit_peak:.3g})"
        low, high = self.ab_span
        return (
            f"largest differences from NumPy on the file's own tensors, random {self.size}x{self.size} picture: "
            f"ab {self.ab:.1e} (spans {low:.2f} to {high:.2f}){classes}"
        )


# ------------------------------------------------------------------------------------------------- the command line


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the parser of `chromagan convert` its arguments."""
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="HDF5 file with the weights, such as my_model_colorization.h5")
    add("-o", "--out", type=Path, required=True, metavar="FOLDER", help="model folder to write; new, or empty")
    add(
        "--class-head",
        action=argparse.BooleanOptionalAction,
        help="demand the class head, or leave it out: colors do not depend on it, and it is three quarters of the "
        "weights (default: as in the file)",
    )
    add(
        "--report",
        action="store_true",
        help="run what was written and the file's own tensors on a random picture and print the largest differences",
    )


def run_convert(options: argparse.Namespace) -> int:
    """Runs `chromagan convert` with parsed arguments; returns the exit code, as the other commands do."""
    problem = usage_problem(options.file, options.out)
    if problem:
        return fail(problem, 2)
    try:
        with only_own_output(quiet=False):
            generator, differences = convert(options.file, options.out, options.class_head, report=options.report)
    except ConversionError as error:
        return fail(error, 1)
    except MemoryError:
        return fail(f"{options.file}: too large for the memory that is free", 1)
    except (OSError, SafetensorError) as error:
        return fail(f"-o {options.out} cannot be written: {getattr(error, 'strerror', None) or error}", 1)
    config = generator.config
    weights = sum(tensor.numel() for tensor in generator.state_dict().values() if tensor.ndim)  # no counters
    head = f"class head of {config.num_labels} classes" if config.class_head else "no class head"
    print(f"{options.out}: {weights:,} weights, {config.image_size} pixels, {head}")
    if differences is not None:
        print(differences)
    return 0


def usage_problem(source: Path, folder: Path) -> str | None:
    """Why nothing can be converted here, found before any work; `None` if nothing speaks against it."""
    try:
        import h5py  # noqa: F401
    except ImportError:
        return 'h5py is missing; it comes with pip install "chromagan[convert]"'
    if not source.is_file():
        return f"{source}: {'not a file' if source.exists() else 'no such file'}; accepted: an HDF5 file with weights"
    if not os.access(source, os.R_OK):
        return f"{source}: cannot be read: permission denied"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir()) or folder.samefile(os.curdir)):
        return f"-o {folder} exists; accepted: a new folder, or an empty one that is not the current one"
    parent = next(parent for parent in folder.absolute().parents if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        return f"-o {folder} cannot be made in {parent}; accepted: a place that can be written"
    return None


def fail(reason: object, code: int) -> int:
    """Prints the one line of an error to stderr and returns `code`."""
    print(f"chromagan convert: error: {' '.join(str(reason).split())}", file=sys.stderr)
    return code


# -------------------------------------------------------------------------------------------------------- the work


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
        processor = ChromaGANImageProcessor(encoding=config.encoding, working_size=config.image_size)
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(f".{secrets.token_hex(8)}.part")
        try:
            ChromaGANPipeline(generator, processor).save_pretrained(partial)
            differences = None
            if report:
                # What a user will load, not what is in memory.
                generator = ChromaGANGenerator.from_pretrained(partial, dtype=torch.float32).eval()
                differences = compare(generator, roles)
                if not differences.small:
                    raise ConversionError(differences)
            if folder.exists():
                folder.rmdir()
            partial.rename(folder)
        except BaseException:  # an interruption too leaves nothing behind
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return generator, differences


# -------------------------------------------------------------------------------------------------------- the file


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
        scopes = {}

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


# ------------------------------------------------------------------------------------------------------- the roles


def infer_config(layers: dict[str, KerasLayer]) -> ChromaGANConfig:
    """The published network in the sizes that the shapes of a file say.

    Raises:
        ConversionError: naming the first layer without which, or with which, there is no such network.
    """
    first = next((layer for layer in layers.values() if trunk_position(layer.name) == (1, 1)), None)
    if first is None or first.kind is not nn.Conv2d:
        found = ", ".join(sorted(layers)[:3]) or "none"
        raise ConversionError(f"no convolution block1_conv1, the first of the VGG-16 trunk (layers: {found} ...)")
    width = first.shapes["kernel"][-1] / 64
    deep_channels, mid_channels = scale_width(512, width), scale_width(256, width)

    dense = in_order_of_making(layers, nn.Linear)
    if not dense:
        raise ConversionError("no dense layer, where the global features have three")
    flat = dense[0].shapes["kernel"][0]
    chains = []  # each starts at the flattened grid
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
            generator="chromagan",
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
            stage, position = map(int, re.search(r"conv(\d+)_(\d+)", path).groups())
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


# ------------------------------------------------------------------------------------------------------ the report


def compare(generator: ChromaGANGenerator, roles: dict[str, KerasLayer], seed: int = 0) -> Differences:
    """Runs a converted generator and `evaluate_in_numpy` on one random picture of the training size."""
    size = generator.config.image_size
    random = np.random.default_rng(seed)
    coarse = random.random((size // 16, size // 16), dtype=np.float32).repeat(16, axis=0).repeat(16, axis=1)
    luminance = 0.7 * coarse + 0.3 * random.random((size, size), dtype=np.float32)
    with torch.no_grad():
        output = generator(torch.from_numpy(luminance)[None, None])
    ab, logits = evaluate_in_numpy(roles, luminance)
    ours = output.reconstruction[0].permute(1, 2, 0).numpy()
    heads = output.logits is not None
    return Differences(
        ab=float(np.abs(ours - ab).max()),
        ab_span=(float(ab.min()), float(ab.max())),
        class_logits=float(np.abs(output.logits[0].numpy() - logits).max()) if heads else None,
        logit_peak=float(np.abs(logits).max()) if heads else 0.0,
        size=size,
    )


def evaluate_in_numpy(roles: dict[str, KerasLayer], luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The published network on the tensors of a file as they are, channels last, with nothing of our modules in it.

    It proves the arithmetic and the order of every axis. Which layer is which it takes from `find_roles`, as the
    conversion does.

    Args:
        roles: layers of the file, as `find_roles` gives them.
        luminance: L/100, (H, W), float32, of the training size.

    Returns:
        ab in 0..1, (H, W, 2), and the class logits, (num_labels,), or `None` where the file has no class head.
    """

    def convolve(x: np.ndarray, path: str, stride: int = 1) -> np.ndarray:
        kernel, bias = (read_tensor(roles[path], name) for name in ("kernel", "bias"))
        height, width = (-(-side // stride) for side in x.shape[:2])
        pads = [
            max((result - 1) * stride + kernel.shape[i] - x.shape[i], 0) for i, result in enumerate((height, width))
        ]
        x = np.pad(x, [*((total // 2, total - total // 2) for total in pads), (0, 0)])
        result = np.zeros((height, width, kernel.shape[3]), np.float32) + bias
        for i, j in np.ndindex(kernel.shape[:2]):
            shifted = x[i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
            result += np.tensordot(shifted, kernel[i, j], axes=1)
        return result

    def block(x: np.ndarray, path: str, stride: int = 1) -> np.ndarray:
        x = np.maximum(convolve(x, f"{path}.conv", stride), 0)
        if f"{path}.norm" not in roles:
            return x
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (read_tensor(roles[f"{path}.norm"], name) for name in names)
        return gamma * (x - mean) / np.sqrt(variance + np.float32(1e-3)) + beta

    def multiply(x: np.ndarray, prefix: str) -> np.ndarray:
        for path in sorted(
            (path for path in roles if path.startswith(prefix)), key=lambda path: int(path[len(prefix) :])
        ):
            x = x @ read_tensor(roles[path], "kernel") + read_tensor(roles[path], "bias")
        return x

    def enlarge(x: np.ndarray) -> np.ndarray:
        return x.repeat(2, axis=0).repeat(2, axis=1)

    x = np.repeat(luminance[..., None], 3, axis=2)  # (H, W, 3)
    for stage, count in enumerate((2, 2, 3, 3)):
        if stage:
            height, width, channels = x.shape
            x = x.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))
        for i in range(count):
            x = block(x, f"trunk.{stage}.conv{stage + 1}_{i + 1}")  # (H, W, 64) ... (H/8, W/8, 512)
    deep = x
    for i, stride in enumerate((2, 1, 2, 1)):
        deep = block(deep, f"global_convs.conv{i + 1}", stride)  # (H/32, W/32, 512)
    flat = deep.reshape(-1)  # channels last
    logits = multiply(flat, "class_head.dense") if "class_head.dense1" in roles else None  # (num_labels,)
    features = multiply(flat, "global_dense.dense")  # (256,)

    mid = block(block(x, "mid_level.conv1"), "mid_level.conv2")  # (H/8, W/8, 256)
    grid = np.broadcast_to(features, (*mid.shape[:2], len(features)))  # (H/8, W/8, 256)
    x = block(np.concatenate([mid, grid], axis=2), "fusion.conv1")  # (H/8, W/8, 256)
    x = enlarge(block(x, "decoder1.conv1"))  # (H/4, W/4, 128)
    x = enlarge(block(block(x, "decoder2.conv1"), "decoder2.conv2"))  # (H/2, W/2, 64)
    x = convolve(block(x, "decoder3.conv1"), "chroma")  # (H/2, W/2, 2)
    return enlarge(1 / (1 + np.exp(-x))), logits  # (H, W, 2)


__all__ = ["ConversionError", "Differences", "add_convert_arguments", "convert", "evaluate_in_numpy", "run_convert"]
