"""Batch norm in training: over the global batch of several processes, and fixed.

torch's own SyncBatchNorm refuses CPUs; this one takes any backend, gloo included. The statistics are those that one
process with all pictures would take, and so is the gradient; names of parameters and buffers, and what is saved, are
plain batch norm's.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose batch, while it trains, is that of all processes together."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x`: (B, C, H, W), this process' share; every process has to call it."""
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        wide = x if x.dtype == torch.float64 else x.float()
        dimensions = (0, 2, 3)
        count = torch.tensor([wide.numel() / wide.shape[1]], device=x.device, dtype=wide.dtype)
        dist.all_reduce(count)
        # The mean first: one pass over x and its square would lose digits where the mean is large.
        mean = all_reduce(wide.sum(dimensions)) / count  # (C,)
        centered = wide - mean[:, None, None]  # (B, C, H, W)
        variance = all_reduce(centered.square().sum(dimensions)) / count  # (C,)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), self.momentum)
        scale = (variance + self.eps).rsqrt() * self.weight  # (C,)
        return (centered * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def use_global_batch_norm(network: nn.Module) -> None:
    """Turns every plain batch norm of a network into a global one, in place."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm2d


def fix_batch_norms(network: nn.Module) -> None:
    """Has every batch norm use its running statistics and leave them alone, in place, until `network.train()`.

    Its weight and bias still train. For small batches, and for pictures unlike those the statistics were taken of.
    """
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


__all__ = ["GlobalBatchNorm2d", "fix_batch_norms", "use_global_batch_norm"]
