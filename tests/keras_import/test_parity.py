"""What the report measures with: the published network in NumPy."""

import pytest
import torch
from keras_networks import REDUCED, TOLERANCE, difference, pictures, run_keras

from modeling_chromagan import ChromaGANGenerator
from modeling_chromagan.keras_import import conversion
from modeling_chromagan.keras_import.file import open_layers
from modeling_chromagan.keras_import.parity import Differences, evaluate_in_numpy

h5py = pytest.importorskip("h5py", reason="h5py is not installed: no HDF5 files to read")


def test_the_numpy_evaluation_is_keras_own_function(reduced):
    model, path, _, _ = reduced
    luminance = pictures(1, REDUCED["size"])
    with open_layers(path) as layers:
        config = conversion.infer_config(layers)
        roles = conversion.find_roles(layers, ChromaGANGenerator(config).network)
        ab, logits = evaluate_in_numpy(roles, luminance[0])
    found = torch.from_numpy(ab).permute(2, 0, 1)[None], torch.from_numpy(logits)[None]
    assert difference(found, run_keras(model, luminance)) < TOLERANCE


@pytest.mark.parametrize(
    ("ab", "class_logits", "logit_peak", "small"),
    [
        (0.9e-4, None, 0.0, True),
        (1.1e-4, None, 0.0, False),
        (0.0, 0.9e-4, 0.5, True),  # of logits below 1 the difference counts as it is
        (0.0, 1.1e-4, 0.5, False),
        (0.0, 1.1e-4, 20.0, True),
        (0.0, 21e-4, 20.0, False),
        (2.0, 0.0, 1.0, False),
    ],
)
def test_differences_are_small_up_to_what_float32_explains(ab, class_logits, logit_peak, small):
    assert Differences(ab, (0.1, 0.9), class_logits, logit_peak, size=64).small is small


def test_the_report_names_what_was_compared():
    start = "largest differences from NumPy on the file's own tensors, random 64x64 picture: ab 1.2e-06 "
    start += "(spans 0.10 to 0.90)"
    assert str(Differences(1.2e-6, (0.1, 0.9), None, 0.0, size=64)) == start
    assert str(Differences(1.2e-6, (0.1, 0.9), 3e-5, 7.25, size=64)) == f"{start}, class logits 3.0e-05 (up to 7.25)"
