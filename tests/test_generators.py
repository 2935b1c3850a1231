"""One contract for every generator, and the published network in particular."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import HAS_TIMM, StandInExtractor
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

from modeling_chromagan import GENERATORS, ChromaGANConfig, ChromaGANGenerator, ChromaGANImageProcessor
from modeling_chromagan.color import LUMINANCE_WEIGHTS
from modeling_chromagan.generator_chromagan import ConvLayer
from modeling_chromagan.layers import reflect_to_multiple, same_padding, three_channels, torchvision_names

pytestmark = pytest.mark.usefixtures("extractors")

# Smallest networks of the same structure; a generator takes of these what its constructor names.
TINY = {
    "image_size": 64,
    "width_multiplier": 0.0625,
    "global_hidden_sizes": (8, 6),
    "class_hidden_sizes": (8,),
    "num_labels": 5,
    "trunk": "lite0",
    "decoder_widths": (32, 32, 32, 32, 32),
}
# Batch norm's running means and variances counted, as published files count them.
WEIGHTS = {
    # The trunk without its classifier, 6,092,072 - 1,281,000 parameters and 58,096 statistics; class head
    # 1,281,000; enter 352 x 320 + 4 x 320; globals 1,280 x 320 + 320; attention, c channels, 8 c c + 21 c: 2 x 825,920
    # and 529,664; up from i to o beside s channels o (i + s + 18 o + 12): 1,295,360 + 724,224 + 324,096 + 83,712; bins
    # 128 x 260 + 260; chroma 9 x 64 x 2 + 2.
    "chromagan_lite": 11_317_598,
    "chromagan": 171_171_722,  # 47,528,866 without the class head
    # At 224 pixels, seven halvings. 16 ci co of every 4x4 convolution, 4 co of every batch norm, three biases:
    # down 1,024 + 64 | 131,072 + 512 | 524,288 + 1,024 | 2,097,152 + 2,048 | 2 (4,194,304 + 2,048) | 4,194,304 + 512
    # up 4,194,304 + 2,048 | 2 (8,388,608 + 2,048) | 4,194,304 + 1,024 | 1,048,576 + 512 | 262,144 + 256 | 4,096 + 2
    "pix2pix_unet": 41_833_282,
    # torchvision's ResNet-18 has 11,689,512 parameters, 513,000 of them in its classifier, and 9,600 running
    # statistics: 11,186,112. A block up from i to o channels beside a skip of s has 4 o (i + 1) + 9 o (o + s) + 9 o o
    # + 8 o, so 2,296,832 + 574,976 + 144,128 + 127,744 + 27,872; chroma 9 x 32 x 2 + 2.
    "resnet_unet": 14_358_242,
    # conv1 49 x 64 + 256, layer1 4 (9 x 64 x 64 + 256), layer2 9 x 64 x 128 + 3 x 9 x 128 x 128 + 64 x 128 + 5 x 512:
    # 678,720. The decoder's 9 i o + 4 o: 147,968 + 73,984 + 37,120 + 18,560; color 9 x 32 x 3 + 3, or 9 x 32 x 2 + 2.
    "basic": 957_219,
    "labnet": 956_930,
    # labnet's, the fusion's (128 + c) 128 + 4 x 128, and the extractor without its classifier: timm's 23,834,568 less
    # 2,049,000 for c = 2048, 55,843,464 less 1,537,000 for c = 1536, and the running statistics,
    # 34,432 and 60,544 as Keras counts its own Inception-v3 and Inception-ResNet-v2.
    "preincep": 956_930 + 279_040 + 21_785_568 + 34_432,
    "preres": 956_930 + 213_504 + 54_306_464 + 60_544,
}
SIZES = [(16, 16), (17, 16), (16, 23), (33, 47), (64, 64), (40, 121)]
RANGES = {"unit8": (0.0, 1.0), "symmetric": (-1.0, 1.0)}

every_generator = pytest.mark.parametrize("name", GENERATORS)
every_classifier = pytest.mark.parametrize("name", [name for name in GENERATORS if GENERATORS[name].has_class_head])


def build(name: str = "chromagan", seed: int = 0, **settings) -> ChromaGANGenerator:
    """A tiny generator whose running statistics and shifts are not the neutral ones of a new network."""
    torch.manual_seed(seed)
    generator = ChromaGANGenerator(ChromaGANConfig.from_dict(TINY | settings | {"architecture": name})).eval()
    with torch.no_grad():
        for module in generator.modules():
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.weight, module.running_var):
                    values.uniform_(0.5, 1.5)
                for values in (module.bias, module.running_mean):
                    values.normal_(0.0, 0.2)
            elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.bias is not None:
                module.bias.normal_(0.0, 0.1)
    return generator


def bare(name: str, **settings) -> nn.Module:
    """The network of a generator, with random weights."""
    return GENERATORS[name].from_config(ChromaGANConfig(architecture=name, **settings))


def color_channels(generator: ChromaGANGenerator) -> int:
    return {"ab": 2, "rgb": 3}[generator.network.output_space]


def pictures(count: int, height: int, width: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(seed))


def inputs_and_outputs(generator: nn.Module, module: nn.Module, luminance: torch.Tensor):
    """What reaches and what leaves one module while the generator colors `luminance`."""
    seen = []
    handle = module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        generator(luminance)
    handle.remove()
    return seen[0]


# Every generator


def count_of_weights(**settings) -> int:
    with torch.device("meta"):
        generator = ChromaGANGenerator(ChromaGANConfig(**settings))
    counted = {key: tensor for key, tensor in generator.state_dict().items() if not key.endswith("batches_tracked")}
    return sum(tensor.numel() for tensor in counted.values())


@pytest.mark.parametrize("name", WEIGHTS)
def test_number_of_weights(name):
    if GENERATORS[name].extractor_parts and not HAS_TIMM:
        pytest.skip("timm is not installed: the extractor is a stand-in")
    assert count_of_weights(architecture=name) == WEIGHTS[name]


def test_number_of_weights_without_the_class_head():
    assert count_of_weights(architecture="chromagan", class_head=False) == 47_528_866


@every_generator
@pytest.mark.parametrize("chroma_resolution", ["half", "full"])
def test_output_has_the_size_of_the_input(name, chroma_resolution):
    generator = build(name, chroma_resolution=chroma_resolution)
    for height, width in SIZES:
        with torch.no_grad():
            output = generator(pictures(2, height, width))
        assert output.reconstruction.shape == (2, color_channels(generator), height, width)
        assert output.reconstruction.isfinite().all()
        if generator.network.has_class_head:
            assert output.logits.shape == (2, 5)
        else:
            assert output.logits is None


@every_generator
def test_too_small_pictures_are_refused(name):
    generator = build(name)
    least = generator.network.minimum_size
    assert least == 16
    for height, width in ((least - 1, least), (least, least - 1), (1, 100)):
        with pytest.raises(
            ValueError, match=f"^picture is {height}x{width}; accepted: at least {least} pixels a side$"
        ):
            generator(pictures(1, height, width))


@every_generator
@pytest.mark.parametrize("trunk_batch_norm", [True, False])
def test_every_trainable_parameter_gets_a_finite_gradient(name, trunk_batch_norm):
    generator = build(name, trunk_batch_norm=trunk_batch_norm).train()
    channels = color_channels(generator)
    labels = pictures(3 * channels, 64, 64, seed=2).view(3, channels, 64, 64)
    output = generator(pictures(3, 64, 64), labels=labels)
    loss = output.loss
    if generator.network.has_class_head:
        loss = loss + F.cross_entropy(output.logits, torch.tensor([0, 1, 2]))
    if output.bin_logits is not None:
        loss = loss + output.bin_logits.float().logsumexp(dim=1).mean()
    loss.backward()
    trained = {key: parameter for key, parameter in generator.named_parameters() if parameter.requires_grad}
    frozen = tuple(f"network.{part}." for part in generator.network.frozen_parts)
    assert [key for key, _ in generator.named_parameters() if key not in trained and not key.startswith(frozen)] == []
    for key, parameter in trained.items():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key


@every_generator
def test_evaluation_repeats_itself_and_rows_do_not_see_each_other(name):
    generator, batch = build(name), pictures(3, 40, 56)
    with torch.no_grad():
        together, again = generator(batch), generator(batch)
        alone = [generator(picture[None]) for picture in batch]
    for field in ("reconstruction", "logits")[: 1 + generator.network.has_class_head]:
        assert torch.equal(together[field], again[field])
        torch.testing.assert_close(
            together[field], torch.cat([output[field] for output in alone]), atol=1e-4, rtol=1e-4
        )


@every_generator
@pytest.mark.parametrize("encoding", RANGES)
def test_chroma_fills_the_range_of_its_encoding_and_stays_in_it(name, encoding):
    generator = build(name, encoding=encoding)
    with torch.no_grad():
        for parameter in generator.parameters():
            if parameter.requires_grad:  # a frozen extractor of a hundred layers would overflow
                parameter.mul_(3.0)
        chroma = torch.cat([generator(pictures(1, 32, 32, seed)).reconstruction for seed in range(4)])
    low, high = RANGES["unit8" if generator.network.output_space == "rgb" else encoding]
    assert low <= chroma.min() < low + 0.1 * (high - low)
    assert high >= chroma.max() > high - 0.1 * (high - low)


@every_generator
def test_the_same_picture_in_either_encoding_gives_the_same_features(name):
    unit8, symmetric = build(name, encoding="unit8"), build(name, encoding="symmetric")
    luminance = pictures(2, 32, 32)
    with torch.no_grad():
        one = unit8(luminance, output_hidden_states=True)
        other = symmetric(luminance * 2 - 1, output_hidden_states=True)
    torch.testing.assert_close(one.hidden_states, other.hidden_states)
    assert (one.logits is None) == (other.logits is None)
    if one.logits is not None:
        torch.testing.assert_close(one.logits, other.logits)


@every_generator
def test_sizes_between_the_multiples_are_reflected_and_cropped(name):
    generator = build(name)
    multiple = generator.network.size_multiple
    height, width = 2 * multiple + 3, 3 * multiple - 1
    luminance = pictures(1, height, width)
    padded = F.pad(luminance, (0, 1, 0, multiple - 3), mode="reflect")
    with torch.no_grad():
        torch.testing.assert_close(
            generator(luminance).reconstruction, generator(padded).reconstruction[..., :height, :width]
        )


@every_generator
def test_colored_pictures_keep_the_luminance_of_the_photograph(name):
    generator = build(name)
    processor = ChromaGANImageProcessor(encoding=generator.config.encoding, size=32, borders="keep")
    gray = pictures(1, 50, 67)[0, 0].mul(255).byte().numpy()
    with torch.no_grad():
        for parameter in generator.parameters():
            if parameter.requires_grad:  # a frozen Inception network, a hundred layers deep, would overflow
                parameter.mul_(3.0)
        (picture,) = processor.post_process_colorization(generator(**processor(gray)), gray)
    coded = np.asarray(picture) / 255.0
    assert (np.ptp(coded, axis=2) > 0.1).mean() > 0.5, "nothing was colored"
    linear = np.where(coded > 0.04045, ((coded + 0.055) / 1.055) ** 2.4, coded / 12.92)
    luminance = linear @ np.array(LUMINANCE_WEIGHTS)
    recoded = np.where(luminance > 0.0031308, 1.055 * luminance ** (1 / 2.4) - 0.055, luminance * 12.92)
    np.testing.assert_array_equal(np.round(255 * recoded), gray)


@every_classifier
def test_colors_do_not_depend_on_the_class_head(name):
    with_head, without = build(name), build(name, class_head=False, seed=5)
    weights = {key: value for key, value in with_head.state_dict().items() if "class_head" not in key}
    without.load_state_dict(weights)
    with torch.no_grad():
        one, other = with_head(pictures(2, 40, 33)), without(pictures(2, 40, 33))
    assert torch.equal(one.reconstruction, other.reconstruction)
    assert other.logits is None


@every_generator
def test_building_takes_its_random_numbers_from_torch_alone(name):
    one, other = build(name, seed=3).state_dict(), build(name, seed=3).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_reflection_goes_on_where_a_side_more_than_doubles():
    row = torch.tensor([1.0, 2.0, 3.0])[None, None, None]
    padded = reflect_to_multiple(row.expand(1, 1, 8, 3), 8)
    assert padded[0, 0, 0].tolist() == [1, 2, 3, 2, 1, 2, 3, 2]
    assert reflect_to_multiple(padded, 8) is padded
    for height, width in ((5, 7), (16, 9)):
        luminance = pictures(1, height, width)
        expected = F.pad(luminance, (0, -width % 4, 0, -height % 4), mode="reflect")
        assert torch.equal(reflect_to_multiple(luminance, 4), expected)


def test_an_unknown_generator_is_refused_with_the_names_that_exist():
    with pytest.raises(ValueError, match=f"^architecture is 'unet9'; accepted: {', '.join(GENERATORS)}$"):
        ChromaGANConfig(architecture="unet9")


# The published network


def pad_as_tensorflow(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """Padding "SAME" as the TensorFlow documentation has it, side by side, for `F.pad`."""
    amounts = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max(kernel - stride if size % stride == 0 else kernel - size % stride, 0)
        amounts += [total // 2, total - total // 2]
    return F.pad(x, amounts)


def published_network(weights: dict[str, torch.Tensor], luminance: torch.Tensor):
    """ChromaGAN written out from the paper, section 3.1, on weights in evaluation: ab in 0..1 and class logits."""

    def conv(name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        weight = weights[f"{name}.weight"]
        return F.conv2d(pad_as_tensorflow(x, weight.shape[-1], stride), weight, weights[f"{name}.bias"], stride)

    def conv_relu_norm(name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        x = F.relu(conv(f"{name}.conv", x, stride))
        mean, variance, scale, shift = (
            weights[f"{name}.norm.{kind}"][:, None, None] for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-3) * scale + shift

    def dense(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def twice(x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)

    x = luminance.repeat(1, 3, 1, 1)
    for stage, convolutions in enumerate((2, 2, 3, 3)):
        x = F.max_pool2d(x, 2) if stage else x
        for i in range(convolutions):
            x = F.relu(conv(f"trunk.{stage}.conv{stage + 1}_{i + 1}.conv", x))
    deep = x
    for i, stride in enumerate((2, 1, 2, 1)):
        deep = conv_relu_norm(f"global_convs.conv{i + 1}", deep, stride)
    flat = logits = deep.flatten(1)
    for i in range(3):
        logits = dense(f"class_head.dense{i + 1}", logits)
        flat = dense(f"global_dense.dense{i + 1}", flat)
    mid = conv_relu_norm("mid_level.conv2", conv_relu_norm("mid_level.conv1", x))
    repeated = flat[:, :, None, None].repeat(1, 1, *mid.shape[-2:])
    x = F.relu(conv("fusion.conv1.conv", torch.cat([mid, repeated], dim=1)))
    x = F.relu(conv("decoder1.conv1.conv", x))
    x = F.relu(conv("decoder2.conv2.conv", F.relu(conv("decoder2.conv1.conv", twice(x)))))
    x = F.relu(conv("decoder3.conv1.conv", twice(x)))
    return twice(torch.sigmoid(conv("chroma", x))), logits


def test_the_function_is_the_published_one():
    generator = build(global_hidden_sizes=(10, 8, 6), class_hidden_sizes=(9, 7))
    luminance = pictures(2, 64, 64)
    weights = generator.network.state_dict()
    with torch.no_grad():
        output = generator(luminance)
        ab, logits = published_network(weights, luminance)
    assert output.reconstruction.std() > 0.01  # a constant would agree whatever the network
    torch.testing.assert_close(output.reconstruction, ab, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.logits, logits, atol=1e-4, rtol=1e-4)


def test_stages_have_the_published_shapes_at_224_pixels():
    with torch.device("meta"):
        generator = ChromaGANGenerator(ChromaGANConfig(architecture="chromagan"))
        output = generator(torch.empty(1, 1, 224, 224), output_hidden_states=True)
    assert [tuple(state.shape[1:]) for state in output.hidden_states] == [
        (64, 224, 224),
        (128, 112, 112),
        (256, 56, 56),
        (512, 28, 28),
        (512, 7, 7),  # global features
        (256, 28, 28),  # mid-level features
        (256, 28, 28),  # fused
        (32, 112, 112),  # the decoder's last
    ]
    dense = {
        key: tuple(weight.shape) for key, weight in generator.named_parameters() if "dense" in key and "weight" in key
    }
    assert dense == {
        "network.global_dense.dense1.weight": (1024, 512 * 7 * 7),
        "network.global_dense.dense2.weight": (512, 1024),
        "network.global_dense.dense3.weight": (256, 512),
        "network.class_head.dense1.weight": (4096, 512 * 7 * 7),
        "network.class_head.dense2.weight": (4096, 4096),
        "network.class_head.dense3.weight": (1000, 4096),
    }


def test_batch_norm_has_the_numbers_of_keras():
    norms = [module for module in build(trunk_batch_norm=True).modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 10 + 4 + 2
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    assert len([module for module in build().modules() if isinstance(module, nn.BatchNorm2d)]) == 4 + 2


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


@pytest.mark.parametrize(("size", "first"), [(8, 0), (9, -1)])
def test_an_impulse_shows_where_a_strided_layer_looks(size, first):
    layer = ConvLayer(1, 1, 3, stride=2)
    with torch.no_grad():
        layer.conv.weight.copy_(torch.arange(1.0, 10.0).view(1, 1, 3, 3))
        layer.conv.bias.zero_()
        for row, column in ((0, 0), (3, 4), (size - 1, size - 1)):
            picture = torch.zeros(1, 1, size, size)
            picture[..., row, column] = 1
            expected = torch.zeros(1, 1, (size + 1) // 2, (size + 1) // 2)
            for y in range(expected.shape[-2]):
                for x in range(expected.shape[-1]):
                    i, k = row - (2 * y + first), column - (2 * x + first)  # output y looks at 2 y + first onwards
                    if 0 <= i < 3 and 0 <= k < 3:
                        expected[..., y, x] = 3 * i + k + 1
            assert torch.equal(layer(picture), expected)


def test_published_layers_normalize_after_the_relu_and_the_option_before_it():
    x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    published, usual = ConvLayer(3, 8, batch_norm=True), ConvLayer(3, 8, batch_norm=True, norm_order="norm_relu")
    with torch.no_grad():
        assert torch.equal(published(x), published.norm(F.relu(published.conv(x))))
        assert published(x).min() < 0
        assert torch.equal(usual(x), F.relu(usual.norm(usual.conv(x))))
        assert usual(x).min() == 0


def test_dense_layers_are_linear():
    generator = build(global_hidden_sizes=(10, 8, 6), class_hidden_sizes=(9, 7))
    for head in (generator.network.global_dense, generator.network.class_head):
        x = torch.randn(3, head.dense1.in_features, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            shift = head(torch.zeros_like(x))
            torch.testing.assert_close(head(-5 * x) - shift, -5 * (head(x) - shift), atol=1e-4, rtol=1e-4)


def test_half_resolution_chroma_is_repeated_and_full_resolution_chroma_is_not():
    def differs_inside_blocks(chroma: torch.Tensor) -> bool:
        blocks = chroma.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))
        return bool((blocks != blocks[..., :, :1, :, :1]).any())

    with torch.no_grad():
        assert not differs_inside_blocks(build()(pictures(1, 32, 32)).reconstruction)
        assert differs_inside_blocks(build(chroma_resolution="full")(pictures(1, 32, 32)).reconstruction)


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


def test_pooling_is_the_identity_at_the_training_size_only():
    generator = build(image_size=64)
    for size, pooled in ((64, False), (128, True), (32, True)):
        _, deep = inputs_and_outputs(generator, generator.network.global_convs, pictures(1, size, size))
        flat, _ = inputs_and_outputs(generator, generator.network.global_dense, pictures(1, size, size))
        expected = F.adaptive_avg_pool2d(deep, 2) if pooled else deep
        assert torch.equal(flat, expected.flatten(1))


def test_pooled_size_makes_the_dense_layers_small():
    generator = build(image_size=64, pooled_size=1)
    _, deep = inputs_and_outputs(generator, generator.network.global_convs, pictures(1, 64, 64))
    flat, _ = inputs_and_outputs(generator, generator.network.global_dense, pictures(1, 64, 64))
    torch.testing.assert_close(flat, deep.mean(dim=(2, 3)))


def test_width_multiplier_scales_every_convolution():
    with torch.device("meta"):
        network = bare("chromagan", width_multiplier=0.5)
    widths = {
        key.removesuffix(".weight"): weight.shape[0] for key, weight in network.named_parameters() if weight.ndim == 4
    }
    assert widths.pop("chroma") == 2
    trunk = [width for key, width in widths.items() if key.startswith("trunk")]
    assert trunk == [32, 32, 64, 64, 128, 128, 128, 256, 256, 256]
    assert [width for key, width in widths.items() if not key.startswith("trunk")] == [
        *[256] * 4,  # global
        *[256, 128],  # mid-level
        *[128, 64, 32, 32, 16],  # fusion and decoder
    ]


# pix2pix's U-Net


def test_unet_has_the_published_widths_at_256_pixels():
    with torch.device("meta"):
        network = bare("pix2pix_unet", image_size=256)
        output = network(torch.empty(2, 1, 256, 256))
    assert [block.conv.out_channels for block in network.down] == [64, 128, 256, 512, 512, 512, 512, 512]
    entering = [*(block.conv.in_channels for block in network.up), network.chroma.in_channels]
    assert entering == [512, 1024, 1024, 1024, 1024, 512, 256, 128]
    assert [state.shape[-1] for state in output.hidden_states] == [
        128,
        64,
        32,
        16,
        8,
        4,
        2,
        1,
        2,
        4,
        8,
        16,
        32,
        64,
        128,
    ]
    assert [block.dropout for block in network.up] == [True] * 3 + [False] * 4
    assert [block.norm is None for block in network.down] == [True] + [False] * 6 + [True]
    # The 54.41 million of the authors' public network from 3 to 3 channels, less 16 x 64 x 2 weights at the entry and
    # 16 x 128 + 1 at the exit, with running statistics and the two biases that stand for the norms left out.
    assert count_of_weights(architecture="pix2pix_unet", image_size=256) == 54_420_290


@pytest.mark.parametrize(("image_size", "halvings"), [(32, 5), (64, 6), (96, 6), (128, 7), (256, 8), (512, 8)])
def test_unet_halves_pictures_down_to_one_pixel_at_the_training_size(image_size, halvings):
    with torch.device("meta"):
        network = bare("pix2pix_unet", image_size=image_size)
    assert (len(network.down), len(network.up) + 1, network.size_multiple) == (halvings, halvings, 2**halvings)


def test_unet_feeds_minus_one_to_one_and_starts_as_published():
    torch.manual_seed(0)
    generator = ChromaGANGenerator(ChromaGANConfig(architecture="pix2pix_unet", width_multiplier=0.25, image_size=64))
    given, _ = inputs_and_outputs(
        generator, generator.network.down[0], torch.tensor([0.0, 1.0]).expand(1, 1, 64, 2).repeat(1, 1, 1, 32)
    )
    assert (given.min(), given.max()) == (-1, 1)
    weights = torch.cat([weight.flatten() for weight in generator.parameters() if weight.ndim == 4])
    assert abs(weights.std() - 0.02) < 1e-4


def test_noise_at_inference_is_the_same_every_time_and_for_every_row():
    luminance = pictures(3, 64, 64).double()  # a batch and a single picture are rounded differently

    def build_vivid(**settings) -> ChromaGANGenerator:
        generator = build("pix2pix_unet", **settings)
        for parameter in generator.parameters():
            parameter.mul_(5.0)
        return generator.double()

    with torch.no_grad():
        quiet = build_vivid()(luminance).reconstruction
        noisy = build_vivid(dropout_at_inference=True)
        together, again = noisy(luminance).reconstruction, noisy(luminance).reconstruction
        alone = torch.cat([noisy(picture[None]).reconstruction for picture in luminance])
        other = build_vivid(dropout_at_inference=True, dropout_seed=1)(luminance).reconstruction
    assert torch.equal(together, again)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert (together - quiet).abs().max() > 0.01
    assert (together - other).abs().max() > 0.01


def test_noise_drops_half_of_the_values_and_keeps_the_mean():
    block = build("pix2pix_unet", dropout_at_inference=True).network.up[0]
    noise = block.noise(torch.ones(2, 64, 32, 32, dtype=torch.float16))
    assert noise.shape == (1, 64, 32, 32)
    assert noise.dtype == torch.float16
    assert set(noise.unique().tolist()) == {0.0, 2.0}
    assert abs(noise.float().mean() - 1) < 0.01


def test_single_pictures_are_no_batch_for_the_unet_while_its_bottleneck_is_one_pixel():
    refuses = GENERATORS["pix2pix_unet"].refuses_batch
    assert (
        refuses(1, 256) == "batch_size is 1; accepted: 2 or more while the bottleneck is 1x1, as it is at 256 pixels"
    )
    assert refuses(1, 64, image_size=256)
    assert refuses(2, 256) is None
    assert refuses(1, 512) is None
    assert refuses(1, 128, image_size=64) is None


# The U-Net on a ResNet-18


def resnet18() -> ResNetForImageClassification:
    """The library's own ResNet-18, as in `microsoft/resnet-18`, a quarter as wide, with random running statistics."""
    torch.manual_seed(7)
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [2, 2, 2, 2], "num_labels": 3}
    network = ResNetForImageClassification(ResNetConfig(layer_type="basic", **sizes)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 1.5)
            for values in (module.bias.data, module.running_mean):
                values.normal_(0.0, 0.2)
    return network


def test_encoder_of_the_resnet_unet_is_the_library_s_resnet_18():
    torch.manual_seed(0)
    theirs = resnet18()
    config = ChromaGANConfig(architecture="resnet_unet", trunk_input="imagenet", width_multiplier=0.25)
    generator = ChromaGANGenerator(config).eval()
    generator.network.load_backbone_weights(theirs.state_dict())
    luminance = pictures(1, 64, 96)
    with torch.no_grad():
        ours = generator(luminance, output_hidden_states=True).hidden_states
        picture = three_channels(luminance, generator.network.trunk_input)
        expected = theirs(picture, output_hidden_states=True).hidden_states
    assert [tuple(state.shape[1:]) for state in ours] == [
        *[(16, 32, 48), (16, 16, 24), (32, 8, 12), (64, 4, 6), (128, 2, 3)],
        *[(64, 4, 6), (32, 8, 12), (16, 16, 24), (16, 32, 48), (8, 64, 96)],
    ]
    for our, their in zip(ours[1:5], expected[1:], strict=True):
        torch.testing.assert_close(our, their, atol=1e-4, rtol=1e-4)


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


def test_sub_pixel_upsampling_starts_as_nearest_upsampling():
    torch.manual_seed(0)
    generator = ChromaGANGenerator(ChromaGANConfig(architecture="resnet_unet", width_multiplier=0.0625))
    enlarge = generator.network.up4.enlarge
    x = torch.randn(2, 32, 3, 5)
    with torch.no_grad():
        enlarged = enlarge(x)
    assert enlarged.shape == (2, 16, 6, 10)
    assert enlarged.std() > 0.1
    assert torch.equal(enlarged, F.interpolate(enlarged[..., ::2, ::2], scale_factor=2.0))
    assert build("resnet_unet", upsampling="nearest")(pictures(1, 33, 40)).reconstruction.shape == (1, 2, 33, 40)


def test_single_pictures_are_no_batch_for_the_resnet_unet_at_32_pixels():
    refuses = GENERATORS["resnet_unet"].refuses_batch
    assert refuses(1, 32) == "batch_size is 1; accepted: 2 or more while the bottleneck is 1x1, as it is at 32 pixels"
    assert refuses(1, 64) is None
    assert refuses(2, 32) is None


# The autoencoders


@pytest.mark.parametrize("name", ["basic", "labnet"])
def test_front_of_the_autoencoders_answers_as_the_classifier_does_to_gray(name):
    theirs = resnet18()
    torch.manual_seed(0)
    config = ChromaGANConfig(architecture=name, trunk_input="imagenet", width_multiplier=0.25)
    generator = ChromaGANGenerator(config).eval()
    generator.network.load_backbone_weights(theirs.state_dict())
    luminance = pictures(1, 64, 96)
    with torch.no_grad():
        ours = generator(luminance, output_hidden_states=True).hidden_states
        gray = (luminance - (0.485 + 0.456 + 0.406) / 3) / ((0.229 + 0.224 + 0.225) / 3)
        expected = theirs(gray.expand(-1, 3, -1, -1), output_hidden_states=True).hidden_states
    assert [tuple(state.shape[1:]) for state in ours] == [
        *[(16, 32, 48), (16, 16, 24), (32, 8, 12)],
        *[(32, 8, 12), (16, 16, 24), (8, 32, 48)],
    ]
    for our, their in zip(ours[1:3], expected[1:3], strict=True):
        torch.testing.assert_close(our, their, atol=1e-4, rtol=1e-4)


def test_rgb_is_between_zero_and_one_in_either_encoding():
    with torch.no_grad():
        for encoding in RANGES:
            rgb = build("basic", encoding=encoding)(pictures(2, 32, 32)).reconstruction
            assert rgb.shape == (2, 3, 32, 32)
            assert 0 < rgb.min() < rgb.max() < 1


@pytest.mark.parametrize("name", ["basic", "labnet"])
def test_autoencoders_repeat_color_at_half_the_size_or_compute_it_at_full_size(name):
    with torch.no_grad():
        half = build(name)(pictures(1, 32, 32)).reconstruction
        full = build(name, chroma_resolution="full")(pictures(1, 32, 32)).reconstruction
    assert torch.equal(half, half[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2))
    assert not torch.equal(full, full[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2))


# The autoencoders fused with an extractor

every_inception = pytest.mark.parametrize("name", ["preincep", "preres"])


@pytest.fixture
def stand_in(monkeypatch):
    """A stand-in for the extractor also where timm is installed."""
    monkeypatch.setattr(
        "modeling_chromagan.generator_inception.build_extractor", lambda architecture: StandInExtractor(2048)
    )


@pytest.mark.parametrize("encoding", RANGES)
def test_extractor_sees_luminance_three_times_at_299_pixels(stand_in, encoding):
    generator = build("preincep", encoding=encoding)
    low, high = RANGES[encoding]
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    given, _ = inputs_and_outputs(generator, generator.network.extractor, ramp * (high - low) + low)
    assert given.shape == (1, 3, 299, 299)
    assert torch.equal(given[:, 0], given[:, 2])
    torch.testing.assert_close(
        given, F.interpolate(ramp * 2 - 1, size=(299, 299), mode="bilinear").expand(1, 3, -1, -1)
    )
    assert (given[..., 0] == -1).all()
    assert (given[..., -1] == 1).all()


def test_features_of_the_whole_picture_reach_every_place(stand_in):
    generator = build("preincep")
    luminance = pictures(2, 40, 56)
    _, (seen,) = inputs_and_outputs(generator, generator.network.extractor, luminance)
    given, fused = inputs_and_outputs(generator, generator.network.fusion, luminance)
    local = generator.network.encoder.out_channels
    assert given.shape == (2, local + 2048, 5, 7)
    assert torch.equal(given[:, local:], seen.mean(dim=(2, 3))[:, :, None, None].expand(-1, -1, 5, 7))
    assert fused.shape == (2, 8, 5, 7)


def test_the_extractor_is_frozen_unless_it_is_to_be_trained(stand_in):
    for train_extractor in (False, True):
        generator = build("preincep", train_extractor=train_extractor).train()
        before = {key: value.clone() for key, value in generator.network.extractor.state_dict().items()}
        generator(pictures(2, 64, 64)).reconstruction.square().mean().backward()
        extractor = generator.network.extractor
        assert all((parameter.grad is not None) == train_extractor for parameter in extractor.parameters())
        assert extractor.training == train_extractor
        changed = [key for key, value in extractor.state_dict().items() if not torch.equal(value, before[key])]
        assert bool(changed) == train_extractor  # running statistics


def test_encoder_and_extractor_are_filled_from_files_of_their_own(stand_in):
    torch.manual_seed(0)
    generator = ChromaGANGenerator(ChromaGANConfig(architecture="preincep", width_multiplier=0.25))
    network, theirs = generator.network, resnet18().state_dict()
    network.load_backbone_weights(theirs)
    kernels = theirs["resnet.embedder.embedder.convolution.weight"]
    assert torch.equal(network.encoder.conv1.weight, kernels.sum(dim=1, keepdim=True))
    assert torch.equal(
        network.encoder.layer2[0].downsample[0].weight,
        theirs["resnet.encoder.stages.1.layers.0.shortcut.convolution.weight"],
    )
    weights = {key: value + 1 for key, value in network.extractor.state_dict().items()}
    network.load_extractor_weights(weights | {"fc.weight": torch.zeros(1000, 2048)})
    assert torch.equal(network.extractor.conv.weight, weights["conv.weight"])
    with pytest.raises(ValueError, match=r"conv.bias has a shape of \(3,\) instead of \(2048,\)"):
        network.load_extractor_weights(weights | {"conv.bias": torch.zeros(3)})
    with pytest.raises(KeyError, match=r"norm\.bias"):
        network.load_extractor_weights({key: value for key, value in weights.items() if key != "norm.bias"})


def test_extractors_that_cannot_be_had_are_refused_in_one_line(monkeypatch):
    monkeypatch.undo()
    if HAS_TIMM:
        monkeypatch.setattr(
            "timm.create_model", lambda *arguments, **settings: (_ for _ in ()).throw(ImportError("no"))
        )
    with pytest.raises(
        ImportError, match=r"^generators preincep and preres need timm, [^\n]+; accepted: timm 1\.0 [^\n]+$"
    ):
        ChromaGANGenerator(ChromaGANConfig(architecture="preincep"))


@pytest.mark.skipif(not HAS_TIMM, reason="timm is not installed")
@every_inception
def test_extractors_take_timm_s_own_weights_and_give_its_features(name):
    import timm

    torch.manual_seed(0)
    network = ChromaGANGenerator(ChromaGANConfig(architecture=name, width_multiplier=0.0625)).network
    picture = torch.rand(1, 3, 299, 299) * 2 - 1
    with torch.no_grad():
        (random_features,) = network.extractor(picture)
    assert 0.01 < random_features.std() < 100  # frozen random features have a size that the fusion can take
    theirs = timm.create_model(network.architecture).eval()
    network.load_extractor_weights(theirs.state_dict())
    with torch.no_grad():
        (ours,) = network.extractor.eval()(picture)
        expected = theirs.forward_features(picture)
    assert ours.shape == (1, network.extractor_channels, 8, 8)
    torch.testing.assert_close(ours, expected)
