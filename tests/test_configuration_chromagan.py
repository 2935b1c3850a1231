"""The config: published defaults, refused combinations, JSON there and back."""

import inspect
import json
import re

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from modeling_chromagan import GENERATORS, PACKAGED_WEIGHTS, ChromaGANConfig
from modeling_chromagan.architectures import CRITICS, fields_of_all, fields_read

PUBLISHED = {"architecture": "chromagan"}


def read_back(config: ChromaGANConfig) -> ChromaGANConfig:
    return ChromaGANConfig.from_dict(json.loads(config.to_json_string()))


def test_defaults_are_the_packaged_generator():
    config, packaged = ChromaGANConfig(), ChromaGANConfig.from_pretrained(PACKAGED_WEIGHTS)
    for name in inspect.signature(GENERATORS[packaged.architecture]).parameters:
        assert getattr(config, name) == getattr(packaged, name), name
    assert config.architecture == packaged.architecture == "chromagan_lite"


def test_defaults_of_its_fields_are_the_published_network():
    config = ChromaGANConfig(architecture="chromagan")
    assert (config.encoding, config.trunk_input, config.image_size) == ("unit8", "raw", 224)
    assert (config.width_multiplier, config.critic_width_multiplier) == (1, 1)
    assert tuple(config.global_hidden_sizes) == (1024, 512, 256)
    assert tuple(config.class_hidden_sizes) == (4096, 4096)
    assert (config.class_head, config.num_labels) == (True, 1000)
    assert (config.trunk_batch_norm, config.norm_order, config.chroma_resolution) == (False, "relu_norm", "half")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "unet9"}, f"architecture is 'unet9'; accepted: {', '.join(GENERATORS)}"),
        ({"critic": "judge"}, f"critic is 'judge'; accepted: {', '.join(CRITICS)}"),
        ({"critic_norm": "layer"}, "critic_norm is 'layer'; accepted: none, batch"),
        ({"encoding": "rgb"}, "encoding is 'rgb'; accepted: unit8, symmetric"),
        ({"trunk": "b0"}, "trunk is 'b0'; accepted: lite0, lite1, lite2, lite3, lite4"),
        ({"decoder_widths": [8, 8]}, "decoder_widths is [8, 8]; accepted: five whole numbers"),
        ({"decoder_widths": [8, 8, 8, 8, 0]}, "decoder_widths is [8, 8, 8, 8, 0]; accepted: 5 or more whole numbers"),
        (PUBLISHED | {"trunk_input": "vgg"}, "trunk_input is 'vgg'; accepted: raw, imagenet"),
        (PUBLISHED | {"norm_order": "norm"}, "norm_order is 'norm'; accepted: relu_norm, norm_relu"),
        (PUBLISHED | {"chroma_resolution": "quarter"}, "chroma_resolution is 'quarter'; accepted: half, full"),
        (PUBLISHED | {"image_size": 100}, "image_size is 100; accepted: a multiple of 32"),
        (PUBLISHED | {"image_size": 0}, "image_size is 0; accepted: a multiple of 32"),
        (PUBLISHED | {"pooled_size": 0}, "pooled_size is 0; accepted: None or 1 to 7"),
        (PUBLISHED | {"pooled_size": 3, "image_size": 64}, "pooled_size is 3; accepted: None or 1 to 2"),
        (
            {"architecture": "resnet_unet", "upsampling": "bilinear"},
            "upsampling is 'bilinear'; accepted: subpixel, nearest",
        ),
        (
            {"architecture": "pix2pix_unet", "dropout_seed": -1},
            "dropout_seed is -1; accepted: a whole number from 0 to 2**32 - 1",
        ),
        ({"width_multiplier": 0}, "width_multiplier is 0; accepted: above 0"),
        ({"width_multiplier": float("nan")}, "width_multiplier is nan; accepted: above 0"),
        ({"critic_width_multiplier": -1.0}, "critic_width_multiplier is -1.0; accepted: above 0"),
        (PUBLISHED | {"global_hidden_sizes": []}, "global_hidden_sizes is []; accepted: 1 or more"),
        (PUBLISHED | {"global_hidden_sizes": [64, 0]}, "global_hidden_sizes is [64, 0]; accepted: 1 or more"),
        (PUBLISHED | {"class_hidden_sizes": [-1]}, "class_hidden_sizes is [-1]; accepted: 0 or more"),
        ({"num_labels": 0}, "num_labels is 0; accepted: 1 or more"),
    ],
)
def test_invalid_settings_are_refused_in_one_line_that_names_the_field(settings, message):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the message is compared below
        ChromaGANConfig(**settings)
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("field", "value"), [("image_size", "224"), ("image_size", 224.0), ("class_head", "yes"), ("architecture", None)]
)
def test_wrong_types_are_refused_with_the_name_of_the_field(field, value):
    with pytest.raises(StrictDataclassError, match=field):
        ChromaGANConfig(**{field: value})


def test_one_class_is_enough():
    assert ChromaGANConfig(num_labels=1).num_labels == read_back(ChromaGANConfig(num_labels=1)).num_labels == 1


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"upsampling": "nearest"}, "upsampling is 'nearest'"),
        ({"architecture": "labnet", "class_head": False}, "class_head is False"),
        ({"architecture": "pix2pix_unet", "decoder_widths": [8] * 5}, "decoder_widths is (8, 8, 8, 8, 8)"),
        ({"critic": "projected", "critic_norm": "batch"}, "critic_norm is 'batch'"),
    ],
)
def test_what_only_another_network_reads_is_refused_with_the_fields_that_are_read(settings, field):
    with pytest.raises(ValueError, match=rf"^{re.escape(field)}, which ") as refusal:
        ChromaGANConfig(**settings)
    names = settings.get("architecture", "chromagan_lite"), settings.get("critic", "chromagan")
    assert f"architecture {names[0]} and critic {names[1]} do not read" in str(refusal.value)
    assert str(refusal.value).endswith(f"; accepted: {', '.join(fields_read(*names))}")


def test_a_file_may_hold_what_other_networks_read(tmp_path):
    stored = {"architecture": "labnet", "upsampling": "nearest", "image_size": 7, "of_a_later_version": 1}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    for config in (ChromaGANConfig.from_dict(stored), ChromaGANConfig.from_pretrained(tmp_path, class_head=False)):
        assert (config.upsampling, config.image_size, config.class_head) == ("subpixel", 224, True)
        assert config.of_a_later_version == 1
    with pytest.raises(ValueError, match="width_multiplier is 9"):
        ChromaGANConfig.from_pretrained(tmp_path, width_multiplier=9)
    assert ChromaGANConfig.from_pretrained(tmp_path, architecture="resnet_unet").upsampling == "nearest"


def test_every_field_is_read_by_a_network_and_none_is_a_name_that_transformers_reads():
    fields = set(ChromaGANConfig.__annotations__) - {"model_type"}
    listed = {name for name, default in fields_of_all().items() if default is inspect.Parameter.empty}
    assert fields == (listed | {"architecture", "critic"}) - {"num_labels"}
    reserved = {"decoder", "encoder", "generator", "text_config", "text_encoder", "vision_config", "audio_config"}
    assert not fields & (reserved | PreTrainedConfig().to_dict().keys())
    config = ChromaGANConfig()
    for side in ({}, {"decoder": True}, {"encoder": True}):
        assert config.get_text_config(**side) is config


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"trunk": "lite0", "width_multiplier": 0.25, "decoder_widths": [8, 8, 8, 8, 8]},
        {"num_labels": 2},
        {"architecture": "pix2pix_unet", "dropout_at_inference": True, "dropout_seed": 7},
        {"architecture": "preincep", "train_extractor": True},
        {"architecture": "resnet_unet", "upsampling": "nearest", "trunk_input": "imagenet"},
        {"num_labels": 200},
        {"id2label": {0: "cat", 1: "dog", 2: "bird"}, "label2id": {"cat": 0, "dog": 1, "bird": 2}},
        {
            "architecture": "chromagan",
            "global_hidden_sizes": [8, 4],
            "class_hidden_sizes": [],
            "image_size": 64,
            "pooled_size": 1,
        },
        {"architecture": "chromagan", "width_multiplier": 1, "encoding": "symmetric", "chroma_resolution": "full"},
        {"critic_width_multiplier": 0.25},
    ],
)
def test_json_there_and_back(settings):
    config = ChromaGANConfig(**settings)
    for again in (read_back(config), ChromaGANConfig.from_dict(json.loads(config.to_json_string(use_diff=False)))):
        ours = [name for name in ChromaGANConfig.__annotations__ if name != "model_type"]
        for name in [*ours, "num_labels", "id2label", "label2id"]:
            assert getattr(again, name) == getattr(config, name), name


def test_saved_and_loaded(tmp_path):
    config = ChromaGANConfig(
        architecture="chromagan", width_multiplier=0.5, num_labels=200, global_hidden_sizes=(256, 128)
    )
    config.save_pretrained(tmp_path)
    loaded = ChromaGANConfig.from_pretrained(tmp_path)
    assert (loaded.width_multiplier, loaded.num_labels, loaded.global_hidden_sizes) == (0.5, 200, (256, 128))
    assert ChromaGANConfig.from_pretrained(tmp_path, class_head=False).class_head is False


def test_unknown_keys_are_kept_so_that_older_code_reads_newer_files():
    config = ChromaGANConfig(field_of_a_later_version=3)
    assert config.field_of_a_later_version == 3
    assert read_back(config).field_of_a_later_version == 3


@pytest.mark.parametrize("name", GENERATORS)
def test_a_saved_config_holds_what_its_networks_read_and_nothing_else(name):
    config = ChromaGANConfig(architecture=name)
    fields = set(ChromaGANConfig.__annotations__) - {"model_type"}
    networks = GENERATORS[name], CRITICS[config.critic]
    read = {field for network in networks for field in inspect.signature(network).parameters}
    assert set(json.loads(config.to_json_string())) & fields == fields & (read | {"architecture", "critic"})
