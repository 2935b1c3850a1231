"""A step of training: both networks' losses, gradients and optimizers, and what must never get into the weights."""

import math
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import nn

from ..color import encode_luminance, rgb8_to_lab
from ..errors import UserError
from .adversarial import lab_picture
from .batch_norm import fix_batch_norms
from .data.augmentation import RowRandom, to_network_units
from .frozen_features import at_stride
from .networks import Networks
from .objectives import LossInputs, critic_loss, generator_loss
from .recipe import Optimizer, Recipe

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def schedule(settings: Optimizer, steps: int, step: int) -> float:
    """Factor on the learning rate at a step of a phase: warm-up, times the schedule's fall to zero at its end."""
    warmup = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    progress = min(1.0, step / steps)
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


def computes_in_bfloat16(recipe: Recipe, device: torch.device) -> bool:
    """Whether a recipe asks for bfloat16 and the device has instructions for it.

    Where they are missing a CPU takes many times as long for a convolution, and the same step in float32 is only
    more exact.
    """
    if recipe.precision != "bfloat16":
        return False
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return True


class NonFiniteError(UserError, FloatingPointError):
    """A loss, gradient or weight that is not finite."""


class TrainingStep:
    """A step of one phase, with its optimizers.

    Args:
        recipe: the resolved recipe.
        number: of the phase in it.
        networks: what is trained, and the frozen ones beside.
        accelerator: the devices and processes.
        color_weights: of the terms that count colors, by their names.
        skip: called with a network's name and a line when a step of it is left out.
    """

    def __init__(
        self,
        recipe: Recipe,
        number: int,
        networks: Networks,
        accelerator: Accelerator,
        color_weights: dict[str, torch.Tensor],
        skip: Callable[[str, str], None],
    ):
        self.recipe, self.phase = recipe, recipe.phases[number]
        self.first = sum(phase.steps for phase in recipe.phases[:number])  # step of the run
        self.networks, self.accelerator, self.skip = networks, accelerator, skip
        self.color_weights = {name: weights.to(accelerator.device) for name, weights in color_weights.items()}
        self.features = networks.features if recipe.needs_features(self.phase) else None
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
            batch: of `BatchPlan`.

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
        encoding = self.networks.generator.config.encoding
        kind = self.phase.batches[batch["kind"]]
        # Everything random in a step follows from (seed, step), and for a picture from its place in the global batch:
        # a resumed run repeats nothing, and the number of processes changes nothing.
        seed = (self.recipe.seed * 1_000_003 + self.step) * 1009
        random = RowRandom(seed, kind.batch_size, batch["rows"], self.accelerator.device)
        torch.manual_seed(seed + self.accelerator.process_index)  # dropout
        rgb = batch["rgb"].to(self.accelerator.device)  # bytes; Lab and the looks of scans are computed there
        luminance, real_ab = to_network_units(rgb, encoding, kind.degradation, random)
        photograph = torch.cat([luminance, real_ab], dim=1)
        if self.features is not None:
            # Worn luminance is the generator's alone: features see photographs, with chroma as fine as predictions'.
            shown_ab = at_stride(real_ab, self.networks.generator.network.chroma_stride)
            photograph = torch.cat([encode_luminance(rgb8_to_lab(rgb)[:, :1], encoding), shown_ab], dim=1)
        inputs = self.generate(luminance, real_ab, rgb, photograph, batch["label"])
        losses = self.update_generator(inputs)
        if self.phase.objective.is_adversarial:
            losses |= self.update_critic(inputs, luminance, random)
        return losses

    def generate(
        self,
        luminance: torch.Tensor,
        real_ab: torch.Tensor,
        rgb: torch.Tensor,
        photograph: torch.Tensor,
        labels: torch.Tensor,
    ) -> LossInputs:
        """A forward pass of the generator, with all that its terms look at."""
        objective, networks = self.phase.objective, self.networks
        since_warmup = self.step - self.first - objective.critic_warmup_steps
        networks.prepared_generator.train()
        if self.phase.fixed_batch_norm:
            fix_batch_norms(networks.generator)
        with self.precision():
            output = networks.prepared_generator(luminance)
        return LossInputs(
            objective,
            networks.generator.config.encoding,
            photograph,
            output.reconstruction,
            rgb.float() / 255 if networks.generator.network.output_space == "rgb" else real_ab,
            real_ab,
            logits=output.logits,
            bin_logits=output.bin_logits,
            teacher_probabilities=self.teach(rgb),
            labels=labels.to(rgb.device),
            color_weights=self.color_weights,
            features=self.features,
            critic=networks.critic if objective.is_adversarial and since_warmup >= 0 else None,
            projected=bool(networks.critic.network.feature_widths),
            ramp=min(1.0, (since_warmup + 1) / max(1, objective.adversarial_ramp_steps)),
            average=self.average_over_processes,
        )

    def teach(self, rgb: torch.Tensor) -> torch.Tensor | None:
        """What the class head is taught by the teacher; `None` if there is none, or nothing to learn."""
        if self.networks.teacher is None or "classes" not in self.phase.objective.needs:
            return None
        luminance = self.recipe.teacher.input == "luminance"
        with self.precision():
            return self.networks.teacher(to_network_units(rgb, "unit8")[0] if luminance else rgb.float() / 255)

    def update_generator(self, inputs: LossInputs) -> dict[str, torch.Tensor]:
        """The generator's step and that of its average."""
        with self.precision():
            total, losses = generator_loss(inputs)
        norm = self.descend("generator", total, self.phase.generator_optimizer)
        inputs.free_graphs()
        if self.networks.average is not None and self.accelerator.sync_gradients:
            self.networks.average.update_parameters(self.networks.generator)
        return {"total": total.detach()} | losses | {"generator_gradient_norm": norm}

    def update_critic(self, inputs: LossInputs, luminance: torch.Tensor, random: RowRandom) -> dict[str, torch.Tensor]:
        """The critic's step on the generator's pictures of that luminance."""
        objective, generator = self.phase.objective, self.networks.prepared_generator
        reconstruction = inputs.reconstruction
        if not objective.reuse_forward:
            generator.eval()  # the published fakes for the critic are predictions, with running statistics
            with self.precision(), torch.no_grad():
                reconstruction = generator(luminance).reconstruction
        fake = lab_picture(inputs.photograph[:, :1], reconstruction, inputs.encoding)
        features = (None, None)
        with self.precision():
            if inputs.projected:
                with torch.no_grad():
                    features = inputs.true_features, self.features(fake)
            epsilon = random.uniform(1, 1, 1) if objective.penalty_weight else None
            critic = self.networks.prepared_critic
            total, losses = critic_loss(objective, critic, inputs.photograph, fake, epsilon, features)
        norm = self.descend("critic", total, self.phase.critic_optimizer)
        return {"critic": total.detach()} | losses | {"critic_gradient_norm": norm}

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
        """Stops the run over a value that is not finite, or leaves the step out, as the recipe says."""
        if self.recipe.non_finite == "stop":
            raise NonFiniteError(report)
        self.skip(name, report)

    def precision(self):
        """The context in which networks, teacher and penalty are computed; losses are float32 always."""
        # All of them, the penalty's second derivatives too: bfloat16 changes the gradients less than another batch
        # does, and these are nearly all of the work.
        device = self.accelerator.device
        return torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bfloat16(self.recipe, device))

    def average_over_processes(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of every process' value."""
        return self.accelerator.reduce(value, "mean") if self.accelerator.num_processes > 1 else value


__all__ = ["OPTIMIZERS", "NonFiniteError", "TrainingStep", "computes_in_bfloat16", "schedule"]
