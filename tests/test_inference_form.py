"""Folded batch norms: the same colors, and neither training nor saving afterwards."""

import pytest
import torch
from torch import nn

from modeling_chromagan import (
    PACKAGED_WEIGHTS,
    ChromaGANConfig,
    ChromaGANGenerator,
    ChromaGANImageProcessor,
    ChromaGANPipeline,
)
from modeling_chromagan.color import decode_ab


@pytest.fixture
def generator() -> ChromaGANGenerator:
    """A small generator, in evaluation mode, whose batch norms know its features, and all shift and scale."""
    torch.manual_seed(0)
    generator = ChromaGANGenerator(ChromaGANConfig(trunk="lite0", width_multiplier=0.125, num_labels=3))
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics become those of the pictures below
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    with torch.no_grad():
        generator(torch.rand(4, 1, 64, 96))
    return generator.eval()


@torch.no_grad()
def outputs_of(generator: ChromaGANGenerator) -> tuple[torch.Tensor, ...]:
    """Chroma in Lab units, bin logits and class logits of two pictures."""
    luminance = torch.rand(2, 1, 64, 90, generator=torch.Generator().manual_seed(1))
    output = generator(luminance)
    return decode_ab(output.reconstruction, generator.config.encoding), output.bin_logits, output.logits


def test_folding_takes_out_every_batch_norm_and_keeps_the_function(generator):
    before = outputs_of(generator)
    assert generator.fold_batch_norms() is generator
    for folded, plain in zip(outputs_of(generator), before, strict=True):  # a random network enlarges rounding errors
        assert (folded - plain).abs().max() < 2e-4 * plain.std()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in generator.modules())
    once = outputs_of(generator)
    assert all(map(torch.equal, outputs_of(generator.fold_batch_norms()), once)), "folded twice it is another function"


def test_the_packaged_colors_stay_as_they_are_to_a_ten_thousandth_of_a_lab_unit():
    generator = ChromaGANGenerator.from_pretrained(PACKAGED_WEIGHTS, dtype=torch.float32)
    ab = outputs_of(generator)[0]
    torch.testing.assert_close(outputs_of(generator.fold_batch_norms())[0], ab, atol=1e-4, rtol=0)


def test_a_folded_generator_is_neither_saved_nor_trained(generator, tmp_path):
    pipeline = ChromaGANPipeline(generator.train().fold_batch_norms(), ChromaGANImageProcessor(), device="cpu")
    assert not generator.training
    for save in (generator.save_pretrained, pipeline.save_pretrained):
        with pytest.raises(ValueError, match=r"^batch norms are folded; accepted: saving a generator loaded anew$"):
            save(tmp_path / "model")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    with pytest.raises(ValueError, match=r"^batch norms are folded; accepted: training a generator loaded anew$"):
        generator.train()
    assert not any(parameter.requires_grad for parameter in generator.parameters())


def test_a_generator_that_cannot_fold_stays_as_it_is(tmp_path):
    generator = ChromaGANGenerator(ChromaGANConfig(architecture="labnet", width_multiplier=0.125))
    assert not generator.fold_batch_norms().training
    generator.train().save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
