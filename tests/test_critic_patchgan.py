"""The critic: linear, without normalization, every picture by itself."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modeling_chromagan import ChromaGANConfig, ChromaGANCritic
from modeling_chromagan.architectures import CRITICS
from modeling_chromagan.critic_patchgan import PatchCritic


def build(width: float = 0.0625, seed: int = 0, **settings) -> ChromaGANCritic:
    torch.manual_seed(seed)
    return ChromaGANCritic(ChromaGANConfig(critic_width_multiplier=width, **settings))


def pictures(count: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_published_layers():
    with torch.device("meta"):
        critic = PatchCritic.from_config(ChromaGANConfig())
    layers = [module for module in critic.modules() if isinstance(module, nn.Conv2d)]
    assert [(conv.in_channels, conv.out_channels, *conv.kernel_size, conv.stride[0]) for conv in layers] == [
        (3, 64, 4, 4, 2),
        (64, 128, 4, 4, 2),
        (128, 256, 4, 4, 2),
        (256, 512, 4, 4, 1),
        (512, 1, 4, 4, 1),
    ]
    assert sum(parameter.numel() for parameter in critic.parameters()) == 2_764_737


def test_width_is_a_field_of_its_own():
    with torch.device("meta"):
        critic = ChromaGANCritic(ChromaGANConfig(critic_width_multiplier=0.25))
        wide_generator = ChromaGANCritic(ChromaGANConfig(critic_width_multiplier=0.25, width_multiplier=2))
    widths = [weight.shape[0] for weight in critic.parameters() if weight.ndim == 4]
    assert widths == [16, 32, 64, 128, 1]
    assert widths == [weight.shape[0] for weight in wide_generator.parameters() if weight.ndim == 4]


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"), [(224, 224, 28, 28), (64, 64, 8, 8), (65, 112, 9, 14), (16, 17, 2, 3)]
)
def test_one_score_per_patch_of_eight_pixels(height, width, rows, columns):
    assert build()(pictures(2, height, width)).scores.shape == (2, 1, rows, columns)


def test_there_is_no_normalization():
    """A batch norm would mix the pictures of a batch, which makes the penalty on single gradients meaningless."""
    critic = build()
    assert {type(module) for module in critic.network.modules()} == {PatchCritic, nn.Conv2d, nn.ModuleDict}
    assert len(critic.network.norms) == 0
    assert not list(critic.buffers())


@pytest.mark.parametrize("training", [True, False])
def test_a_picture_s_scores_do_not_depend_on_the_others_of_its_batch(training):
    critic, batch = build().train(training), pictures(4, 32, 32)
    alone = torch.cat([critic(picture[None]).scores for picture in batch])
    torch.testing.assert_close(critic(batch).scores, alone)
    batch[1:] = 1 - batch[1:]
    torch.testing.assert_close(critic(batch).scores[:1], alone[:1])


def test_scores_are_real_numbers_of_both_signs_without_bounds():
    """A sigmoid at the end would keep them in 0..1 and flatten the slope that the Wasserstein distance is made of."""
    critic, batch = build(), pictures(2, 32, 32)
    last = critic.network.conv5
    with torch.no_grad():
        scores = critic(batch).scores
        last.weight.mul_(1000)
        torch.testing.assert_close(critic(batch).scores, 1000 * scores, rtol=1e-4, atol=1e-2)
        for shift in (-5000.0, 5000.0):
            last.bias.fill_(shift)
            torch.testing.assert_close(critic(batch).scores, 1000 * scores + shift, rtol=1e-4, atol=1e-2)


def test_the_function_is_the_published_one():
    critic, batch = build(), pictures(2, 40, 56)
    x = batch
    for i, (before, after, stride) in enumerate([(1, 1, 2), (1, 1, 2), (1, 1, 2), (1, 2, 1), (1, 2, 1)]):
        weight, bias = (getattr(getattr(critic.network, f"conv{i + 1}"), name) for name in ("weight", "bias"))
        x = F.conv2d(F.pad(x, (before, after, before, after)), weight, bias, stride)
        if i < 4:
            x = torch.where(x > 0, x, 0.3 * x)
    torch.testing.assert_close(critic(batch).scores, x)


def test_the_penalty_reaches_every_weight():
    critic = build()
    picture = pictures(2, 32, 32).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(picture).scores.sum(), picture, create_graph=True)
    (gradient.flatten(1).norm(dim=1) - 1).square().mean().backward()
    for name, parameter in critic.named_parameters():
        if name.endswith("weight"):  # a shift does not change the slope
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (3, 32, 32), (2, 4, 32, 32)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"^pixel_values has shape .* accepted: \(B, 3, H, W\)"):
        build()(torch.zeros(shape))


# The critic of pix2pix, and batch norm where somebody asks for it


def test_pix2pix_layers():
    with torch.device("meta"):
        critic = CRITICS["pix2pix"].from_config(ChromaGANConfig(critic="pix2pix", critic_norm="batch"))
    layers = [module for module in critic.modules() if isinstance(module, nn.Conv2d)]
    assert [(conv.out_channels, conv.stride[0], conv.padding[0]) for conv in layers] == [
        (64, 2, 1),
        (128, 2, 1),
        (256, 2, 1),
        (512, 1, 1),
        (1, 1, 1),
    ]
    assert sum(parameter.numel() for parameter in critic.parameters()) == 2_764_737 + 2 * (128 + 256 + 512)


def test_one_score_of_pix2pix_sees_seventy_pixels():
    picture = pictures(1, 256, 256).requires_grad_()
    scores = build(critic="pix2pix")(picture).scores
    assert scores.shape == (1, 1, 30, 30)
    scores[0, 0, 15, 15].backward()
    seen = picture.grad.abs().sum(dim=(0, 1))
    rows, columns = seen.sum(1).nonzero().flatten(), seen.sum(0).nonzero().flatten()
    assert rows[-1] - rows[0] + 1 == 70
    assert columns[-1] - columns[0] + 1 == 70


@pytest.mark.parametrize("name", ["chromagan", "pix2pix"])
def test_batch_norm_is_there_only_on_request(name):
    without, batch = build(critic=name), build(critic=name, critic_norm="batch")
    assert not [module for module in without.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len([module for module in batch.modules() if isinstance(module, nn.BatchNorm2d)]) == 3
    scores = batch.train()(pictures(3, 48, 48)).scores
    scores.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in batch.parameters())
    assert batch.network.norms["norm2"].running_mean.abs().sum() > 0


def test_pictures_below_the_smallest_of_pix2pix_are_refused():
    assert build(critic="pix2pix")(pictures(1, 24, 24)).scores.shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"at least 24 pixels a side$"):
        build(critic="pix2pix")(pictures(1, 23, 40))
