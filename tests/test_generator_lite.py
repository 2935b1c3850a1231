"""ChromaGAN's design on an EfficientNet-Lite trunk: the trained function, folding, and what a CPU needs of it."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from torch import nn

from modeling_chromagan import PACKAGED_WEIGHTS, ChromaGANConfig, ChromaGANGenerator
from modeling_chromagan.color import ab_bins, decode_ab, rgb_to_lab
from modeling_chromagan.generator_lite import LiteGenerator

EXAMPLES = ROOT / "examples"
TINY = ChromaGANConfig(trunk="lite0", width_multiplier=0.125, num_labels=5)
# What the code that trained the packaged weights gave for two pictures, at some places: ab of half size in Lab units,
# logits over bins, logits over classes.
PARITY = json.loads(Path(__file__).with_name("lite_parity.json").read_text())


@pytest.fixture(scope="module")
def packaged() -> ChromaGANGenerator:
    return ChromaGANGenerator.from_pretrained(PACKAGED_WEIGHTS, dtype=torch.float32).eval()


def luminance_of(stored: dict) -> torch.Tensor:
    """The gray levels of a picture of examples/ as if they were lightness, (1, 1, H, W), in unit8."""
    size = stored["width"], stored["height"]
    picture = Image.open(EXAMPLES / stored["picture"]).convert("L").resize(size, Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(picture)).float()[None, None] / 255


def with_some_statistics(generator: nn.Module) -> nn.Module:
    """Batch norms of a new network are the identity; these are not."""
    with torch.no_grad():
        for module in generator.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.uniform_(0.5, 1.5)
                module.running_mean.normal_(0, 0.2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
    return generator


def tiny() -> LiteGenerator:
    torch.manual_seed(0)
    return with_some_statistics(LiteGenerator.from_config(TINY)).eval()


@pytest.mark.parametrize("stored", PARITY, ids=lambda stored: stored["picture"])
def test_the_packaged_weights_do_what_they_were_trained_to_do(packaged, stored):
    half_size = []
    handle = packaged.network.chroma.register_forward_hook(lambda _, __, output: half_size.append(50 * output))
    with torch.no_grad():
        output = packaged(luminance_of(stored))
    handle.remove()
    ab = half_size[0][0, :, 5::12, 7::12].flatten()
    for name, ours in (("ab", ab), ("bins", output.bin_logits[0, ::13, 11, 13]), ("classes", output.logits[0, ::50])):
        torch.testing.assert_close(
            ours, torch.tensor(stored[name]), atol=1e-3, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_chroma_is_enlarged_from_half_the_size(packaged):
    stored = PARITY[0]
    with torch.no_grad():
        ab = decode_ab(packaged(luminance_of(stored)).reconstruction, "unit8")
    assert ab.shape == (1, 2, stored["height"], stored["width"])
    # Bilinearly, so four pixels around the middle of a small one average to three quarters of it and more.
    middle = nn.functional.avg_pool2d(ab, 2)[0, :, 5::12, 7::12].flatten()
    assert (middle - torch.tensor(stored["ab"])).abs().mean() < 1.0


def test_folding_changes_nothing_but_rounding(packaged):
    luminance = luminance_of(PARITY[0])
    for generator in (tiny(), packaged.network):
        folded = copy.deepcopy(generator)
        folded.fold_batch_norms()
        assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        with torch.no_grad():
            ours, theirs = folded(luminance), generator(luminance)
        assert theirs.reconstruction.std() > 0.001
        assert (decode_ab(ours.reconstruction, "unit8") - decode_ab(theirs.reconstruction, "unit8")).abs().max() < 1e-4
        torch.testing.assert_close(ours.bin_logits, theirs.bin_logits, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(ours.class_logits, theirs.class_logits, atol=1e-3, rtol=1e-4)


def test_what_inference_writes_over_is_no_longer_needed():
    """Without gradients features are changed in place; those that are handed out, and the picture, are not."""
    generator = tiny()
    luminance = torch.rand(1, 1, 64, 96)
    given = luminance.clone()
    kept = generator(luminance)
    with torch.no_grad():
        overwritten = generator(luminance)
    assert torch.equal(luminance, given)
    assert len(kept.hidden_states) == 11
    for ours, theirs in zip(overwritten.hidden_states, kept.hidden_states, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), atol=1e-4, rtol=1e-4)


def test_folded_weights_lie_as_the_features_do():
    """Or every call reorders them all, which takes a seventh of its time."""
    generator = tiny()
    generator.fold_batch_norms()
    weights = [module.weight for module in generator.modules() if isinstance(module, nn.Conv2d)]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_on_a_cpu_the_trunk_is_computed_in_float32_whatever_is_asked():
    seen = []
    generator = tiny()
    convolution = generator.trunk.stages[3][1].depthwise.conv
    convolution.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    luminance = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            generator(luminance)
        halved = generator.bfloat16()(luminance.bfloat16())
    assert seen == [torch.float32, torch.float32]
    assert halved.class_logits.dtype == torch.bfloat16


def test_shapes_of_everything_it_predicts():
    generator = ChromaGANGenerator(TINY).eval()
    with torch.no_grad():
        output = generator(torch.rand(2, 1, 45, 70))
    assert output.reconstruction.shape == (2, 2, 45, 70)
    assert output.bin_logits.shape == (2, 260, 12, 18)
    assert output.logits.shape == (2, 5)


def test_predictions_stay_within_what_srgb_can_be():
    generator = tiny()
    with torch.no_grad():
        generator.chroma.weight.mul_(1e6)
        ab = decode_ab(generator(torch.rand(1, 1, 32, 32)).reconstruction, "unit8")
    assert ab.abs().max() <= 110.001


def test_bins_are_the_squares_that_srgb_reaches():
    bins = ab_bins()
    assert bins.shape == (260, 2)
    assert torch.equal(bins, bins.round() / 10 * 10)
    colors = torch.rand(3, 1, 20000, generator=torch.Generator().manual_seed(0))
    ab = rgb_to_lab(colors)[1:, 0].T
    nearest = torch.cdist(ab, bins).min(dim=1).values
    assert nearest.max() <= 50**0.5 + 1.5  # at most half a diagonal, and a little at the gamut's rim
