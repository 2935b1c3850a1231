"""The U-Net of pix2pix: published widths, halvings, noise."""

import pytest
import torch
from small_generators import bare, build, count_of_weights, inputs_and_outputs, pictures

from modeling_chromagan import GENERATORS, ChromaGANConfig, ChromaGANGenerator


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
