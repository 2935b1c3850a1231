"""What is read of HDF5 files, however Keras or TensorFlow laid them out, and what is not."""

import shutil

import numpy as np
import pytest
from keras_networks import (
    REDUCED,
    TOLERANCE,
    build_keras,
    difference,
    edited,
    run_ours,
    write_keras_224,
)
from torch import nn

from modeling_chromagan import cli
from modeling_chromagan.keras_import.conversion import convert
from modeling_chromagan.keras_import.file import ConversionError, open_layers, read_tensor

h5py = pytest.importorskip("h5py", reason="h5py is not installed: no HDF5 files to read")


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
def test_what_keras_itself_writes_as_hdf5_is_read(keras, reduced, tmp_path):
    """An independent writer of nearly the same layout: names without `:0`, one more group, sizes of attributes."""
    model, _, luminance, expected = reduced
    model.save(tmp_path / "keras3.h5")
    generator, _ = convert(tmp_path / "keras3.h5", tmp_path / "model")
    assert difference(run_ours(generator, luminance), expected) < TOLERANCE


def test_names_that_tensorflow_made_unique_are_read(reduced, tmp_path):
    """Where a name was taken TensorFlow appended a number to that of the tensor, not to that of the layer."""

    def rename(root):
        for name in list(root["model_1"]):
            root["model_1"].move(name, f"{name}_1")
        root["conv2d_9"].move("conv2d_9", "conv2d_9_2")

    generator, _ = convert(edited(reduced[1], tmp_path, rename), tmp_path / "model")
    assert difference(run_ours(generator, reduced[2]), reduced[3]) < TOLERANCE


def test_a_network_that_is_nested_as_a_whole_is_read(reduced, tmp_path):
    def nest(root):
        for outer in list(root):
            for inner in list(root[outer]):
                root.move(f"{outer}/{inner}", f"model_9/{inner}")

    generator, _ = convert(edited(reduced[1], tmp_path, nest), tmp_path / "model")
    assert difference(run_ours(generator, reduced[2]), reduced[3]) < TOLERANCE


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('"epsilon": 0.001', '"epsilon": 1e-05', "batch_normalization_5 has epsilon 1e-05; accepted: 0.001"),
        ('"nearest"', '"bilinear"', "up_sampling2d_5 has interpolation 'bilinear'; accepted: 'nearest'"),
        ('"padding": "same"', '"padding": "valid"', "conv2d_5 has padding 'valid'; accepted: 'same'"),
    ],
)
def test_settings_that_no_shape_shows_are_checked_in_whole_models(right, wrong, message, reduced, tmp_path):
    path = tmp_path / "edited.h5"
    shutil.copy(reduced[1], path)
    with h5py.File(path, "r+") as file:
        assert right in str(file.attrs["model_config"])
        file.attrs["model_config"] = str(file.attrs["model_config"]).replace(right, wrong)
    with pytest.raises(ConversionError) as refused:
        convert(path, tmp_path / "model")
    assert str(refused.value) == f"{path}: {message}"


def test_files_that_are_no_such_hdf5(reduced, tmp_path, capsys):
    whole = reduced[1].read_bytes()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros(3)
    (tmp_path / "text.h5").write_text("version https://git-lfs.github.com/spec/v1")
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    for name, message in [
        ("text.h5", "not an HDF5 file"),
        ("half.h5", "damaged HDF5 file: "),
        ("other.h5", "no convolution block1_conv1, the first of the VGG-16 trunk (layers: layers ...)"),
    ]:
        assert cli.main(["convert", str(tmp_path / name), "-o", str(tmp_path / "model")]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"chromagan convert: error: {tmp_path / name}: {message}")
        assert err.count("\n") == 1
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("weights_only", [True, False])
def test_layers_and_tensors_have_the_names_that_keras_gave_them(weights_only, keras, tmp_path):
    model = build_keras(keras, **REDUCED, first=9)
    path = write_keras_224(keras, model, tmp_path / "network.h5", weights_only)
    with open_layers(path) as layers:
        assert {"block1_conv1", "conv2d_9", "conv2d_10", "batch_normalization_9", "dense_9"} <= set(layers)
        assert not [name for name in layers if name.startswith(("model", "input", "max_pooling", "flatten"))]
        norm = layers["batch_normalization_9"]
        assert list(norm.shapes) == ["gamma", "beta", "moving_mean", "moving_variance"]
        assert (norm.kind, layers["conv2d_10"].kind, layers["dense_9"].kind) == (nn.BatchNorm2d, nn.Conv2d, nn.Linear)
        assert (norm.numbers, layers["block1_conv1"].numbers) == ((9,), ())
        ours, theirs = read_tensor(norm, "gamma"), model.get_layer("batch_normalization_9").gamma
        np.testing.assert_array_equal(ours, theirs.value.detach().numpy())


def test_nothing_outside_of_the_file_is_read(tmp_path):
    """HDF5 can name other files, of whose bytes it makes numbers: a stranger's file would tell of ours."""
    (tmp_path / "private").write_bytes(np.ones(4, np.float32).tobytes())
    with h5py.File(tmp_path / "elsewhere.h5", "w") as file:
        file["conv2d_1/kernel:0"] = np.ones((1, 1, 1, 1), np.float32)
    with h5py.File(tmp_path / "network.h5", "w") as file:
        file["conv2d_1"] = h5py.ExternalLink("elsewhere.h5", "conv2d_1")
        file["conv2d_2/bias:0"] = np.zeros(4, np.float32)
        file["conv2d_3"] = h5py.SoftLink("/conv2d_2")
        external = [(str(tmp_path / "private"), 0, 16)]
        file.create_dataset("dense_1/bias:0", (4,), np.float32, external=external)
        layout = h5py.VirtualLayout((1, 1, 1, 1), np.float32)
        layout[...] = h5py.VirtualSource(tmp_path / "elsewhere.h5", "conv2d_1/kernel:0", (1, 1, 1, 1))
        file.create_virtual_dataset("conv2d_4/kernel:0", layout)
        assert file["dense_1/bias:0"][0] == file["conv2d_4/kernel:0"][0, 0, 0, 0] == 1
    with open_layers(tmp_path / "network.h5") as layers:
        assert set(layers) == {"conv2d_2", "dense_1", "conv2d_4"}
        assert read_tensor(layers["conv2d_2"], "bias").shape == (4,)
    for name, tensor in (("dense_1", "bias"), ("conv2d_4", "kernel")):
        message = rf"network\.h5: {name} has a {tensor} of type float32; accepted: floats inside the file$"
        with pytest.raises(ConversionError, match=message), open_layers(tmp_path / "network.h5") as layers:
            read_tensor(layers[name], tensor)


def test_a_layer_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "two.h5"
    with h5py.File(path, "w") as file:
        for outer in ("model_1", "model_2"):
            for layer in ("conv2d_1", "conv2d_2"):
                file[f"{outer}/{layer}/kernel:0"] = np.zeros((1, 1, 1, 1), np.float32)
    twice = pytest.raises(ConversionError, match=r"two\.h5: conv2d_1 is there twice; accepted: one network$")
    with twice, open_layers(path):
        pass
