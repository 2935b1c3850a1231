"""Frozen ImageNet classifiers that teach the class head (WACV 2020, section 3.2), and VGG-16 weights for the trunk."""

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification

from ..errors import SettingError, one_line
from ..layers import IMAGENET_MEAN, IMAGENET_STD
from ..modeling_chromagan import ChromaGANGenerator
from ..sources.imagenet_classes import imagenet_class_names
from ..sources.pretrained_weights import find_weights, load_lite_classifier, load_pretrained_tensors
from ..trunk_efficientnet_lite import normalize_picture
from .recipe import Teacher


class VGG16Classifier(nn.Module):
    """VGG-16 (Simonyan and Zisserman, 2015, configuration D), its weights named as in `timm/vgg16.tv_in1k`.

    The dense layers are convolutions over the last grid. Their dropout is left out: a teacher never trains.

    Args:
        widths: channels of the five stages.
        hidden_width: channels of the two hidden dense layers.
        grid: side of the last feature grid, a 32nd of the picture's.
        num_classes: number of logits.
    """

    CONVOLUTIONS_PER_STAGE = (2, 2, 3, 3, 3)
    # Places in `features`, where every convolution is followed by its ReLU and every stage by its pooling.
    FIRST_OF_STAGE = (0, 5, 10, 17, 24)

    def __init__(
        self,
        widths: tuple[int, ...] = (64, 128, 256, 512, 512),
        hidden_width: int = 4096,
        grid: int = 7,
        num_classes: int = 1000,
    ):
        super().__init__()
        self.image_size = 32 * grid
        self.num_classes = num_classes
        layers, channels = [], 3
        for width, convolutions in zip(widths, self.CONVOLUTIONS_PER_STAGE, strict=True):
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pre_logits = nn.ModuleDict(
            {"fc1": nn.Conv2d(channels, hidden_width, grid), "fc2": nn.Conv2d(hidden_width, hidden_width, 1)}
        )
        self.head = nn.ModuleDict({"fc": nn.Linear(hidden_width, num_classes)})

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        """`rgb`: normalized, (B, 3, image_size, image_size); logits (B, num_classes)."""
        x = self.features(rgb)  # (B, 512, 7, 7)
        x = F.relu(self.pre_logits["fc1"](x))  # (B, 4096, 1, 1)
        x = F.relu(self.pre_logits["fc2"](x))  # (B, 4096, 1, 1)
        return self.head["fc"](x.flatten(1))  # (B, 1000)

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor]) -> "VGG16Classifier":
        """Builds the classifier that the tensors, named as above, belong to; widths are read off their shapes.

        Raises:
            KeyError: if a tensor is missing.
            RuntimeError: if there are others, or if their shapes do not fit together.
        """
        hidden_width, _, grid, _ = tensors["pre_logits.fc1.weight"].shape
        widths = tuple(len(tensors[f"features.{place}.weight"]) for place in cls.FIRST_OF_STAGE)
        with torch.device("meta"):  # no time and memory for 138 million random numbers
            classifier = cls(widths, hidden_width, grid, len(tensors["head.fc.weight"]))
        classifier.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
        return classifier


class ClassTeacher(nn.Module):
    """A frozen classifier of pictures: always in evaluation mode, never with gradients.

    Args:
        classifier: module from normalized RGB (B, 3, height, width) to logits, or to an output with `logits`.
        id2label: names of its classes.
        image_size: height and width that it takes; a number stands for any multiples of it.
        mean: of its normalization (rgb - mean) / std, for rgb in 0..1; three numbers.
        std: of the same.
    """

    def __init__(
        self,
        classifier: nn.Module,
        id2label: dict[int, str],
        image_size: tuple[int, int] | int,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.classifier = classifier.requires_grad_(False)
        self.id2label = id2label
        self.image_size = image_size
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        self.eval()

    def train(self, mode: bool = True) -> "ClassTeacher":
        """Stays in evaluation mode whatever `mode` says: dropout or batch statistics would change what is taught."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Class probabilities of pictures, float32, (B, classes), each row a distribution.

        Args:
            picture: RGB (B, 3, H, W) or luminance (B, 1, H, W), which is repeated three times; in 0..1, any size.
                It is resized to the classifier's size as a whole, bilinearly, or to the nearest one it takes.

        Raises:
            ValueError: for another shape.
        """
        if picture.ndim != 4 or picture.shape[1] not in (1, 3):
            raise ValueError(f"picture has shape {tuple(picture.shape)}; accepted: (B, 3, H, W) or (B, 1, H, W)")
        picture = picture.float()
        size = self.image_size
        if isinstance(size, int):
            size = tuple(max(1, round(side / size)) * size for side in picture.shape[-2:])
        if tuple(picture.shape[-2:]) != size:
            picture = F.interpolate(picture, size, mode="bilinear", antialias=True)
        normalized = (picture - self.mean) / self.std  # (B, 3, height, width)
        output = self.classifier(normalized)
        logits = output if isinstance(output, torch.Tensor) else output.logits
        return logits.float().softmax(dim=1)


def load_teacher(settings: Teacher) -> ClassTeacher | None:
    """The teacher a recipe asks for, on the CPU; `None` where labels teach, or nobody.

    Raises:
        SettingError: one line, if its weights cannot be had or are none of a classifier.
    """
    if settings.kind == "vgg16":
        return load_vgg16_teacher(settings.model)
    if settings.kind == "lite":
        return load_lite_teacher(settings.model)
    if settings.kind == "auto":
        return load_auto_teacher(settings.model)
    return None


def load_vgg16_teacher(model: str) -> ClassTeacher:
    """VGG-16 from `model`, a Hub id or a folder with model.safetensors."""
    path = find_weights("teacher.model", model)
    try:
        classifier = VGG16Classifier.from_tensors(load_file(path))
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise SettingError(
            f"teacher.model: {path}: {one_line(error, 200)}; accepted: weights named as in timm/vgg16.tv_in1k"
        ) from error
    names = imagenet_class_names()
    if classifier.num_classes != len(names):
        names = [f"LABEL_{i}" for i in range(classifier.num_classes)]
    return ClassTeacher(classifier, dict(enumerate(names)), (classifier.image_size, classifier.image_size))


def load_lite_teacher(model: str) -> ClassTeacher:
    """EfficientNet-Lite from `model`, a package, a Hub id or a folder, at the pictures' own size."""
    classifier = load_lite_classifier("teacher.model", model)
    names = imagenet_class_names()
    if classifier.class_head.out_features != len(names):
        names = [f"LABEL_{i}" for i in range(classifier.class_head.out_features)]
    white, black = (float(normalize_picture(torch.tensor(level))) for level in (1.0, 0.0))
    std = 1 / (white - black)
    size = classifier.trunk.size_multiple
    return ClassTeacher(classifier, dict(enumerate(names)), size, (-black * std,) * 3, (std,) * 3)


def load_auto_teacher(model: str) -> ClassTeacher:
    """Any image classifier of transformers from `model`, a Hub id or a folder, with its own size and normalization."""
    accepted = "accepted: a Hub id or folder that AutoModelForImageClassification loads"
    try:
        classifier, info = AutoModelForImageClassification.from_pretrained(
            model, dtype=torch.float32, output_loading_info=True, use_safetensors=True
        )
        processor = AutoImageProcessor.from_pretrained(model)
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        raise SettingError(f"teacher.model: {model}: {one_line(error, 200)}; {accepted}") from error
    if info["missing_keys"]:
        # A backbone without its head loads too, and would teach random classes.
        missing = ", ".join(sorted(info["missing_keys"])[:2])
        raise SettingError(f"teacher.model: {model}: has no weights for {missing}; {accepted}")
    if getattr(processor, "do_flip_channel_order", False):
        raise SettingError(f"teacher.model: {model}: takes its channels as BGR; accepted: classifiers that take RGB")
    size, mean, std = measure_processor(processor)
    return ClassTeacher(classifier, classifier.config.id2label, size, mean, std)


def measure_processor(processor) -> tuple[tuple[int, int], tuple[float, ...], tuple[float, ...]]:
    """Size, mean and std of an image processor, seen from what it makes of a black and of a white picture.

    Processors have a dozen fields that combine into these (crops, shortest edges, rescaling factors); this reads all
    of them and runs none in training.

    Returns:
        The height and width that it gives, and the mean and std that turn rgb in 0..1 into its pixel values.
    """
    pictures = [np.full((512, 512, 3), level, dtype=np.uint8) for level in (0, 255)]
    pixel_values = processor(images=pictures, return_tensors="pt")["pixel_values"]  # (2, 3, height, width)
    height, width = pixel_values.shape[-2:]
    black, white = pixel_values[:, :, height // 2, width // 2].double()
    std = 1 / (white - black)
    return (height, width), tuple((-black * std).tolist()), tuple(std.tolist())


def load_pretrained_part(generator: ChromaGANGenerator, setting: str, path_or_id: str) -> None:
    """Fills a part of the generator with weights of a Hub repository or of a folder with model.safetensors.

    Args:
        generator: whose network has a method `load_backbone_weights`, or `load_extractor_weights`.
        setting: of the recipe, `backbone_weights` or `extractor_weights`.
        path_or_id: its value.

    Raises:
        SettingError: one line, if the weights cannot be had or have other names or shapes than the part.
    """
    tensors = load_pretrained_tensors(setting, path_or_id)
    try:
        getattr(generator.network, f"load_{setting}")(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        raise SettingError(
            f"{setting}: {path_or_id}: {one_line(error, 200)}; accepted: weights of this network's part"
        ) from error
