"""Full-size composition: luminance kept, blocks invisible, neutral margins."""

import numpy as np
import pytest
import torch
from peak_memory import measure_alone, needs_peaks

from modeling_chromagan.color import LUMINANCE_WEIGHTS, rgb_to_lab
from modeling_chromagan.composition import compose


def reduced_gray(rgb8: np.ndarray) -> np.ndarray:
    """sRGB-coded luminance of (H, W, 3) uint8 in 8-bit units, written independently of the package."""
    coded = rgb8 / 255.0
    linear = np.where(coded > 0.04045, ((coded + 0.055) / 1.055) ** 2.4, coded / 12.92)
    luminance = linear @ np.array(LUMINANCE_WEIGHTS)
    return 255.0 * np.where(luminance > 0.0031308, 1.055 * luminance ** (1 / 2.4) - 0.055, luminance * 12.92)


def noise(height: int, width: int, dtype=np.uint8, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random((height, width))
    if dtype in (np.float32, np.float64):
        return values.astype(dtype)
    return (values * np.iinfo(dtype).max).round().astype(dtype)


def random_ab(height: int, width: int, deviation: float = 30.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, height, width, generator=torch.Generator().manual_seed(seed)) * deviation


def chroma_of(rgb8: np.ndarray) -> torch.Tensor:
    return rgb_to_lab(torch.from_numpy(rgb8).permute(2, 0, 1).double() / 255.0)[1:]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_luminance_is_the_inputs(dtype):
    gray = noise(150, 203, dtype)
    result = compose(gray, random_ab(12, 17, 60.0))
    assert result.shape == (150, 203, 3)
    assert result.dtype == np.uint8
    full_scale = 1.0 if gray.dtype.kind == "f" else np.iinfo(dtype).max
    assert np.abs(reduced_gray(result) - gray * (255.0 / full_scale)).max() <= 0.51
    if dtype == np.uint8:
        assert np.array_equal(reduced_gray(result).round(), gray)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("depth", [8, 16])
def test_blocks_do_not_show(dtype, depth):
    gray, ab = noise(97, 131, dtype), random_ab(14, 19)
    for box in (None, (10, 7, 120, 90)):
        whole = compose(gray, ab, box=box, block_rows=97, depth=depth)
        for block_rows in (1, 2, 13, 64, 1000, None):
            assert np.array_equal(compose(gray, ab, box=box, block_rows=block_rows, depth=depth), whole)


def test_the_number_of_threads_does_not_show():
    gray, ab = noise(400, 500), random_ab(14, 19)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = compose(gray, ab)
        torch.set_num_threads(2)
        assert np.array_equal(compose(gray, ab), alone)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_16_bits_are_gray_outside_of_the_box_and_where_there_is_no_chroma(dtype):
    gray, ab = noise(90, 110, dtype), random_ab(10, 12)
    white = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    expected = (gray.astype(np.float64) * (65535.0 / white))[..., None]
    margin = np.ones((90, 110), bool)
    margin[9:77, 15:95] = False
    result = compose(gray, ab, box=(15, 9, 95, 77), depth=16)[margin]
    for neutral, value in ((result, expected[margin]), (compose(gray, torch.zeros(2, 6, 7), depth=16), expected)):
        assert (neutral == neutral[..., :1]).all()
        assert np.abs(neutral - value).max() <= (0.51 if dtype == np.float32 else 0)


def test_16_bits_show_the_same_colors_as_8():
    gray, ab = noise(60, 70), random_ab(6, 7)
    assert np.abs(compose(gray, ab, depth=16) / 257.0 - compose(gray, ab)).max() <= 1.0


def test_without_chroma_the_picture_is_the_input():
    gray = noise(60, 70)
    assert np.array_equal(compose(gray, torch.zeros(2, 6, 7)), np.repeat(gray[..., None], 3, axis=2))


def test_uniform_chroma_stays_uniform():
    gray = np.full((64, 80), 140, np.uint8)
    result = compose(gray, torch.tensor([25.0, -15.0])[:, None, None].expand(2, 8, 10))
    assert (result == result[0, 0]).all()
    assert np.allclose(chroma_of(result)[:, 0, 0], [25.0, -15.0], atol=0.6)


def test_chroma_is_enlarged_bilinearly_where_it_belongs():
    gray, ab = np.full((48, 80), 128, np.uint8), random_ab(6, 8, 8.0)
    expected = torch.nn.functional.interpolate(ab[None], (48, 80), mode="bilinear")[0]
    assert (chroma_of(compose(gray, ab)) - expected).abs().max() < 1.5


def test_outside_of_the_box_stays_neutral_and_does_not_matter_inside():
    ab, box = random_ab(10, 12), (15, 9, 95, 77)
    for dtype in (np.uint8, np.uint16, np.float32):
        gray = noise(90, 110, dtype)
        result = compose(gray, ab, box=box)
        margin = np.ones((90, 110), bool)
        margin[9:77, 15:95] = False
        full_scale = 1.0 if gray.dtype.kind == "f" else np.iinfo(dtype).max
        rounded = np.floor(gray.astype(np.float64) * (255.0 / full_scale) + 0.5)
        assert (result[margin] == rounded[margin][:, None]).all()
        assert np.array_equal(result[9:77, 15:95], compose(np.ascontiguousarray(gray[9:77, 15:95]), ab))
        changed = np.where(margin, gray.max(), gray)
        assert np.array_equal(compose(changed, ab, box=box)[9:77, 15:95], result[9:77, 15:95])


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (5, 7), (33, 64)])
@pytest.mark.parametrize("ab_shape", [(1, 1), (16, 16), (64, 128)])
def test_any_sizes_go_together(shape, ab_shape):
    gray = noise(*shape)
    result = compose(gray, random_ab(*ab_shape))
    assert np.array_equal(reduced_gray(result).round(), gray)


def test_chroma_of_the_pictures_own_size_is_taken_as_it_is():
    gray = np.full((24, 32), 128, np.uint8)
    ab = random_ab(24, 32, 5.0)
    assert (chroma_of(compose(gray, ab)) - ab).abs().max() < 1.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_chroma_of_any_float_type(dtype):
    gray, ab = noise(40, 50), random_ab(5, 6).to(dtype).requires_grad_()
    assert np.array_equal(compose(gray, ab), compose(gray, ab.detach().float()))


def test_input_is_left_as_it_was():
    gray, ab = noise(40, 50), random_ab(5, 6)
    gray_before, ab_before = gray.copy(), ab.clone()
    gray.flags.writeable = False
    compose(gray, ab)
    assert np.array_equal(gray, gray_before)
    assert torch.equal(ab, ab_before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gray": np.zeros((4, 5, 3), np.uint8)}, r"\(4, 5, 3\)"),
        ({"gray": np.zeros((0, 5), np.uint8)}, r"\(0, 5\)"),
        ({"gray": np.zeros((4, 5), np.int64)}, "int64"),
        ({"gray": np.full((40, 50), 1.5, np.float32)}, r"0\.\.1.*1\.5"),
        ({"gray": np.full((40, 50), np.nan, np.float32)}, r"0\.\.1.*nan"),
        ({"ab": torch.zeros(3, 4, 4)}, r"\(3, 4, 4\)"),
        ({"ab": torch.zeros(1, 2, 4, 4)}, r"\(1, 2, 4, 4\)"),
        ({"ab": torch.full((2, 4, 4), float("nan"))}, "finite"),
        ({"box": (0, 0, 51, 40)}, r"50x40.*51"),
        ({"box": (10, 5, 10, 40)}, r"50x40.*\(10, 5, 10, 40\)"),
        ({"block_rows": 0}, "block_rows.*0"),
        ({"depth": 12}, "depth.*8, 16.*12"),
    ],
)
def test_bad_input_is_one_clear_line(change, message):
    arguments = {"gray": noise(40, 50), "ab": random_ab(5, 6), **change}
    with pytest.raises(ValueError, match=message) as caught:
        compose(**arguments)
    assert "\n" not in str(caught.value)


PEAK_BESIDE_INPUT_AND_OUTPUT = """
import sys
import numpy as np, torch
from peak_memory import peak_memory
from modeling_chromagan.composition import compose
height, width = int(sys.argv[1]), int(sys.argv[2])
gray = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
ab = torch.randn(2, 64, 64) * 30
compose(gray[:512, :512], ab)
before = peak_memory()
result = compose(gray, ab)
print(peak_memory() - before - result.nbytes)
"""


@pytest.mark.slow
@needs_peaks
def test_memory_beside_input_and_output_does_not_grow():
    small, large = (measure_alone(PEAK_BESIDE_INPUT_AND_OUTPUT, *size)[0] for size in ((2000, 3000), (6000, 8000)))
    assert max(small, large) < 100 << 20
    assert large - small < 30 << 20
