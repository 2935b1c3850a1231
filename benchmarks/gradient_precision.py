"""Which parts of a step need float32: errors of the gradients in bfloat16, and what the parts cost.

    CHROMAGAN_DATA=FOLDER python benchmarks/gradient_precision.py

The packaged generator and critic and photographs of the tiny recipe; then a critic of the published width with random
weights; then a teacher. An error is the norm of the difference to the float32 gradient, divided by that gradient's
norm; how much the gradients of two batches differ, measured in the same way, is the yardstick.
"""

import contextlib
import copy
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from modeling_chromagan import ChromaGANConfig, ChromaGANCritic, ChromaGANGenerator
from modeling_chromagan.training import objectives
from modeling_chromagan.training.adversarial import adversarial_term, critic_loss, gradient_penalty, lab_picture
from modeling_chromagan.training.data import BatchPlan
from modeling_chromagan.training.pixels import RowRandom, to_network_units
from modeling_chromagan.training.recipe import load_recipe
from modeling_chromagan.training.sources import open_sources
from modeling_chromagan.training.teacher import ClassTeacher

PRETRAINED = ROOT / "modeling_chromagan" / "pretrained"
BATCHES, REPEATS = 6, 3


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


def measure_teacher(classifier: ChromaGANGenerator, batches: list[tuple]) -> None:
    """Prints a table of what a class head learns from a teacher, here a generator's own class head.

    No ImageNet classifier comes with this repository. A class head that was trained is VGG-16's convolutions and dense
    layers too. It teaches itself, with the batch's statistics instead of the running ones: a student that is near its
    teacher, where errors count most.
    """
    teacher = ClassTeacher(ClassHead(classifier), classifier.config.id2label, (64, 64), (0.0,) * 3, (1.0,) * 3)
    student = copy.deepcopy(classifier).train()
    with torch.no_grad():
        answers = [(luminance, student(luminance).logits) for luminance, *_ in batches]

    def class_head(batch, low):
        """Gradient that the student's logits get."""
        luminance, logits = batch
        with autocast(low):
            taught = teacher(luminance)
        logits = logits.detach().requires_grad_()
        return flat(torch.autograd.grad(objectives.class_distribution_loss(logits, taught), [logits]))

    measure([class_head], answers)


class ClassHead(nn.Module):
    """A generator as a classifier of luminance that was repeated to three channels."""

    def __init__(self, generator: ChromaGANGenerator):
        super().__init__()
        self.generator = generator

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.generator(rgb[:, :1]).logits


def main() -> int:
    torch.set_num_threads(os.cpu_count() or 1)
    recipe = load_recipe(str(ROOT / "recipes" / "chromagan_tiny.yaml"))
    phase = recipe.phases[1]
    photographs, _, _ = open_sources(recipe.data, recipe.seed)
    plan = BatchPlan(photographs, [phase.batches[0]], BATCHES, recipe.seed, 0, 1)
    generator = ChromaGANGenerator.from_pretrained(PRETRAINED, dtype=torch.float32)
    generator = generator.to(memory_format=torch.channels_last)
    settings = phase.objective
    batches = []
    for step in range(BATCHES):
        random = RowRandom(step, phase.batches[0].batch_size)
        luminance, real_ab = to_network_units(plan[step]["rgb"], "unit8", phase.batches[0].degradation, random)
        with torch.no_grad():
            batches.append((luminance, real_ab, generator(luminance).reconstruction))

    print(f"{os.cpu_count()} CPU cores, torch {torch.__version__}, batches of {phase.batches[0].batch_size}")
    trained = ChromaGANCritic.from_pretrained(PRETRAINED / "critic", dtype=torch.float32)
    print("\nthe packaged critic, a quarter of the published width:\n")
    measure_critic(trained, settings, batches)
    torch.manual_seed(0)
    print("\nthe published width, random weights:\n")
    measure_critic(ChromaGANCritic(ChromaGANConfig(image_size=64)), settings, batches[:2])
    print("\na teacher, the packaged generator's class head:\n")
    measure_teacher(generator, batches)
    return 0


if __name__ == "__main__":
    sys.exit(main())
