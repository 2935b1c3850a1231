"""Batch norms of several processes see the pictures of all, and fixed ones none."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from modeling_chromagan.training import batch_norm
from modeling_chromagan.training.batch_norm import GlobalBatchNorm2d, fix_batch_norms, use_global_batch_norm


def test_one_process_keeps_plain_batch_norm():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    names = list(network.state_dict())
    x = torch.rand(4, 1, 8, 8)
    before = network(x)
    use_global_batch_norm(network)
    assert list(network.state_dict()) == names
    assert torch.equal(network(x), before)


@pytest.fixture
def twin(monkeypatch):
    """A second process with the same share: whatever is summed over both is twice what is here, gradients too."""
    state = SimpleNamespace(
        is_initialized=lambda: True, get_world_size=lambda: 2, all_reduce=lambda tensor: tensor.mul_(2)
    )
    monkeypatch.setattr(batch_norm, "dist", state)
    monkeypatch.setattr(batch_norm, "all_reduce", lambda tensor: 2 * tensor)


def trained_norm() -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(3, momentum=0.3).double()
    for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        nn.init.uniform_(values, 0.5, 1.5, generator=torch.Generator().manual_seed(values.numel()))
    return norm


def test_two_processes_normalize_as_one_does_with_the_pictures_of_both(twin):
    plain, share = trained_norm(), torch.rand(2, 3, 4, 5, dtype=torch.float64) + 10
    divided = copy.deepcopy(plain)
    use_global_batch_norm(divided_network := nn.Sequential(divided))
    assert type(divided) is GlobalBatchNorm2d
    ours, whole = share.clone().requires_grad_(), torch.cat([share, share]).requires_grad_()
    answer, expected = divided_network(ours), plain(whole)
    torch.testing.assert_close(answer, expected[:2])
    for name, statistic in divided.named_buffers():
        torch.testing.assert_close(statistic, plain.get_buffer(name))
    for result in (answer, expected):
        result.pow(3).sum().backward()
    torch.testing.assert_close(ours.grad, whole.grad[:2])
    torch.testing.assert_close(2 * divided.weight.grad, plain.weight.grad)


def test_in_evaluation_processes_do_not_wait_for_each_other(twin, monkeypatch):
    monkeypatch.setattr(batch_norm, "all_reduce", lambda tensor: pytest.fail("asked the other process"))
    plain, x = trained_norm().eval(), torch.rand(2, 3, 4, 5, dtype=torch.float64)
    divided = copy.deepcopy(plain)
    use_global_batch_norm(nn.Sequential(divided))
    assert torch.equal(divided(x), plain(x))


def test_half_types_come_back_as_such_with_statistics_in_float32(twin):
    norm = nn.BatchNorm2d(3)
    use_global_batch_norm(nn.Sequential(norm))
    x = torch.full((2, 3, 8, 8), 300.0) + torch.arange(8.0)
    assert norm(x.half()).dtype == torch.float16
    torch.testing.assert_close(norm.running_mean, torch.full((3,), 30.35))  # in half it would be 30.34
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * torch.full((3,), 5.25) * 256 / 255)


def test_fixed_norms_keep_their_statistics_until_the_network_trains_again():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), trained_norm().float(), nn.Dropout(0.5)).train()
    fix_batch_norms(network)
    before = copy.deepcopy(network[1].state_dict())
    network(torch.rand(2, 3, 4, 4)).square().sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network[1].state_dict().items())
    assert network[1].weight.grad.abs().min() > 0
    assert [module.training for module in network] == [True, False, True]
    assert network.train()[1].training
