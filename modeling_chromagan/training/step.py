"""A step of training: both networks' losses, gradients and optimizers, and what must never get into the weights."""

import math
from collections import Counter
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import nn

from ..color import decode_ab, encode_luminance, rgb8_to_lab
from ..errors import UserError
from . import objectives
from .adversarial import critic_loss, lab_picture
from .batch_norm import fix_batch_norms
from .color_bins import bins_loss
from .data.augmentation import RowRandom, to_network_units
from .frozen_features import PictureFeatures, at_half_size
from .networks import Networks
from .recipe import Optimizer, Recipe
from .teacher import ClassTeacher

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def schedule(settings: Optimizer, steps: int, step: int) -> float:
    """Factor on the learning rate at a step of a phase: warm-up, plateau, then the schedule's fall to zero."""
    warmup = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    fall_from = steps * (1 - settings.decay_fraction)
    progress = min(1.0, max(0.0, (step - fall_from) / max(1.0, steps - fall_from)))
    fall = {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
    return warmup * fall[settings.schedule]


def parameter_groups(network: nn.Module, settings: Optimizer) -> list[dict]:
    """What an optimizer trains; where the backbone has a rate of its own, it is the second group."""
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if settings.backbone_learning_rate_share == 1:
        return [{"params": list(trained.values())}]
    places = tuple(f"network.{part}." for part in network.network.backbone_parts)
    groups = (
        [p for name, p in trained.items() if not name.startswith(places)],
        [p for name, p in trained.items() if name.startswith(places)],
    )
    return [{"params": group} for group in groups]


class NonFiniteError(UserError, FloatingPointError):
    """A loss, gradient or weight that is not finite."""


class Updates:
    """The updates of one phase, with its optimizers.

    Args:
        recipe: the resolved recipe.
        number: of the phase in it.
        networks: what is trained.
        teacher: whose predictions the class head learns; `None` for labels or nothing.
        color_weights: of `rebalancing_weights`, for a phase with a rebalanced term.
        rarity: of `bin_rarity`, for a phase with bins.
        features: frozen, for a phase that looks at them.
        accelerator: the devices and processes.
        skipped: counts the steps that are left out, by network.
        say: prints a line, once for all processes.
    """

    def __init__(
        self,
        recipe: Recipe,
        number: int,
        networks: Networks,
        teacher: ClassTeacher | None,
        color_weights: torch.Tensor | None,
        rarity: torch.Tensor | None,
        features: PictureFeatures | None,
        accelerator: Accelerator,
        skipped: Counter,
        say: Callable[[str], None],
    ):
        self.recipe, self.phase = recipe, recipe.phases[number]
        self.first = sum(phase.steps for phase in recipe.phases[:number])  # step of the run
        self.networks, self.teacher, self.color_weights = networks, teacher, color_weights
        self.rarity = rarity.to(accelerator.device) if rarity is not None else None
        self.features = features if recipe.needs_features(self.phase) else None
        self.accelerator, self.skipped, self.say = accelerator, skipped, say
        self.step = self.first
        self.optimizers = {}
        for name, settings in (
            ("generator", self.phase.generator_optimizer),
            ("critic", self.phase.critic_optimizer),
        ):
            options = {"lr": settings.learning_rate, "betas": settings.betas, "weight_decay": settings.weight_decay}
            groups = parameter_groups(networks.by_name[name], settings)
            # Fused: one pass over the weights.
            self.optimizers[name] = OPTIMIZERS[settings.name](groups, fused=True, **options)

    def update(self, step: int, batch: dict) -> dict[str, torch.Tensor]:
        """One update of both networks, from one or several parts of a batch of `BatchPlan`; the mean of their losses.

        Args:
            step: of the run, updates made before this one.

        Raises:
            NonFiniteError: if a loss, gradient or weight is not finite and the recipe does not skip such steps.
        """
        self.step = step
        parts = self.recipe.accumulation
        losses = []
        for part in range(parts):
            chunk = {name: value[part::parts] if name != "kind" else value for name, value in batch.items()}
            with self.accelerator.accumulate(self.networks.prepared_generator, self.networks.prepared_critic):
                losses.append(self.update_from(chunk))
        return {name: sum(loss[name] for loss in losses) / parts for name in losses[-1]}

    def update_from(self, batch: dict) -> dict[str, torch.Tensor]:
        """Generator step, then critic step on detached fakes: the published order."""
        objective, encoding = self.phase.objective, self.networks.generator.config.encoding
        device = self.accelerator.device
        kind = self.phase.batches[batch["kind"]]
        # Everything random in a step follows from (seed, step), and for a picture from its place in the global batch:
        # a resumed run repeats nothing, and the number of processes changes nothing.
        seed = (self.recipe.seed * 1_000_003 + self.step) * 1009
        random = RowRandom(seed, kind.batch_size, batch["rows"], device)
        torch.manual_seed(seed + self.accelerator.process_index)  # dropout
        rgb = batch["rgb"].to(device)  # as bytes; Lab and the looks of scans are computed where the networks are
        luminance, real_ab = to_network_units(rgb, encoding, kind.degradation, random)
        target = real_ab
        if self.networks.generator.network.output_space == "rgb":
            target = rgb.float() / 255
        adversarial = objective.adversarial_weight > 0
        projected = bool(self.networks.critic.network.feature_widths)
        since_warmup = self.step - self.first - objective.critic_warmup_steps
        taught_by_critic = adversarial and since_warmup >= 0
        shown_luminance, shown_ab, true_features = luminance, real_ab, None
        if self.features is not None:
            # Worn luminance is the generator's alone: features see photographs, with chroma as fine as predictions'.
            shown_luminance, shown_ab = encode_luminance(rgb8_to_lab(rgb)[:, :1], encoding), at_half_size(real_ab)
            with self.precision(), torch.no_grad():
                true_features = self.features(torch.cat([shown_luminance, shown_ab], dim=1))

        # Generator
        generator, critic = self.networks.prepared_generator, self.networks.prepared_critic
        generator.train()
        if self.phase.fixed_batch_norm:
            fix_batch_norms(self.networks.generator)
        with self.precision():
            output = generator(luminance)
        class_loss = self.class_loss(output.logits, batch["label"], rgb)
        true_ab = decode_ab(real_ab, encoding)
        with self.precision():
            total, losses = objectives.generator_loss(
                objective,
                shown_luminance,
                output.reconstruction,
                target,
                class_loss,
                self.networks.critic if taught_by_critic else None,
                encoding,
                objectives.chroma_weights(
                    true_ab, objective.chroma_emphasis, objective.chroma_emphasis_power, self.average_over_processes
                ),
                self.average_over_processes,
                (true_ab, self.color_weights) if objective.rebalanced_weight else None,
                bins_loss(output.bin_logits, true_ab, self.rarity) if objective.bins_weight else None,
                self.features,
                true_features,
                projected,
                min(1.0, (since_warmup + 1) / max(1, objective.adversarial_ramp_steps)),
            )
        norm = self.descend("generator", total, self.phase.generator_optimizer)
        if self.networks.average is not None and self.accelerator.sync_gradients:
            self.networks.average.update_parameters(self.networks.generator)
        losses = {"total": total.detach()} | losses | {"generator_gradient_norm": norm}

        # Critic
        if adversarial:
            fake = output.reconstruction.detach()
            if not objective.reuse_forward:
                generator.eval()  # the published fakes for the critic are predictions, with running statistics
                with self.precision(), torch.no_grad():
                    fake = generator(luminance).reconstruction
            fake_ab = lab_picture(shown_luminance, fake, encoding)[:, 1:]
            features = None
            with self.precision():
                if projected:
                    with torch.no_grad():
                        features = true_features, self.features(torch.cat([shown_luminance, fake_ab], dim=1))
                total, critic_losses = critic_loss(
                    objective, critic, shown_luminance, shown_ab, fake_ab, random, features
                )
            norm = self.descend("critic", total, self.phase.critic_optimizer)
            losses |= {"critic": total.detach()} | critic_losses | {"critic_gradient_norm": norm}
        return losses

    def class_loss(self, logits: torch.Tensor | None, labels: torch.Tensor, rgb: torch.Tensor) -> torch.Tensor | None:
        """What the class head has to learn, by the teacher or from labels; `None` if nothing."""
        if logits is None or not self.phase.objective.class_weight:
            return None
        if self.teacher is None:
            smoothing = self.recipe.teacher.label_smoothing
            return objectives.label_loss(logits, labels.to(logits.device), smoothing, self.average_over_processes)
        luminance = self.recipe.teacher.input == "luminance"
        with self.precision():
            taught = self.teacher(to_network_units(rgb, "unit8")[0] if luminance else rgb.float() / 255)
        return objectives.class_distribution_loss(logits, taught)

    def descend(self, name: str, total: torch.Tensor, settings: Optimizer) -> torch.Tensor:
        """One step of a network down its total; the norm of its gradient. Nothing not finite gets into the weights."""
        network, optimizer = self.networks.by_name[name], self.optimizers[name]
        factor = schedule(settings, self.phase.steps, self.step - self.first)
        for group in optimizer.param_groups:  # the recipe's rate, also where it was changed since a checkpoint
            group["lr"] = settings.learning_rate * factor
        for backbone in optimizer.param_groups[1:]:
            backbone["lr"] *= settings.backbone_learning_rate_share
        self.accelerator.backward(total)
        norm = torch.nn.utils.get_total_norm(p.grad for p in network.parameters() if p.grad is not None)
        for what, value in (("loss", total.detach()), ("gradient norm", norm)):
            if not torch.isfinite(value):
                self.refuse(name, f"step {self.step + 1}: the {name}'s {what} is {float(value)}")
                optimizer.zero_grad()
                return norm
        if not self.accelerator.sync_gradients:  # more parts of the batch are to come
            return norm
        if settings.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(network.parameters(), settings.clip_norm, norm)
        optimizer.step()
        optimizer.zero_grad()
        weights = torch.nn.utils.get_total_norm(network.parameters())
        if not torch.isfinite(weights):
            raise NonFiniteError(f"step {self.step + 1}: the {name}'s weight norm is {float(weights)}")
        return norm

    def refuse(self, name: str, report: str) -> None:
        """Stops the run over a value that is not finite, or counts a step that is left out, as the recipe says."""
        if self.recipe.non_finite == "stop":
            raise NonFiniteError(report)
        self.skipped[name] += 1
        self.say(f"warning: {report}; its step is skipped ({self.skipped[name]} so far)")

    def precision(self):
        """The context in which networks, teacher and penalty are computed; losses are float32 always."""
        # All of them, the penalty's second derivatives too: bfloat16 changes the gradients less than another batch
        # does, and these are nearly all of the work.
        enabled = self.recipe.precision == "bfloat16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=enabled)

    def average_over_processes(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of every process' value."""
        return self.accelerator.reduce(value, "mean") if self.accelerator.num_processes > 1 else value


__all__ = ["OPTIMIZERS", "NonFiniteError", "Updates", "schedule"]
