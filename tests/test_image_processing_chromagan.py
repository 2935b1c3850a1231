"""What the network sees of a picture, and how its prediction becomes a picture again."""

import dataclasses
import io
import json
import tracemalloc
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor
from transformers.modeling_outputs import ImageSuperResolutionOutput

from modeling_chromagan import PACKAGED_WEIGHTS, image_processing_chromagan
from modeling_chromagan.color import encode_ab, gray_to_lightness, lightness_to_gray, rgb_to_lab
from modeling_chromagan.errors import ImageLoadError, SettingError
from modeling_chromagan.image_loading import load_image
from modeling_chromagan.image_processing_chromagan import ChromaGANImageProcessor, network_size, resize_gray
from modeling_chromagan.rgb_spaces import SRGB


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A gray picture (H, W), uint8, with detail up to its edges, so that no side looks like a margin."""
    coarse = np.random.default_rng(seed).integers(20, 236, (height // 6 + 2, width // 6 + 2)).astype(np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def prediction(*ab: tuple[float, float], encoding: str = "unit8", size: int = 16) -> ImageSuperResolutionOutput:
    """A model output of one even chroma per picture, in Lab units."""
    lab = torch.tensor(ab, dtype=torch.float32)[:, :, None, None].expand(-1, -1, size, size)
    return ImageSuperResolutionOutput(reconstruction=encode_ab(lab, encoding))


@pytest.fixture
def processor() -> ChromaGANImageProcessor:
    return ChromaGANImageProcessor(size=32)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((300, 400), (128, 171)),  # landscape
        ((400, 300), (171, 128)),
        ((10, 20), (128, 256)),  # enlarged
        ((100, 5000), (128, 1024)),  # squeezed to eight times the short side
        ((5000, 100), (1024, 128)),
        ((1, 1), (128, 128)),
    ],
)
def test_network_size_keeps_the_aspect_ratio_up_to_the_cap(size, expected):
    assert network_size(*size, shortest_edge=128, longest_edge=1024) == expected


@pytest.mark.parametrize(("dtype", "scale"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
@pytest.mark.parametrize("target", [(40, 53), (300, 411)])
def test_resizing_in_strips_is_pillows_antialiased_resize(monkeypatch, dtype, scale, target):
    monkeypatch.setattr(image_processing_chromagan, "STRIP_PIXELS", 1000)
    gray = (textured(190, 260) / 255 * scale).astype(dtype)
    part = Image.fromarray(gray[9:170, 5:250].astype(np.float32))
    expected = np.asarray(part.resize(target[::-1], Image.Resampling.BILINEAR)) / scale
    np.testing.assert_allclose(resize_gray(gray, (5, 9, 250, 170), *target), expected, atol=1e-6)


def test_fine_patterns_are_averaged_not_sampled():
    stripes = np.zeros((600, 800), np.uint8)
    stripes[:, ::2] = 255
    resized = resize_gray(stripes, (0, 0, 800, 600), 32, 43)
    assert np.abs(resized - 0.5).max() < 0.05


def test_a_large_picture_is_never_copied_as_floats():
    gray = np.tile(textured(100, 100), (50, 60))
    tracemalloc.start()
    resize_gray(gray, (0, 0, 6000, 5000), 64, 77)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < gray.size, f"{peak} bytes for a picture of {gray.size} pixels"


def test_every_kind_of_source_gives_the_same_network_input(processor, tmp_path):
    gray = textured(48, 64)
    path = tmp_path / "picture.png"
    Image.fromarray(gray).save(path)
    sources = {
        "path": path,
        "text path": str(path),
        "bytes": path.read_bytes(),
        "PIL": Image.fromarray(gray),
        "array": gray,
        "array with one channel": gray[..., None],
        "color array": np.repeat(gray[..., None], 3, axis=2),
        "tensor": torch.from_numpy(gray),
        "tensor with a channel": torch.from_numpy(gray)[None],
        "color tensor": torch.from_numpy(gray)[None].expand(3, -1, -1),
        "tensor with channels last": torch.from_numpy(gray)[..., None].expand(-1, -1, 3),
        "array with channels first": np.repeat(gray[None], 3, axis=0),
        "LoadedImage": load_image(path),
    }
    expected = processor(path).pixel_values
    assert expected.shape == (1, 1, 32, 43)
    assert expected.dtype == torch.float32
    for kind, source in sources.items():
        assert torch.equal(processor(source).pixel_values, expected), kind
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-4), (torch.bfloat16, 5e-3)):
        tensor = (torch.from_numpy(gray) / 255).to(dtype)[None].expand(3, -1, -1)
        torch.testing.assert_close(processor(tensor).pixel_values, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_the_caller_says_where_channels_are_if_the_shape_does_not(make):
    processor = ChromaGANImageProcessor(size=16)
    for axes, (height, width) in {None: (3, 32) if make is np.zeros else (32, 4), "channels_first": (32, 4)}.items():
        seen = processor.prepare(make((3, 32, 4)), input_data_format=axes).original.gray
        assert seen.shape == (height, width)
    assert processor.prepare(make((3, 32, 4)), input_data_format="channels_last").original.gray.shape == (3, 32)
    with pytest.raises(ValueError, match="channels_first"):
        processor(make((3, 32, 4)), input_data_format="channels_middle")


def test_lists_and_stacked_pictures_become_one_batch(processor):
    pictures = [textured(48, 64, seed) for seed in range(3)]
    batch = processor(pictures).pixel_values
    assert batch.shape == (3, 1, 32, 43)
    assert torch.equal(batch[1:2], processor(pictures[1]).pixel_values)
    assert torch.equal(processor(np.stack(pictures)[..., None]).pixel_values, batch)
    assert torch.equal(processor(torch.from_numpy(np.stack(pictures))[:, None]).pixel_values, batch)


def test_pictures_of_different_network_sizes_are_no_batch(processor):
    pictures = [textured(48, 64), textured(64, 48)]
    with pytest.raises(
        ValueError, match=r"^images have network sizes 32x43, 43x32; accepted in one batch: one size .+$"
    ):
        processor(pictures)
    arrays = processor(pictures, return_tensors=None).pixel_values
    assert [array.shape for array in arrays] == [(1, 32, 43), (1, 43, 32)]


@pytest.mark.parametrize(("encoding", "black", "white"), [("unit8", 0, 1), ("symmetric", -1, 1)])
def test_luminance_is_encoded_as_the_model_wants_it(encoding, black, white):
    gray = np.zeros((32, 64), np.uint8)
    gray[:, 32:] = 255
    processor = ChromaGANImageProcessor(size=32, encoding=encoding, borders="keep")
    pixel_values = processor(gray).pixel_values
    torch.testing.assert_close(pixel_values[..., :31], torch.full((1, 1, 32, 31), float(black)), atol=1e-4, rtol=0)
    torch.testing.assert_close(pixel_values[..., 33:], torch.full((1, 1, 32, 31), float(white)), atol=1e-4, rtol=0)


def test_sixteen_bit_scans_keep_their_tones(processor, tmp_path):
    ramp = np.linspace(0, 65535, 64).round().astype(np.uint16)[None].repeat(64, axis=0)
    Image.fromarray(ramp).save(tmp_path / "scan.tif")
    seen = processor(tmp_path / "scan.tif", size=64, borders="keep").pixel_values[0, 0, 0]
    expected = gray_to_lightness(torch.linspace(0, 1, 64)[None, None, None]).flatten() / 100
    torch.testing.assert_close(seen, expected, atol=1e-3, rtol=0)


def test_margins_are_left_out_of_what_the_network_sees(processor):
    picture = textured(120, 160)
    framed = np.full((160, 220), 8, np.uint8)
    framed[20:140, 30:190] = picture
    prepared = processor.prepare(framed)
    np.testing.assert_allclose(prepared.box, (30, 20, 190, 140), atol=4)
    assert prepared.pixel_values.min() > 0.05, "the dark frame is still in the network's input"
    kept = processor.prepare(framed, borders="keep")
    assert kept.box == (0, 0, 220, 160)
    assert kept.pixel_values.min() < 0.05


@pytest.mark.parametrize("name", ["image_mean", "rescale_factor", "crop_size", "do_pad"])
def test_settings_of_other_image_processors_are_refused_by_name(processor, name):
    expected = f"^{name} is unknown; accepted: .*size, resample, [^\n]+$"
    for make in (
        ChromaGANImageProcessor,
        partial(ChromaGANImageProcessor.from_dict, {}),
        partial(processor, textured(48, 64)),
    ):
        with pytest.raises(TypeError, match=expected):
            make(**{name: 1})
    with pytest.raises(TypeError, match=expected):
        ChromaGANImageProcessor.from_dict({name: 1})


def test_saved_names_that_nobody_knows_are_passed_over_with_a_warning(monkeypatch):
    warnings = []
    monkeypatch.setattr(image_processing_chromagan.logger, "warning", warnings.append)
    loaded = ChromaGANImageProcessor.from_dict({"size": 64, "working_size": 96})
    assert loaded.to_dict() == ChromaGANImageProcessor(size=64).to_dict()
    assert warnings == ["working_size of the image processor's file is unknown and not used"]


def test_wrong_settings_of_one_call_are_refused_too(processor):
    with pytest.raises(SettingError, match=r"^size is 3; accepted"):
        processor(textured(48, 64), size=3)
    processor.size["shortest_edge"] = 3
    with pytest.raises(SettingError, match=r"^size is .+shortest_edge=3"):
        processor(textured(48, 64))
    processor.size = 32
    with pytest.raises(ValueError, match=r"^saturation is 3; accepted"):
        processor.post_process_colorization(prediction((0, 0)), textured(48, 64), saturation=3)
    with pytest.raises(TypeError, match="sise"):
        processor(textured(48, 64), sise=64)
    with pytest.raises(TypeError, match="saturation is unknown"):
        processor(textured(48, 64), saturation=1)


def test_a_size_without_its_longest_edge_keeps_the_proportion(processor):
    assert ChromaGANImageProcessor(size=64).size == {"shortest_edge": 64, "longest_edge": 256}
    wide = ChromaGANImageProcessor(size={"shortest_edge": 32, "longest_edge": 320}, borders="keep")
    long = textured(40, 4000)
    assert wide.prepare(long).pixel_values.shape == (1, 32, 320)
    assert wide.prepare(long, size=48).pixel_values.shape == (1, 48, 480)
    assert wide.prepare(long, size={"shortest_edge": 48, "longest_edge": 60}).pixel_values.shape == (1, 48, 60)
    wide.size = 16
    assert wide.prepare(long).pixel_values.shape == (1, 16, 64), "assigned without a longest edge: as when it is made"


def test_pictures_are_seen_at_their_own_size_where_resizing_is_off():
    gray = textured(50, 75)
    processor = ChromaGANImageProcessor(do_resize=False, borders="keep")
    expected = gray_to_lightness(torch.from_numpy(gray)[None, None] / 255) / 100
    assert torch.equal(processor(gray).pixel_values, expected)
    assert processor(gray, do_resize=True).pixel_values.shape == (1, 1, 256, 384)


def test_the_filter_that_resizes_can_be_chosen():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[::2] = 255
    nearest, box = (
        ChromaGANImageProcessor(size=32, borders="keep", resample=filter)(stripes).pixel_values.unique()
        for filter in (Image.Resampling.NEAREST, Image.Resampling.BOX)
    )
    assert nearest.abs().max() < 1e-6 or nearest.min() > 1 - 1e-6, "one of two rows"
    assert box.min() > 0.5
    assert box.max() < 0.6


def test_unreadable_pictures_are_named(processor, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(ImageLoadError, match=r"broken\.jpg: "):
        processor([textured(48, 64), broken])
    with pytest.raises(ImageLoadError, match=r"^picture 2: "):
        processor([textured(48, 64), b"no picture"])
    with pytest.raises(ImageLoadError, match="pixels"):
        ChromaGANImageProcessor(max_pixels=1000)(Image.new("L", (64, 64)))
    with pytest.raises(ImageLoadError, match="max_pixels = 1,001"):
        processor(Image.new("L", (64, 64)), max_pixels=1001)


def test_saved_processors_come_back_equal(tmp_path):
    processor = ChromaGANImageProcessor(
        encoding="symmetric",
        do_convert_rgb=False,
        do_resize=False,
        size={"shortest_edge": 96, "longest_edge": 480},
        resample=Image.Resampling.LANCZOS,
        saturation=1.25,
        borders="keep",
        max_pixels=10**6,
    )
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert {name: saved[name] for name in processor.valid_kwargs.__annotations__} == {
        "encoding": "symmetric",
        "do_convert_rgb": False,
        "do_resize": False,
        "size": {"shortest_edge": 96, "longest_edge": 480},
        "resample": 1,
        "do_rescale": True,
        "do_normalize": True,
        "saturation": 1.25,
        "borders": "keep",
        "max_pixels": 10**6,
    }
    assert ChromaGANImageProcessor.from_pretrained(tmp_path).to_dict() == processor.to_dict()
    changed = ChromaGANImageProcessor.from_pretrained(tmp_path, size=64, do_resize=True, saturation=0.5)
    assert changed.size == {"shortest_edge": 64, "longest_edge": 320}
    assert (changed.do_resize, changed.saturation, changed.borders) == (True, 0.5, "keep")
    with pytest.raises(SettingError, match="size is 1;"):
        ChromaGANImageProcessor.from_pretrained(tmp_path, size=1)


def test_the_packaged_settings_are_those_that_a_processor_writes():
    text = (PACKAGED_WEIGHTS / "preprocessor_config.json").read_text()
    assert ChromaGANImageProcessor.from_pretrained(PACKAGED_WEIGHTS).to_json_string() == text


@pytest.mark.parametrize("backend", [None, "pil"])
def test_the_auto_class_loads_it_without_remote_code(tmp_path, backend):
    ChromaGANImageProcessor(size=96).save_pretrained(tmp_path)
    loaded = AutoImageProcessor.from_pretrained(tmp_path, backend=backend)
    assert type(loaded) is ChromaGANImageProcessor
    assert loaded.size["shortest_edge"] == 96
    assert loaded.backend == "pil"


@pytest.mark.parametrize("encoding", ["unit8", "symmetric"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_predicted_chroma_colors_the_picture_at_full_size(encoding, dtype):
    processor = ChromaGANImageProcessor(encoding=encoding)
    outputs = prediction((0, 60), (0, -60), encoding=encoding)
    outputs.reconstruction = outputs.reconstruction.to(dtype).requires_grad_()
    middle = np.full((90, 121), 128, np.uint8)
    yellow, blue = processor.post_process_colorization(outputs, [middle, middle], borders="keep")
    assert (yellow.size, yellow.mode) == ((121, 90), "RGB")
    yellow, blue = (np.asarray(picture, np.int16)[45, 60] for picture in (yellow, blue))
    assert yellow[0] > yellow[2] + 60
    assert blue[2] > blue[0] + 60


def test_no_chroma_gives_back_the_gray_picture(processor):
    gray = textured(90, 121)
    outputs = ImageSuperResolutionOutput(reconstruction=encode_ab(torch.zeros(1, 2, 32, 43), "unit8"))
    (picture,) = processor.post_process_colorization(outputs, gray)
    np.testing.assert_array_equal(np.asarray(picture), np.repeat(gray[..., None], 3, axis=2))


def test_saturation_multiplies_chroma_and_leaves_luminance_alone(processor):
    gray, (a, b) = np.full((40, 50), 140, np.uint8), (12.0, -16.0)
    outputs = prediction((a, b), size=8)
    for saturation in (None, 0, 0.5, 1.0, 1.5, 2):
        (picture,) = processor.post_process_colorization(outputs, gray, saturation=saturation, borders="keep")
        lab = rgb_to_lab(torch.from_numpy(np.array(picture)).permute(2, 0, 1).double() / 255)
        factor = 1 if saturation is None else saturation
        expected = torch.tensor([factor * a, factor * b], dtype=torch.float64)[:, None, None].expand(2, 40, 50)
        torch.testing.assert_close(lab[1:], expected, atol=0.8, rtol=0)
        assert torch.equal((255 * lightness_to_gray(lab[0])).round().byte(), torch.from_numpy(gray))
    processor.saturation = 0.5
    assert processor.post_process_colorization(outputs, gray, borders="keep") == (
        processor.post_process_colorization(outputs, gray, saturation=0.5, borders="keep")
    )


def test_colors_that_saturation_takes_out_of_gamut_come_back_with_luminance_and_hue(processor):
    gray = np.arange(256, dtype=np.uint8).repeat(8)[None].repeat(64, axis=0)
    (picture,) = processor.post_process_colorization(prediction((70, 60), size=64), gray, saturation=2, borders="keep")
    lab = rgb_to_lab(torch.from_numpy(np.array(picture)).permute(2, 0, 1).double() / 255)
    assert torch.equal((255 * lightness_to_gray(lab[0])).round().byte(), torch.from_numpy(gray))
    middle = lab[:, :, 8 * 60 : 8 * 200]  # where sRGB has enough chroma for a hue
    hue = torch.rad2deg(torch.atan2(middle[2], middle[1]))
    assert (hue - np.degrees(np.arctan2(60, 70))).abs().max() < 3


def test_margins_stay_neutral(processor):
    framed = np.full((160, 220), 8, np.uint8)
    framed[20:140, 30:190] = textured(120, 160)
    (picture,) = processor.post_process_colorization(prediction((50, 50)), [processor.prepare(framed)])
    chroma = np.ptp(np.asarray(picture).astype(np.int16), axis=2)
    assert chroma[:14].max() == 0
    assert chroma[:, :24].max() == 0
    assert np.median(chroma[30:130, 40:180]) > 20


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_comes_back(processor, mode):
    alpha = textured(48, 64, seed=1)
    original = Image.merge("LA", [Image.fromarray(textured(48, 64)), Image.fromarray(alpha)]).convert(mode)
    stream = io.BytesIO()
    original.save(stream, "PNG")
    (picture,) = processor.post_process_colorization(prediction((10, 20)), stream.getvalue())
    assert picture.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(picture)[..., 3], alpha)


def test_alpha_of_16_bits_is_rounded_to_the_8_of_a_picture(processor):
    alpha = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
    original = np.dstack([textured(48, 64).astype(np.uint16) * 257] * 3 + [alpha])
    (picture,) = processor.post_process_colorization(prediction((10, 20)), original)
    np.testing.assert_array_equal(np.asarray(picture)[..., 3], np.rint(alpha / 257))
    np.testing.assert_array_equal(load_image(original).as_shown("LA").getchannel("A"), np.rint(alpha / 257))


def test_the_number_of_originals_must_match(processor):
    with pytest.raises(ValueError, match=r"^originals has 1 pictures; accepted: 2$"):
        processor.post_process_colorization(prediction((0, 0), (0, 0)), [textured(48, 64)])


def test_colors_are_composed_at_any_depth_and_in_any_space(processor):
    gray = textured(50, 60).astype(np.uint16) * 257 + 3
    prepared = processor.prepare(gray)
    reconstruction = prediction((20.0, -15.0)).reconstruction[0]
    eight = processor.compose_colors(reconstruction, prepared)
    ordinary = processor.post_process_colorization(prediction((20.0, -15.0)), prepared)[0]
    assert np.array_equal(eight, np.asarray(ordinary))
    deep = processor.compose_colors(reconstruction, prepared, depth=16)
    assert (deep.dtype, deep.shape) == (np.uint16, (50, 60, 3))
    assert np.abs(deep / 257 - eight).max() <= 1
    assert np.array_equal(processor.compose_colors(reconstruction, prepared, depth=16, saturation=0)[..., 1], gray)
    linear = dataclasses.replace(SRGB, decode=lambda code: code.clone(), encode=lambda light: light.clone())
    in_light = processor.compose_colors(reconstruction, prepared, depth=16, space=linear).astype(float)
    assert (in_light < deep).mean() > 0.99
    with pytest.raises(SettingError, match="saturation"):
        processor.compose_colors(reconstruction, prepared, saturation=3)


@pytest.mark.parametrize(("depth", "opaque"), [(8, 255), (16, 65535)])
def test_opacity_comes_along_at_the_depth_of_the_colors(processor, depth, opaque):
    picture = Image.fromarray(textured(40, 50)).convert("LA")
    picture.putalpha(Image.fromarray(np.tile(np.array([0, 100, 255, 7, 9], np.uint8), (40, 10))))
    prepared = processor.prepare(picture)
    colors = processor.compose_colors(prediction((20.0, -15.0)).reconstruction[0], prepared, depth=depth)
    assert colors.shape == (40, 50, 4)
    assert colors[0, :5, 3].tolist() == [0, 100 * opaque // 255, opaque, 7 * opaque // 255, 9 * opaque // 255]
