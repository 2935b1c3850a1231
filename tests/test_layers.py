"""What generators share: padding, the channels that a trunk sees, weights that others trained."""

import pytest
import torch
import torch.nn.functional as F
from small_generators import RANGES, bare, build, inputs_and_outputs, pictures, resnet18

from modeling_chromagan.layers import reflect_to_multiple, same_padding, torchvision_names


def test_reflection_goes_on_where_a_side_more_than_doubles():
    row = torch.tensor([1.0, 2.0, 3.0])[None, None, None]
    padded = reflect_to_multiple(row.expand(1, 1, 8, 3), 8)
    assert padded[0, 0, 0].tolist() == [1, 2, 3, 2, 1, 2, 3, 2]
    assert reflect_to_multiple(padded, 8) is padded
    for height, width in ((5, 7), (16, 9)):
        luminance = pictures(1, height, width)
        expected = F.pad(luminance, (0, -width % 4, 0, -height % 4), mode="reflect")
        assert torch.equal(reflect_to_multiple(luminance, 4), expected)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        (28, 3, 2, (0, 1)),  # even at stride 2: after only
        (7, 3, 2, (1, 1)),
        (28, 3, 1, (1, 1)),
        (28, 4, 1, (1, 2)),  # an even kernel: one before and two after
        (28, 4, 2, (1, 1)),
        (27, 4, 2, (1, 2)),
        (1, 3, 2, (1, 1)),
        (5, 1, 2, (0, 0)),
    ],
)
def test_same_padding_is_tensorflow_s(size, kernel, stride, padding):
    assert same_padding(size, kernel, stride) == padding


@pytest.mark.parametrize(("name", "first"), [("chromagan", "trunk.0"), ("resnet_unet", "encoder")])
def test_raw_trunk_input_is_the_luminance_three_times(name, first):
    generator, luminance = build(name), pictures(2, 32, 32)
    given, _ = inputs_and_outputs(generator, generator.network.get_submodule(first), luminance)
    assert torch.equal(given, luminance.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("encoding", RANGES)
@pytest.mark.parametrize(("name", "first"), [("chromagan", "trunk.0"), ("resnet_unet", "encoder")])
def test_imagenet_trunk_input_is_normalized_as_the_classifiers_want_it(name, first, encoding):
    generator, unit = build(name, trunk_input="imagenet", encoding=encoding), pictures(2, 32, 32)
    low, high = RANGES[encoding]
    given, _ = inputs_and_outputs(generator, generator.network.get_submodule(first), unit * (high - low) + low)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(given, (unit - mean) / deviation)


def test_backbone_weights_by_torchvision_s_names_are_the_same():
    tensors = resnet18().state_dict()
    named = torchvision_names(tensors)
    assert {"conv1.weight", "bn1.running_var", "layer2.0.downsample.0.weight", "layer4.1.bn2.bias"} < set(named)
    assert set(torchvision_names(named)) == set(named)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda tensors: tensors.pop("resnet.embedder.embedder.convolution.weight"), KeyError, "conv1.weight"),
        (
            lambda tensors: tensors.update({"resnet.embedder.embedder.normalization.bias": torch.zeros(32)}),
            ValueError,
            r"bn1.bias has a shape of \(32,\) instead of \(16,\)",
        ),
    ],
)
def test_backbone_weights_that_do_not_fit_are_refused_and_change_nothing(change, error, message):
    tensors = resnet18().state_dict()
    change(tensors)
    network = bare("resnet_unet", width_multiplier=0.25)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(error, match=message):
        network.load_backbone_weights(tensors)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
