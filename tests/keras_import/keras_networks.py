"""The published networks in Keras, their files as Keras 2.2.4 wrote them, and how far ours are from them.

Files have arbitrary starting numbers, the trunk nested as one model, groups under `model_weights` or not. Random
weights as they come would prove nothing (ab would stay at one half), so they are scaled until ab spans 0.2 to 0.8 and
the class logits have a deviation of 1.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_chromagan import ChromaGANGenerator

h5py = pytest.importorskip("h5py", reason="h5py is not installed: no HDF5 files to convert")

TOLERANCE = 1e-4
WIDTHS = {"trunk": (64, 128, 256, 512), "global": 512, "mid": (512, 256), "fusion": 256, "decoder": (128, 64, 64, 32)}
# As published, and reduced: 64 pixels (a 2x2 grid, so that the order of the flattened grid matters), 1/8 of the width.
PUBLISHED = {"scale": 1, "size": 224, "global_dense": (1024, 512, 256), "class_dense": (4096, 4096), "classes": 1000}
REDUCED = {"scale": 1 / 8, "size": 64, "global_dense": (40, 24, 16), "class_dense": (48, 48), "classes": 12}


def build_keras(keras, scale, size, global_dense, class_dense, classes, first=5, class_head=True, mid_first=False):
    """The published network in Keras with random weights; class logits instead of probabilities.

    The numbers of the layers start at `first`, so that 9 is followed by 10, which comes before it in the alphabet.
    """
    layers, counts = keras.layers, {}

    def name(kind: str) -> str:
        counts[kind] = counts.get(kind, first - 1) + 1
        return f"{kind}_{counts[kind]}"

    def conv(x, width, stride=1, norm=True, kernel=3, activation="relu"):
        width = width if width == 2 else int(width * scale)
        x = layers.Conv2D(width, kernel, stride, "same", activation=activation, name=name("conv2d"))(x)
        return layers.BatchNormalization(name=name("batch_normalization"))(x) if norm else x

    def enlarge(x):
        return layers.UpSampling2D(2, name=name("up_sampling2d"))(x)

    picture = x = keras.Input((size, size, 3), name=name("input"))
    for stage, width in enumerate(WIDTHS["trunk"]):
        if stage:
            x = layers.MaxPooling2D(2, name=f"block{stage}_pool")(x)
        for i in range(2 if stage < 2 else 3):
            convolution = layers.Conv2D(
                int(width * scale), 3, 1, "same", activation="relu", name=f"block{stage + 1}_conv{i + 1}"
            )
            x = convolution(x)
    trunk = keras.Model(picture, x, name="model_1")
    picture = keras.Input((size, size, 3), name=name("input"))
    features = trunk(picture)

    def make_mid():
        mid = features
        for width in WIDTHS["mid"]:
            mid = conv(mid, width)
        return mid

    mid = make_mid() if mid_first else None
    deep = features
    for stride in (2, 1, 2, 1):
        deep = conv(deep, WIDTHS["global"], stride)
    x = layers.Flatten(name=name("flatten"))(deep)
    for width in global_dense:
        x = layers.Dense(width, name=name("dense"))(x)
    grid = layers.RepeatVector((size // 8) ** 2, name=name("repeat_vector"))(x)
    grid = layers.Reshape((size // 8, size // 8, global_dense[-1]), name=name("reshape"))(grid)
    outputs = []
    if class_head:
        x = layers.Flatten(name=name("flatten"))(deep)
        for width in (*class_dense, classes):
            x = layers.Dense(width, name=name("dense"))(x)
        outputs = [x]
    mid = make_mid() if mid is None else mid
    x = layers.Concatenate(name=name("concatenate"))([mid, grid])
    x = conv(x, WIDTHS["fusion"], norm=False, kernel=1)
    first_width, *middle, last = WIDTHS["decoder"]
    x = enlarge(conv(x, first_width, norm=False))
    for width in middle:
        x = conv(x, width, norm=False)
    x = conv(enlarge(x), last, norm=False)
    x = enlarge(conv(x, 2, norm=False, activation="sigmoid"))
    model = keras.Model(picture, [x, *outputs], name="model_2")
    randomize(keras, model)
    return model


def randomize(keras, model) -> None:
    """Weights at which signals keep their size, and batch norm statistics that are not those of a new network."""
    random = np.random.default_rng(0)

    def normal(shape, deviation):
        return (random.standard_normal(shape, dtype=np.float32) * deviation).astype(np.float32)

    for layer in every_layer(keras, model):
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.gamma.shape
            variance = random.uniform(0.02, 0.3, channels).astype(np.float32)
            gamma = np.sqrt(variance) * random.uniform(0.7, 1.6, channels).astype(np.float32)
            layer.set_weights([gamma, normal(channels, 0.3), normal(channels, 0.3), variance])
        elif layer.weights:
            shape = layer.kernel.shape
            gain = {"relu": 2, "linear": 1, "sigmoid": 16}[layer.activation.__name__]
            deviation = np.sqrt(gain / np.prod(shape[:-1]))
            layer.set_weights([normal(shape, deviation), normal(shape[-1:], 0.1)])


def every_layer(keras, model):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from every_layer(keras, layer)
        else:
            yield layer


def write_keras_224(keras, model, path: Path, weights_only: bool = False, edit=None) -> Path:
    """Writes a model in the layout of Keras 2.2.4; `edit` changes the tensors of a layer, given its name, before."""
    with h5py.File(path, "w") as file:
        root = file if weights_only else file.create_group("model_weights")
        root.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        root.attrs["backend"], root.attrs["keras_version"] = b"tensorflow", b"2.2.4"
        if not weights_only:
            file.attrs["keras_version"], file.attrs["backend"] = b"2.2.4", b"tensorflow"
            file.attrs["model_config"] = model.to_json().encode()
            file.create_group("optimizer_weights").create_dataset("Adam/iterations:0", data=np.int64(3))
        for layer in model.layers:
            tensors = {}
            for part in every_layer(keras, layer) if isinstance(layer, keras.Model) else [layer]:
                own = {f"{weight.name}:0": weight.value.detach().numpy() for weight in part.weights}
                own = edit(part.name, own) if edit else own
                tensors |= {f"{part.name}/{name}": array for name, array in own.items()}
            group = root.create_group(layer.name)
            group.attrs["weight_names"] = [name.encode() for name in tensors]
            for name, array in tensors.items():
                group.create_dataset(name, data=array)
    return path


def run_keras(model, luminance: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
    """ab, (B, 2, H, W), and class logits of luminance (B, H, W)."""
    with torch.no_grad():
        outputs = model(torch.from_numpy(luminance)[..., None].expand(-1, -1, -1, 3), training=False)
    outputs = [output.cpu() for output in (outputs if isinstance(outputs, list | tuple) else [outputs])]
    return outputs[0].permute(0, 3, 1, 2), outputs[1] if len(outputs) > 1 else None


def run_ours(generator: ChromaGANGenerator, luminance: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
    with torch.no_grad():
        output = generator.eval()(torch.from_numpy(luminance)[:, None])
    return output.reconstruction, output.logits


def pictures(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(7).random((count, size, size), dtype=np.float32)


def difference(found: tuple, expected: tuple) -> float:
    return max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True) if b is not None)


def check_that_this_proves_something(ab: torch.Tensor, logits: torch.Tensor) -> None:
    assert ab.min() < 0.2
    assert ab.max() > 0.8
    assert logits.std() > 1


def edited(path: Path, folder: Path, edit) -> Path:
    """A copy of a file, its groups of layers changed by `edit`, without what Keras says of its architecture."""
    copy = folder / "edited.h5"
    shutil.copy(path, copy)
    with h5py.File(copy, "r+") as file:
        del file.attrs["model_config"]
        edit(file["model_weights"])
    return copy
