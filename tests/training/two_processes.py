"""Run by test_distributed.py under torchrun and alone: train.py, with the first gradients of both networks saved.

    two_processes.py TRAININGS.json

The file is a list of trainings, which follow each other in the same processes: where `gradients` go, the `arguments`
of train.py, and whether it is `plain` and in `float64`. `plain` leaves batch norm to each process: the control, which
must not agree. `float64` is the precision of both networks: in float32 the rounding of two orders of summation turns a
few ReLUs the other way.
"""

import json
import sys
from pathlib import Path

import accelerate
import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2]))

import train
from modeling_chromagan.training import networks
from modeling_chromagan.training import step as training_step
from modeling_chromagan.training.run import checkpoint

seen = {}
original = training_step.TrainingStep.descend


def descend(self, name, total, settings):
    optimizer, network = self.optimizers[name], self.networks.by_name[name]
    step = optimizer.step

    def remember(*args, **kwargs):
        if name not in seen:
            seen[name] = {
                key: p.grad.clone(memory_format=torch.contiguous_format)
                for key, p in network.named_parameters()
                if p.grad is not None
            }
        return step(*args, **kwargs)

    optimizer.step = remember
    try:
        return original(self, name, total, settings)
    finally:
        optimizer.step = step


def double_file(path):
    """What a checkpoint of float32 holds, for networks that are not."""
    return {
        name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()
    }


class Generator64(networks.ChromaGANGenerator):
    def __init__(self, config):
        super().__init__(config)
        self.double()


class Critic64(networks.ChromaGANCritic):
    def __init__(self, config):
        super().__init__(config)
        self.double()


def run(gradients, arguments, plain, float64):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_step.TrainingStep, "descend", descend)
        if plain:
            patch.setattr(networks, "use_global_batch_norm", lambda network: None)
        if float64:
            patch.setattr(networks, "ChromaGANGenerator", Generator64)
            patch.setattr(networks, "ChromaGANCritic", Critic64)
            patch.setattr(checkpoint, "load_file", double_file)
            # The optimizer brings its states to its own precision.
            patch.setattr(checkpoint, "check_state", lambda saved, optimizer: None)
        seen.clear()
        code = train.main(arguments)
    if code:
        sys.exit(code)
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        save_file({f"{name}.{key}": value for name, grads in seen.items() for key, value in grads.items()}, gradients)


if __name__ == "__main__":
    accelerate.PartialState.destroy_process_group = lambda self, group=None: None  # the next training needs it
    for training in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        run(**training)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
