"""The projected critic: frozen mixing, bounded slopes, features that come from outside."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from modeling_chromagan import ChromaGANConfig, ChromaGANCritic
from modeling_chromagan.color import encode_ab, encode_luminance
from modeling_chromagan.critic_projected import FixedMixing, SpectralConv2d

WIDTHS = (24, 40, 112, 320)


def build(**settings) -> ChromaGANCritic:
    torch.manual_seed(0)
    return ChromaGANCritic(ChromaGANConfig(critic="projected", critic_width_multiplier=0.125, **settings))


def inputs(height: int = 64, width: int = 96) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    random = torch.Generator().manual_seed(1)
    features = tuple(
        torch.randn(2, channels, height // stride, width // stride, generator=random)
        for channels, stride in zip(WIDTHS, (4, 8, 16, 32), strict=True)
    )
    return torch.rand(2, 3, height, width, generator=random), features


def settle(critic: ChromaGANCritic) -> ChromaGANCritic:
    """Turns every singular vector as long training does."""
    with torch.no_grad():
        for module in critic.modules():
            if isinstance(module, SpectralConv2d):
                for _ in range(1000):
                    module.direction.copy_(module.turned())
    return critic.eval()


def test_one_map_of_scores_for_each_scale_and_one_for_the_chroma():
    scores = build()(*inputs()).scores
    assert [tuple(each.shape) for each in scores] == [
        (2, 1, 4, 6),
        (2, 1, 4, 6),
        (2, 1, 2, 3),
        (2, 1, 2, 3),
        (2, 1, 4, 6),
    ]


@pytest.mark.parametrize("encoding", ["unit8", "symmetric"])
def test_the_function_written_out(encoding):
    critic = settle(build(encoding=encoding))
    state = {name.removeprefix("network."): tensor for name, tensor in critic.state_dict().items()}

    def head(name, x, places, halvings):
        for number, place in enumerate(places):
            weight = state[f"{name}.{place}.weight"]
            weight = weight / torch.linalg.matrix_norm(weight.flatten(1), ord=2)
            x = F.conv2d(x, weight, state[f"{name}.{place}.bias"], 2 if number < halvings else 1, 1)
            x = F.leaky_relu(x, 0.2) if place != places[-1] else x
        return x

    _, features = inputs()
    random = torch.Generator().manual_seed(2)
    lightness, ab = 100 * torch.rand(2, 1, 64, 96, generator=random), 40 * torch.randn(2, 2, 64, 96, generator=random)
    picture = torch.cat([encode_luminance(lightness, encoding), encode_ab(ab, encoding)], dim=1)
    mixed = [F.conv2d(features[i], state[f"mix.{i}.weight"]) for i in range(4)]
    merged, above = [], 0
    for i in (3, 2, 1, 0):
        x = 0.7 * F.conv2d(mixed[i] + above, state[f"merge.{i}.weight"], padding=1)
        merged.insert(0, x)
        above = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    expected = [
        head("heads.0", merged[0], (0, 2, 4, 6), 2),
        head("heads.1", merged[1], (0, 2, 4), 1),
        head("heads.2", merged[2], (0, 2, 4), 1),
        head("heads.3", merged[3], (0, 2), 0),
        head("lab", F.avg_pool2d(torch.cat([lightness / 50 - 1, ab / 50], dim=1), 2), (0, 2, 4, 6), 3),
    ]
    for ours, by_hand in zip(critic(picture, features).scores, expected, strict=True):
        torch.testing.assert_close(ours, by_hand, atol=1e-4, rtol=1e-3)


def test_mixing_is_no_parameter_and_the_same_for_every_critic():
    critic, other = build(), ChromaGANCritic(ChromaGANConfig(critic="projected", critic_width_multiplier=0.125))
    mixing = [module for module in critic.modules() if isinstance(module, FixedMixing)]
    assert len(mixing) == 8
    assert not any(list(module.parameters()) for module in mixing)
    for ours, theirs in zip(mixing, [m for m in other.modules() if isinstance(m, FixedMixing)], strict=True):
        assert torch.equal(ours.weight, theirs.weight)
    assert len({float(module.weight.flatten()[0]) for module in mixing}) == 8, "no two start with the same numbers"
    sum(scores.mean() for scores in critic(*inputs()).scores).backward()
    for name, parameter in critic.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_weights_are_divided_by_their_largest_singular_value():
    critic = settle(build())
    convolutions = [module for module in critic.modules() if isinstance(module, SpectralConv2d)]
    assert len(convolutions) == 4 + 3 + 3 + 2 + 4
    for module in convolutions:
        norm = module.project(module.direction).norm()
        torch.testing.assert_close(norm, torch.linalg.matrix_norm(module.weight.flatten(1), ord=2), rtol=1e-3, atol=0)
        assert module.direction.norm().item() == pytest.approx(1, rel=1e-5)


def test_only_training_turns_the_singular_vectors_and_two_calls_can_be_differentiated_together():
    critic = build()
    before = {name: tensor.clone() for name, tensor in critic.state_dict().items() if "direction" in name}
    critic.eval()(*inputs())
    assert all(torch.equal(before[name], critic.state_dict()[name]) for name in before)
    first, second = critic.train()(*inputs()).scores, critic(*inputs()).scores
    assert any(not torch.equal(before[name], critic.state_dict()[name]) for name in before)
    (sum(scores.mean() for scores in first) - sum(scores.mean() for scores in second)).backward()


def test_saved_and_loaded_bit_for_bit_and_what_a_file_lacks_is_made_again(tmp_path):
    critic = settle(build())
    critic.save_pretrained(tmp_path)
    loaded, info = ChromaGANCritic.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    for name, tensor in critic.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    for ours, theirs in zip(critic(*inputs()).scores, loaded(*inputs()).scores, strict=True):
        assert torch.equal(ours, theirs)

    tensors = load_file(tmp_path / "model.safetensors")
    lacking = {name: tensor for name, tensor in tensors.items() if "mix" not in name and "direction" not in name}
    save_file(lacking, tmp_path / "model.safetensors", metadata={"format": "pt"})
    restored = ChromaGANCritic.from_pretrained(tmp_path, ignore_mismatched_sizes=True)
    for name, tensor in restored.state_dict().items():
        if "direction" in name:
            assert tensor.norm().item() == pytest.approx(1, rel=1e-5)
        else:
            assert torch.equal(tensor, tensors[name]), name


def test_half_types_give_finite_scores():
    for scores in build().to(torch.bfloat16).train()(*inputs()).scores:
        assert scores.dtype == torch.bfloat16
        assert scores.isfinite().all()


def test_features_are_asked_for_by_the_one_and_refused_by_the_others():
    picture, features = inputs()
    with pytest.raises(ValueError, match=r"^features has no channels; accepted with critic projected: \(24, 40, 112,"):
        build()(picture)
    with pytest.raises(ValueError, match=r"^features has \(24, 40, 112\) channels; accepted"):
        build()(picture, features[:3])
    with pytest.raises(ValueError, match=r"accepted with critic chromagan: None$"):
        ChromaGANCritic(ChromaGANConfig(critic_width_multiplier=0.125))(picture, features)
    with pytest.raises(ValueError, match=r"^critic_norm is 'batch', which .* do not read; accepted: "):
        ChromaGANConfig(critic="projected", critic_norm="batch")
