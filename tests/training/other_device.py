"""One step of every phase of recipes on a device beside the CPU, without having one.

    python tests/training/other_device.py RECIPE [RECIPE ...]

Tensors have a shape, a type and a device here, and no values: torch's fake tensors, on a device that is only a name.
An operation between that device and the CPU fails as it would on a GPU. Prints the recipe, phase and batch of every
step, and where its losses are.
"""

import contextlib
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

sys.path.insert(0, str(Path(__file__).parents[2]))

from modeling_chromagan import ChromaGANCritic, ChromaGANGenerator
from modeling_chromagan.color import ab_bins
from modeling_chromagan.evaluation.ab_histogram import BINS_PER_AXIS
from modeling_chromagan.training import color_bins
from modeling_chromagan.training.frozen_features import PictureFeatures
from modeling_chromagan.training.recipe import Recipe, load_recipe
from modeling_chromagan.training.step import TrainingStep
from modeling_chromagan.training.teacher import ClassTeacher, VGG16Classifier
from modeling_chromagan.trunk_efficientnet_lite import EfficientNetLite, EfficientNetLiteClassifier

NAME = "elsewhere"


def move(network: nn.Module, device: torch.device) -> nn.Module:
    """`network.to(device)`, which cannot exchange fake tensors."""
    for module in network.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(weight.detach().to(device), weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=device)
    return network


def take_steps(recipe: Recipe, device: torch.device) -> None:
    config = recipe.build_config()
    generator = move(ChromaGANGenerator(config), device)
    critic = move(ChromaGANCritic(config), device)
    teacher = None
    if recipe.teacher.kind == "vgg16":
        teacher = move(ClassTeacher(VGG16Classifier(num_classes=config.num_labels), {}, (224, 224)), device)
    if recipe.teacher.kind == "lite":
        teacher = move(ClassTeacher(EfficientNetLiteClassifier(num_labels=config.num_labels), {}, 32), device)
    features = move(PictureFeatures(EfficientNetLite("lite0", head=False), config.encoding), device)
    networks = SimpleNamespace(
        generator=generator,
        critic=critic,
        prepared_generator=generator,
        prepared_critic=critic,
        average=None,
        teacher=teacher,
        features=features,
        by_name={"generator": generator, "critic": critic},
    )
    accelerator = SimpleNamespace(
        device=device,
        process_index=0,
        num_processes=1,
        sync_gradients=True,
        accumulate=lambda *networks: contextlib.nullcontext(),
        backward=torch.Tensor.backward,
    )
    color_weights = {"rebalanced": torch.rand(BINS_PER_AXIS**2), "bins": torch.rand(len(ab_bins()))}
    for number, phase in enumerate(recipe.phases):
        phase.steps = 10  # some recipes count epochs, of data that is not here
        step = TrainingStep(recipe, number, networks, accelerator, color_weights, print)
        alike = {}  # batches that differ only in their pictures, which are not here
        for kind, settings in enumerate(phase.batches):
            alike.setdefault((settings.batch_size, settings.shape, repr(settings.degradation)), (kind, settings))
        for kind, settings in alike.values():
            count = settings.batch_size
            batch = {
                "rgb": torch.zeros(count, 3, *settings.shape, dtype=torch.uint8),
                "label": torch.zeros(count, dtype=torch.int64),
                "kind": kind,
                "rows": torch.arange(count),
            }
            losses = step.update(step.first, batch)
            places = sorted({str(loss.device) for loss in losses.values() if isinstance(loss, torch.Tensor)})
            print(f"{recipe.name}, phase {number}, batch {kind}: {', '.join(places)}", flush=True)


def main() -> None:
    _setup_privateuseone_for_python_backend(NAME)
    # What has no values cannot be asked for them, autocast knows no such device, and constants are not faked.
    torch.isfinite = lambda value: True
    TrainingStep.precision = lambda self: contextlib.nullcontext()
    torch.as_tensor = lambda value, device: torch.full((), value, device=device)
    count = len(ab_bins())  # kept from now on: without values they could not be counted
    color_bins.ab_bins = lambda: torch.zeros(count, 2)
    for path in sys.argv[1:]:
        color_bins.neighbors.cache_clear()
        with FakeTensorMode(shape_env=ShapeEnv()):
            take_steps(load_recipe(path, ["backbone_weights=null"]), torch.device(NAME, 0))


if __name__ == "__main__":
    main()
