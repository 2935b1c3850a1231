"""The published network, written out from the paper."""

import pytest
import torch
import torch.nn.functional as F
from small_generators import bare, build, count_of_weights, inputs_and_outputs, pictures
from torch import nn

from modeling_chromagan import ChromaGANConfig, ChromaGANGenerator
from modeling_chromagan.generator_chromagan import ConvLayer


def test_number_of_weights_without_the_class_head():
    assert count_of_weights(architecture="chromagan", class_head=False) == 47_528_866


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
