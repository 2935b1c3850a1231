"""The autoencoders to RGB and to ab."""

import pytest
import torch
from small_generators import RANGES, build, pictures, resnet18

from modeling_chromagan import ChromaGANConfig, ChromaGANGenerator


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
