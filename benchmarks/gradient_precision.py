"""Which parts of a step need float32: errors of the gradients in bfloat16, and what the parts cost.

    CHROMAGAN_DATA=FOLDER python benchmarks/gradient_precision.py

The critic of recipes/chromagan.yaml with random weights, between pictures of Tiny ImageNet and what the packaged
generator makes of them, 64 pixels a side. An error is the norm of the difference to the float32 gradient, divided by
that gradient's norm; how much the gradients of two batches differ, measured in the same way, is the yardstick.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from modeling_chromagan import ChromaGANCritic, ChromaGANGenerator
from modeling_chromagan.training.adversarial import adversarial_term, critic_loss, gradient_penalty, lab_picture
from modeling_chromagan.training.data.augmentation import RowRandom, to_network_units
from modeling_chromagan.training.data.batches import BatchPlan
from modeling_chromagan.training.data.sources import open_sources
from modeling_chromagan.training.recipe import Batches, Data, Source, load_recipe

PRETRAINED = ROOT / "modeling_chromagan" / "pretrained"
BATCHES, REPEATS = 3, 3


def autocast(low: bool):
    return torch.autocast("cpu", torch.bfloat16) if low else contextlib.nullcontext()


def flat(gradients) -> torch.Tensor:
    return torch.cat([gradient.flatten().float() for gradient in gradients])


def measure(parts: list[Callable], batches: list[tuple]) -> None:
    """Prints a table of gradients: `parts` are functions of a batch and whether it is computed in bfloat16."""
    print("| part | error in bfloat16 | between batches | time in float32 (ms) | in bfloat16 (ms) |")
    print("|---|---:|---:|---:|---:|")
    for part in parts:
        exact = [part(batch, False) for batch in batches]
        errors = [float((part(b, True) - e).norm() / e.norm()) for b, e in zip(batches, exact, strict=True)]
        between = [float((a - b).norm() / b.norm()) for a, b in zip(exact[1:], exact, strict=False)]
        times = []
        for low in (False, True):
            measured = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                part(batches[0], low)
                measured.append(time.perf_counter() - started)
            times.append(1000 * min(measured))
        print(
            f"| {part.__name__} | {sum(errors) / len(errors):.4f} | {sum(between) / len(between):.2f} "
            f"| {times[0]:.0f} | {times[1]:.0f} |",
            flush=True,
        )


def measure_critic(critic: ChromaGANCritic, settings, batches: list[tuple]) -> None:
    """Prints a table of one critic: `batches` of luminance, true and predicted ab, encoded."""
    critic = critic.to(memory_format=torch.channels_last)
    weights = list(critic.parameters())

    def scores(batch, low):
        """Gradient of what tells photographs from colorized pictures, without the penalty."""
        luminance, real_ab, fake_ab = batch
        only = settings.model_copy(update={"penalty_weight": 0.0})
        with autocast(low):
            total, _ = critic_loss(only, critic, luminance, real_ab, fake_ab)
        return flat(torch.autograd.grad(total, weights, allow_unused=True, materialize_grads=True))

    def penalty(batch, low):
        """Gradient of the penalty: second derivatives of the critic."""
        luminance, real_ab, fake_ab = batch
        random = RowRandom(0, len(luminance))
        with autocast(low):
            value = gradient_penalty(critic, luminance, real_ab, fake_ab, random, settings.penalty_reduction)
            total = settings.penalty_weight * value
        return flat(torch.autograd.grad(total, weights, allow_unused=True, materialize_grads=True))

    def adversarial(batch, low):
        """Gradient that the generator's output gets from the critic."""
        luminance, _, fake_ab = batch
        output = fake_ab.detach().requires_grad_()
        with autocast(low):
            scores = critic(lab_picture(luminance, output, "unit8")).scores
        return flat(torch.autograd.grad(adversarial_term(settings, scores.float()), [output]))

    measure([scores, penalty, adversarial], batches)


def main() -> int:
    torch.set_num_threads(os.cpu_count() or 1)
    source = Source(path="zh-plus/tiny-imagenet", local="tiny-imagenet", min_crop=0.8)
    photographs, _, _ = open_sources(Data(sources={"tiny_imagenet": source}), 0)
    kind = Batches(size=64, batch_size=48, weights={"tiny_imagenet": 1})
    plan = BatchPlan(photographs, [kind], BATCHES, 0, 0, 1)
    generator = ChromaGANGenerator.from_pretrained(PRETRAINED, dtype=torch.float32)
    generator = generator.to(memory_format=torch.channels_last)
    recipe = load_recipe(ROOT / "recipes" / "chromagan.yaml")
    batches = []
    for step in range(BATCHES):
        luminance, real_ab = to_network_units(plan[step]["rgb"], "unit8")
        with torch.no_grad():
            batches.append((luminance, real_ab, generator(luminance).reconstruction))
    print(f"{os.cpu_count()} CPU cores, torch {torch.__version__}, batches of {kind.batch_size}\n")
    torch.manual_seed(0)
    measure_critic(ChromaGANCritic(recipe.build_config()), recipe.phases[0].objective, batches)
    return 0


if __name__ == "__main__":
    sys.exit(main())
