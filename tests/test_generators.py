"""One contract for every generator."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import HAS_TIMM
from small_generators import RANGES, build, count_of_weights, pictures

from modeling_chromagan import GENERATORS, ChromaGANGenerator, ChromaGANImageProcessor
from modeling_chromagan.color import LUMINANCE_WEIGHTS

pytestmark = pytest.mark.usefixtures("extractors")

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

every_generator = pytest.mark.parametrize("name", GENERATORS)
every_classifier = pytest.mark.parametrize("name", [name for name in GENERATORS if GENERATORS[name].has_class_head])


def color_channels(generator: ChromaGANGenerator) -> int:
    return {"ab": 2, "rgb": 3}[generator.network.output_space]


@pytest.mark.parametrize("name", WEIGHTS)
def test_number_of_weights(name):
    if GENERATORS[name].extractor_parts and not HAS_TIMM:
        pytest.skip("timm is not installed: the extractor is a stand-in")
    assert count_of_weights(architecture=name) == WEIGHTS[name]


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
