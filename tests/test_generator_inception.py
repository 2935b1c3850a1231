"""The autoencoders fused with an Inception network."""

import pytest
import torch
import torch.nn.functional as F
from conftest import HAS_TIMM, StandInExtractor
from small_generators import RANGES, build, inputs_and_outputs, pictures, resnet18

from modeling_chromagan import ChromaGANConfig, ChromaGANGenerator

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
