"""Conversion of Keras files: against a Keras network at 1e-4, and with every mistake of ports put back."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from keras_networks import (
    PUBLISHED,
    REDUCED,
    TOLERANCE,
    build_keras,
    check_that_this_proves_something,
    difference,
    edited,
    pictures,
    run_keras,
    run_ours,
    write_keras_224,
)
from safetensors import SafetensorError
from torch import nn

from modeling_chromagan import (
    ChromaGANConfig,
    ChromaGANCritic,
    ChromaGANGenerator,
    ChromaGANImageProcessor,
    ChromaGANPipeline,
    cli,
    critic_patchgan,
    generator_chromagan,
)
from modeling_chromagan.keras_import import conversion
from modeling_chromagan.keras_import.conversion import convert

h5py = pytest.importorskip("h5py", reason="h5py is not installed: no HDF5 files to convert")

PUBLISHED_CONFIG = {
    "image_size": 224,
    "width_multiplier": 1,
    "global_hidden_sizes": (1024, 512, 256),
    "class_hidden_sizes": (4096, 4096),
    "num_labels": 1000,
}


# ------------------------------------------------------------------------------------------------------------ parity


def test_ab_and_class_logits_are_those_of_keras(reduced, tmp_path):
    _, path, luminance, expected = reduced
    convert(path, tmp_path / "model")
    generator = ChromaGANGenerator.from_pretrained(tmp_path / "model")
    assert difference(run_ours(generator, luminance), expected) < TOLERANCE


def test_the_layer_numbers_may_start_anywhere_and_the_mid_level_may_come_first(keras, reduced, tmp_path):
    for i, (first, mid_first) in enumerate([(1, True), (97, False)]):
        model = build_keras(keras, **REDUCED, first=first, mid_first=mid_first)
        path = write_keras_224(keras, model, tmp_path / f"{first}.h5", weights_only=True)
        generator, _ = convert(path, tmp_path / f"model{i}")
        assert difference(run_ours(generator, reduced[2]), run_keras(model, reduced[2])) < TOLERANCE


def test_a_file_without_class_head_and_one_left_out(keras, reduced, tmp_path):
    headless = build_keras(keras, **REDUCED, class_head=False)
    path = write_keras_224(keras, headless, tmp_path / "headless.h5")
    generator, _ = convert(path, tmp_path / "headless")
    ab, logits = run_ours(generator, reduced[2])
    assert logits is None
    torch.testing.assert_close(ab, run_keras(headless, reduced[2])[0], atol=TOLERANCE, rtol=0)

    generator, differences = convert(reduced[1], tmp_path / "left out", class_head=False, report=True)
    ab, logits = run_ours(generator, reduced[2])
    assert logits is None
    assert differences.class_logits is None
    torch.testing.assert_close(ab, reduced[3][0], atol=TOLERANCE, rtol=0)


def test_the_folder_is_one_that_colorizes(reduced, tmp_path):
    convert(reduced[1], tmp_path / "model")
    pipeline = ChromaGANPipeline.from_pretrained(tmp_path / "model")
    config = pipeline.model.config
    assert (config.encoding, config.norm_order, config.trunk_input) == ("unit8", "relu_norm", "raw")
    assert (config.image_size, config.width_multiplier, config.num_labels) == (64, 1 / 8, 12)
    processor = ChromaGANImageProcessor.from_pretrained(tmp_path / "model")
    assert (processor.encoding, processor.size["shortest_edge"]) == ("unit8", 64)
    norms = [module for module in pipeline.model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    assert pipeline(np.tile(np.arange(96, dtype=np.uint8), (80, 1))).size == (96, 80)


@pytest.mark.slow
def test_parity_at_full_size(keras):
    """Takes 3 GB of memory and 1.4 GB on disk, which are given back."""
    model = build_keras(keras, **PUBLISHED)
    luminance = pictures(1, PUBLISHED["size"])
    expected = run_keras(model, luminance)
    check_that_this_proves_something(*expected)
    with tempfile.TemporaryDirectory() as folder:
        path = write_keras_224(keras, model, Path(folder) / "my_model_colorization.h5")
        del model
        _, differences = convert(path, Path(folder) / "model", report=True)
        generator = ChromaGANGenerator.from_pretrained(Path(folder) / "model")
        assert differences.small
        assert sum(tensor.numel() for tensor in generator.state_dict().values() if tensor.ndim) == 171_171_722
        config = generator.config
        assert {name: getattr(config, name) for name in PUBLISHED_CONFIG} == PUBLISHED_CONFIG
        assert difference(run_ours(generator, luminance), expected) < TOLERANCE


# ------------------------------------------------------------------------------------------------- classic mistakes


def flatten_channels_first(monkeypatch):
    monkeypatch.setattr(conversion, "from_channels_last", lambda kernel, grid: np.ascontiguousarray(kernel.T))


def pad_as_torch_does(monkeypatch):
    monkeypatch.setattr(generator_chromagan, "same_padding", lambda size, kernel, stride: (kernel // 2, kernel // 2))


def epsilon_of_torch(monkeypatch):
    monkeypatch.setattr(generator_chromagan, "BATCH_NORM_EPSILON", 1e-5)


def upsample_bilinearly(monkeypatch):
    right = F.interpolate
    monkeypatch.setattr(F, "interpolate", lambda x, scale_factor: right(x, scale_factor=scale_factor, mode="bilinear"))


def leave_kernels_unflipped(monkeypatch):
    right = conversion.to_torch
    monkeypatch.setattr(
        conversion,
        "to_torch",
        lambda array, *rest: right(array.swapaxes(0, 1) if array.ndim == 4 else array, *rest),
    )


MISTAKES = [
    flatten_channels_first,
    pad_as_torch_does,
    epsilon_of_torch,
    upsample_bilinearly,
    leave_kernels_unflipped,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_every_classic_mistake_breaks_parity_and_the_report_sees_it(mistake, reduced, tmp_path, monkeypatch):
    _, path, luminance, expected = reduced
    mistake(monkeypatch)
    generator, _ = convert(path, tmp_path / "wrong")
    assert difference(run_ours(generator, luminance), expected) > 100 * TOLERANCE
    with pytest.raises(conversion.ConversionError, match="largest differences"):
        convert(path, tmp_path / "model", report=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["wrong"]


def build_keras_critic(keras, scale: float, size: tuple[int, int]):
    """The published critic: five 4x4 convolutions with "same" padding."""
    x = picture = keras.Input((*size, 3))
    for width, stride in ((64, 2), (128, 2), (256, 2), (512, 1)):
        x = keras.layers.Conv2D(int(width * scale), 4, stride, "same")(x)
        x = keras.layers.LeakyReLU(negative_slope=0.3)(x)
    critic = keras.Model(picture, keras.layers.Conv2D(1, 4, 1, "same")(x))
    random = np.random.default_rng(1)
    for layer in critic.layers:
        if layer.weights:
            shape = layer.kernel.shape
            kernel = random.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape).astype(np.float32)
            layer.set_weights([kernel, random.normal(0, 0.1, shape[-1:]).astype(np.float32)])
    return critic


@pytest.mark.parametrize("size", [(64, 64), (41, 54)], ids=["even", "odd"])
def test_the_critic_is_that_of_keras_and_its_padding_matters(keras, size, monkeypatch):
    keras_critic = build_keras_critic(keras, 1 / 8, size)
    critic = ChromaGANCritic(ChromaGANConfig(critic_width_multiplier=1 / 8))
    convolutions = [module for module in critic.modules() if isinstance(module, nn.Conv2d)]
    published = [layer for layer in keras_critic.layers if layer.weights]
    with torch.no_grad():
        for ours, theirs in zip(convolutions, published, strict=True):
            kernel, bias = (weight.value for weight in theirs.weights)
            ours.weight.copy_(kernel.permute(3, 2, 0, 1))
            ours.bias.copy_(bias)
        picture = torch.rand(2, *size, 3, generator=torch.Generator().manual_seed(2))
        expected = keras_critic(picture).permute(0, 3, 1, 2)
        assert expected.std() > 0.1
        assert difference((critic(picture.permute(0, 3, 1, 2)).scores,), (expected,)) < TOLERANCE
        right = critic_patchgan.same_padding
        monkeypatch.setattr(critic_patchgan, "same_padding", lambda *side: right(*side)[::-1])
        assert difference((critic(picture.permute(0, 3, 1, 2)).scores,), (expected,)) > 100 * TOLERANCE


# -------------------------------------------------------------------------------------- the report and the refusals


def replace(layer: str, tensor: str, change):
    """An edit of one tensor of one layer."""

    def edit(root):
        group = root["model_1" if layer.startswith("block") else layer][layer]
        array = change(group[tensor][()])
        del group[tensor]
        group[tensor] = array

    return edit


def remove(layer: str):
    return lambda root: root.__delitem__(layer)


def add(layer: str, **tensors):
    def edit(root):
        for name, array in tensors.items():
            root[f"{layer}/{layer}/{name}:0"] = array

    return edit


REFUSALS = {
    "trunk too wide": (
        replace("block3_conv2", "kernel:0", lambda kernel: kernel[..., :-4]),
        "block3_conv2 has kernel 3x3x32x28, bias 32; accepted: the convolution trunk.2.conv3_2, "
        "kernel 3x3x32x32, bias 32",
    ),
    "5x5 convolution": (
        replace("conv2d_12", "kernel:0", lambda kernel: np.zeros((5, 5, *kernel.shape[2:]), np.float32)),
        "conv2d_12 has kernel 5x5x32x16, bias 16; accepted: the convolution decoder1.conv1, kernel 3x3x32x16, bias 16",
    ),
    "a convolution is missing": (remove("conv2d_10"), "conv2d_11 has kernel 1x1x48x32, bias 32; accepted: the convol"),
    "last convolution is missing": (remove("conv2d_16"), "no layer left for the convolution chroma, kernel 3x3x4x2"),
    "a batch norm too many": (
        add(
            "batch_normalization_99", **dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), np.ones(4))
        ),
        "batch_normalization_99 has gamma 4, beta 4, moving_mean 4, moving_variance 4; accepted: no further layer",
    ),
    "a layer of another kind": (
        add("p_re_lu_1", alpha=np.zeros(4)),
        "p_re_lu_1 has alpha 4; accepted: no further layer",
    ),
    "dense layers that do not follow": (
        replace("dense_7", "kernel:0", lambda kernel: kernel[:-1]),
        "dense_7 takes 23 features; accepted: 24, what the layer before it gives",
    ),
    "a grid that is no square": (
        lambda root: [replace(f"dense_{n}", "kernel:0", lambda kernel: kernel[:-64])(root) for n in (5, 8)],
        "dense_5 takes 192 features; accepted: 64 times a square",
    ),
    "no trunk": (remove("model_1"), "no convolution block1_conv1, the first of the VGG-16 trunk (layers: batch_norm"),
    "no dense layers": (
        lambda root: [remove(f"dense_{n}")(root) for n in range(5, 11)],
        "no dense layer, where the global features have three",
    ),
    "numbers that are none": (
        replace("conv2d_8", "bias:0", lambda bias: bias * np.nan),
        "conv2d_8 has a bias with values that are no finite numbers",
    ),
    "integers": (
        replace("conv2d_8", "kernel:0", lambda kernel: kernel.astype(np.int8)),
        "conv2d_8 has a kernel of type int8; accepted: floats inside the file",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_file_that_does_not_fit_is_refused_with_the_first_layer_that_differs(case, reduced, tmp_path, capsys):
    edit, message = REFUSALS[case]
    path = edited(reduced[1], tmp_path, edit)
    assert run("convert", path, "-o", tmp_path / "model") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"chromagan convert: error: {path}: {message}")
    assert err.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["edited.h5"]


def run(*arguments) -> int:
    """`chromagan` with arguments."""
    return cli.main([str(argument) for argument in arguments])


def test_the_command_says_what_it_wrote_and_reports(reduced, tmp_path, capsys):
    assert run("convert", reduced[1], "-o", tmp_path / "new" / "model", "--report") == 0
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first == f"{tmp_path / 'new' / 'model'}: 359,538 weights, 64 pixels, class head of 12 classes"
    assert second.startswith("largest differences from NumPy on the file's own tensors, random 64x64 picture: ab ")
    assert "class logits" in second
    assert err == ""


def test_a_class_head_that_is_not_there_cannot_be_demanded(keras, tmp_path, capsys):
    path = write_keras_224(keras, build_keras(keras, **REDUCED, class_head=False), tmp_path / "headless.h5")
    assert run("convert", path, "-o", tmp_path / "model", "--class-head") == 1
    assert capsys.readouterr().err == (
        f"chromagan convert: error: {path}: no class head; accepted without --class-head\n"
    )


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_is_one_line_and_leaves_nothing_behind(error, reduced, tmp_path, monkeypatch, capsys):
    def full(self, folder):
        Path(folder).mkdir(exist_ok=True)
        raise error

    monkeypatch.setattr(ChromaGANPipeline, "save_pretrained", full)
    assert run("convert", reduced[1], "-o", tmp_path / "model") == 1
    expected = f"chromagan convert: error: -o {tmp_path / 'model'} cannot be written: No space left on device\n"
    assert capsys.readouterr().err == expected
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing_behind(reduced, tmp_path, monkeypatch):
    def interrupted(self, folder):
        Path(folder).mkdir(exist_ok=True)
        (Path(folder) / "config.json").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(ChromaGANPipeline, "save_pretrained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(reduced[1], tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
