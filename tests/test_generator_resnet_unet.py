"""The U-Net on a ResNet-18."""

import torch
import torch.nn.functional as F
from small_generators import build, pictures, resnet18

from modeling_chromagan import GENERATORS, ChromaGANConfig, ChromaGANGenerator
from modeling_chromagan.layers import three_channels


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
