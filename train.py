"""Trains a colorizer from a recipe: `accelerate launch --quiet train.py [recipes/NAME.yaml] [key=value ...]`."""

import argparse
import math
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

# Torch reads it once, when it starts: large tensors then come in huge pages. With `keep_freed_memory` a step on a
# CPU, which allocates all its activations anew, spares the kernel most of that (benchmarks/training.py measures it).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import datasets
import numpy as np
import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from modeling_chromagan import ChromaGANCritic, ChromaGANGenerator
from modeling_chromagan.color import decode_ab
from modeling_chromagan.training import objectives
from modeling_chromagan.training.batch_norm import use_global_batch_norm
from modeling_chromagan.training.checkpoint import (
    CheckpointError,
    find_training_state,
    load_checkpoint,
    newest_valid,
    save_checkpoint,
)
from modeling_chromagan.training.chroma_histogram import ab_histogram
from modeling_chromagan.training.data import BatchPlan, RowRandom, center_crop, open_sources, to_network_units
from modeling_chromagan.training.doctor import color_statistics, diagnose
from modeling_chromagan.training.evaluate import evaluate_model, sample_grid
from modeling_chromagan.training.interruption import Interrupted, Interruption, leave_signals_to_the_parent
from modeling_chromagan.training.parquet_files import StreamError
from modeling_chromagan.training.processes import make_accelerator
from modeling_chromagan.training.recipe import Optimizer, Phase, Recipe, RecipeError, dump_recipe, load_recipe
from modeling_chromagan.training.run_folder import RunFolder
from modeling_chromagan.training.teacher import load_pretrained_part, load_teacher

DEFAULT_RECIPE = Path(__file__).parent / "recipes" / "chromagan_tiny.yaml"
HISTOGRAM_BATCHES = 40  # whose colors are counted for a rebalanced term
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def schedule(settings: Optimizer, steps: int, step: int) -> float:
    """Factor on the learning rate at a step of a phase: warm-up, plateau, then the schedule's fall to zero."""
    warmup = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    fall_from = steps * (1 - settings.decay_fraction)
    progress = min(1.0, max(0.0, (step - fall_from) / max(1.0, steps - fall_from)))
    fall = {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
    return warmup * fall[settings.schedule]


class Trainer:
    """One run: what a recipe builds, and the order of events of a step."""

    def __init__(self, recipe: Recipe, accelerator: Accelerator):
        self.recipe, self.accelerator = recipe, accelerator
        self.photographs, pictures, class_names = open_sources(recipe.data, recipe.seed)
        for phase in recipe.phases:
            phase.steps = phase.steps_for({name: source.size for name, source in self.photographs.items()})
        size = recipe.phases[0].batches[0].size
        self.validation = torch.from_numpy(np.stack([center_crop(picture, size) for picture in pictures]))
        self.validation = self.validation.permute(0, 3, 1, 2).contiguous()
        self.color_weights = {
            number: objectives.rebalancing_weights(self.colors_of(phase), phase.objective.rebalanced_uniform_share)
            for number, phase in enumerate(recipe.phases)
            if phase.objective.rebalanced_weight
        }
        self.teacher = load_teacher(recipe.teacher)
        labels = None
        if recipe.teacher.kind == "labels" and class_names:
            labels = dict(enumerate(class_names))
        elif self.teacher is not None:
            labels = self.teacher.id2label
        names = {"id2label": labels, "label2id": {name: i for i, name in labels.items()}} if labels else {}
        config = recipe.build_config(**names)
        self.encoding = config.encoding
        objectives_of_critic = [phase.objective for phase in recipe.phases if phase.objective.adversarial_weight]
        if config.critic_norm == "batch" and any(objective.penalty_weight for objective in objectives_of_critic):
            self.say(
                "warning: model.critic_norm is batch: the gradient penalty bounds pictures one by one, which batch "
                "norm mixes; none is the setting it is meant for"
            )
        set_seed(recipe.seed)
        try:
            self.generator, self.critic = ChromaGANGenerator(config), ChromaGANCritic(config)
        except ImportError as error:  # of an optional package that a generator is built on
            raise RecipeError(f"model.generator: {error}") from error
        if recipe.init_from:
            self.load_initial_weights(Path(recipe.init_from))
        else:
            for setting in ("backbone_weights", "extractor_weights"):
                if getattr(recipe, setting):
                    load_pretrained_part(self.generator, setting, getattr(recipe, setting))
        if accelerator.num_processes > 1:
            for network in (self.generator, self.critic):
                use_global_batch_norm(network)
        self.average = None
        if recipe.ema_decay:
            # Running statistics are averaged like the weights they belong to.
            average = get_ema_multi_avg_fn(recipe.ema_decay)
            self.average = AveragedModel(self.generator, multi_avg_fn=average, use_buffers=True)
            self.average.update_parameters(self.generator)
            self.average.to(accelerator.device)
        for network in (self.generator, self.critic):
            network.to(accelerator.device, memory_format=torch.channels_last)
        if self.teacher is not None:
            self.teacher.to(accelerator.device)
        # What calls go through: wrapped for several processes, compiled if the recipe says so. The bare networks are
        # what is saved, averaged and asked for the adversarial gradient, which no process shares with the others.
        self.prepared_generator, self.prepared_critic = accelerator.prepare(self.generator, self.critic)
        if recipe.compile:
            self.prepared_generator = torch.compile(self.prepared_generator)
        self.folder = RunFolder(recipe.folder)
        self.skipped = Counter()  # steps that were not made, by network
        self.step = 0  # over all phases

    def colors_of(self, phase: Phase) -> torch.Tensor:
        """How often colors occur in the first batches of a phase, the same for every process and resumed run."""
        plan = BatchPlan(self.photographs, phase.batches[:1], HISTOGRAM_BATCHES, self.recipe.seed, 0, 1)
        counts = {name: source.rejected.values.clone() for name, source in self.photographs.items()}
        batches = [to_network_units(plan[i]["rgb"], "unit8")[1] for i in range(HISTOGRAM_BATCHES)]
        for name, source in self.photographs.items():  # these pictures come again: the report is about the training
            source.rejected.values.copy_(counts[name])
        return ab_histogram(decode_ab(torch.cat(batches), "unit8"))

    def load_initial_weights(self, folder: Path) -> None:
        """Starts from the weights of a run folder or a model folder."""
        folder = folder / "model" if (folder / "model").is_dir() else folder
        places = {"generator": folder, "critic": folder / "critic"}
        for name, network in (("generator", self.generator), ("critic", self.critic)):
            if name == "critic" and not places[name].is_dir():
                continue  # a generator that was trained alone
            try:
                saved, report = type(network).from_pretrained(
                    places[name],
                    config=network.config,
                    dtype=torch.float32,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,
                )
            except (OSError, RuntimeError, ValueError) as error:
                reason = " ".join(str(error).split())[:300]
                raise RecipeError(f"init_from: {places[name]}: {reason}; accepted: a run or model folder") from error
            unfit = sorted(report["missing_keys"]) + sorted(key for key, *_ in report["mismatched_keys"])
            if unfit:
                raise RecipeError(
                    f"init_from: {places[name]}: {len(unfit)} weights of the recipe's {name} are missing or of "
                    f"another shape, {unfit[0]} is the first; accepted: a model of the recipe's shape"
                )
            network.load_state_dict(saved.state_dict())

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        networks = {"generator": self.generator, "critic": self.critic}
        return networks | {"average": self.average} if self.average is not None else networks

    def run(self, resume: str, interruption: Interruption) -> None:
        """All phases that are still to do.

        Args:
            resume: `"auto"`, `"none"`, or a run folder, checkpoint folder or Hub id to go on from.
            interruption: asked after every step.

        Raises:
            RecipeError: if there is nothing to resume from, or something where a fresh start is wanted.
            CheckpointError: if checkpoints are there and none of them is undamaged or fits.
            FloatingPointError: if a loss, gradient or weight is not finite.
            Interrupted: after saving.
        """
        recipe = self.recipe
        self.interruption = interruption
        states, phase_of_states = self.restore(resume)
        if self.accelerator.is_main_process:
            self.folder.open(dump_recipe(recipe), self.step)
        if recipe.report_to != "none":
            # TensorBoard drops what a resumed run writes again; other trackers may show points twice.
            options = {"tensorboard": {"purge_step": self.step}} if recipe.report_to == "tensorboard" else {}
            self.accelerator.init_trackers(recipe.name, {"recipe": dump_recipe(recipe)}, init_kwargs=options)
        first = 0
        for number, phase in enumerate(recipe.phases):
            if self.step < first + phase.steps:
                self.run_phase(number, first, states if number == phase_of_states else {})
            first += phase.steps
        self.save_model("model")
        if self.accelerator.is_main_process:
            self.folder.draw_curves()
        self.accelerator.end_training()
        self.say(f"done: {recipe.folder / 'model'}")

    def restore(self, resume: str) -> tuple[dict, int | None]:
        """Fills networks and step from where the run is to go on; the optimizers' states and their phase."""
        folder = self.recipe.folder
        checkpoint, damaged = newest_valid(folder)
        if checkpoint is not None and resume == "none":
            raise RecipeError(f"--resume is none and {folder} holds checkpoints; accepted: an empty run folder")
        for line in damaged:
            self.say(f"warning: {line}; the checkpoint before it is taken")
        if checkpoint is None and resume not in ("auto", "none"):
            checkpoint = find_training_state(resume)
        if checkpoint is None:
            return {}, None
        states, position = load_checkpoint(checkpoint, self.networks)
        self.step = position["step"]
        for name, counts in position["rejected"].items():
            if name in self.photographs and self.accelerator.is_main_process:  # the sum over all processes
                self.photographs[name].rejected.update(counts)
        self.skipped.update(position["skipped"])
        self.say(f"resumed from {checkpoint}")
        return states, position["phase"]

    def run_phase(self, number: int, first: int, states: dict) -> None:
        """The steps of one phase that are still to do; `states` are its optimizers' if it was interrupted."""
        recipe, phase = self.recipe, self.recipe.phases[number]
        optimizers = {}
        done = self.step - first
        for name, settings in (("generator", phase.generator_optimizer), ("critic", phase.critic_optimizer)):
            network = {"generator": self.generator, "critic": self.critic}[name]
            options = {"lr": settings.learning_rate, "betas": settings.betas, "weight_decay": settings.weight_decay}
            trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
            optimizers[name] = OPTIMIZERS[settings.name](trained, fused=True, **options)  # one pass over the weights
            if name in states:
                optimizers[name].load_state_dict(states[name])
        plan = BatchPlan(
            self.photographs,
            phase.batches,
            phase.steps,
            recipe.seed * 1000 + number,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        loader = DataLoader(
            plan,
            batch_size=None,
            sampler=range(done, phase.steps),
            num_workers=recipe.data.workers,
            worker_init_fn=leave_signals_to_the_parent,
        )
        self.say(f"phase {phase.name}: steps {done} to {phase.steps}")
        bar = tqdm(total=phase.steps, initial=done, desc=phase.name, disable=not sys.stderr.isatty())
        started, pictures = time.monotonic(), 0
        batches = iter(loader)
        while self.step < first + phase.steps:
            try:
                batch = next(batches)
            except StreamError:  # its source cannot be reached any more: what was learned is kept
                self.save(number, optimizers)
                raise
            losses = self.train_step(number, optimizers, batch)
            self.step += 1
            pictures += len(batch["rgb"]) * self.accelerator.num_processes
            bar.update()
            end = self.step == first + phase.steps
            asked = self.asked_to_stop()
            if self.step % recipe.log_every == 0 or end:
                values = {name: float(self.average_over_processes(value)) for name, value in losses.items()}
                bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()})
                values["learning_rate"] = optimizers["generator"].param_groups[0]["lr"]
                values["pictures_per_second"] = pictures / (time.monotonic() - started)  # since the last line
                started, pictures = time.monotonic(), 0
                self.log(phase.name, values)
            if self.step % recipe.sample_every == 0 or end:
                self.sample(phase.name)
            if end:  # before the checkpoint, with which the phase is over
                self.save_model(f"model-{phase.name}")
            if self.step % recipe.checkpoint_every == 0 or end or asked:
                # Also at the end, so that a finished run can be given more steps.
                self.save(number, optimizers)
            if asked:
                raise Interrupted(asked)
        bar.close()

    def asked_to_stop(self) -> signal.Signals | None:
        """The signal that any of the processes has received: all of them save and stop after the same step."""
        received = self.interruption.received or 0
        if self.accelerator.num_processes > 1:
            received = int(self.accelerator.gather(torch.tensor([received], device=self.accelerator.device)).max())
        return signal.Signals(received) if received else None

    def train_step(self, number: int, optimizers, batch) -> dict[str, torch.Tensor]:
        """One update of both networks, from one or several parts of the batch; the mean of their losses."""
        parts = self.recipe.accumulation
        losses = []
        for part in range(parts):
            chunk = {name: value[part::parts] if name != "kind" else value for name, value in batch.items()}
            with self.accelerator.accumulate(self.prepared_generator, self.prepared_critic):
                losses.append(self.train_part(number, optimizers, chunk))
        return {name: sum(loss[name] for loss in losses) / parts for name in losses[-1]}

    def train_part(self, number: int, optimizers, batch) -> dict[str, torch.Tensor]:
        """Generator step, then critic step on detached fakes: the published order."""
        recipe, phase = self.recipe, self.recipe.phases[number]
        objective = phase.objective
        device = self.accelerator.device
        kind = phase.batches[batch["kind"]]
        # Everything random in a step follows from (seed, step), and for a picture from its place in the global batch:
        # a resumed run repeats nothing, and the number of processes changes nothing.
        seed = (recipe.seed * 1_000_003 + self.step) * 1009
        random = RowRandom(seed, kind.batch_size, batch["rows"])
        torch.manual_seed(seed + self.accelerator.process_index)  # dropout
        luminance, real_ab = to_network_units(batch["rgb"], self.encoding, kind.degradation, random)
        luminance, real_ab = luminance.to(device), real_ab.to(device)
        target = real_ab
        if self.generator.network.output_space == "rgb":
            target = batch["rgb"].to(device).float() / 255
        adversarial = objective.adversarial_weight > 0
        taught_by_critic = adversarial and self.step_in_phase(number) >= objective.critic_warmup_steps

        # Generator
        generator, critic = self.prepared_generator, self.prepared_critic
        generator.train()
        with self.precision():
            output = generator(luminance)
        class_loss = self.class_loss(objective, output.logits, batch)
        with self.precision():
            total, losses = objectives.generator_loss(
                objective,
                luminance,
                output.reconstruction,
                target,
                class_loss,
                self.critic if taught_by_critic else None,
                self.encoding,
                objectives.chroma_weights(
                    decode_ab(real_ab, self.encoding),
                    objective.chroma_emphasis,
                    objective.chroma_emphasis_power,
                    self.average_over_processes,
                ),
                self.average_over_processes,
                (decode_ab(real_ab, self.encoding), self.color_weights[number])
                if objective.rebalanced_weight
                else None,
            )
        norm = self.descend("generator", total, optimizers["generator"], phase.generator_optimizer, number)
        if self.average is not None and self.accelerator.sync_gradients:
            self.average.update_parameters(self.generator)
        losses = {"total": total.detach()} | losses | {"generator_gradient_norm": norm}

        # Critic
        if adversarial:
            fake = output.reconstruction.detach()
            if not objective.reuse_forward:
                generator.eval()  # the published fakes for the critic are predictions, with running statistics
                with self.precision(), torch.no_grad():
                    fake = generator(luminance).reconstruction
            fake_ab = objectives.lab_picture(luminance, fake, self.encoding)[:, 1:]
            with self.precision():
                total, critic_losses = objectives.critic_loss(objective, critic, luminance, real_ab, fake_ab, random)
            norm = self.descend("critic", total, optimizers["critic"], phase.critic_optimizer, number)
            losses |= {"critic": total.detach()} | critic_losses | {"critic_gradient_norm": norm}
        return losses

    def class_loss(self, objective, logits, batch) -> torch.Tensor | None:
        if logits is None or not objective.class_weight:
            return None
        if self.teacher is None:
            labels = batch["label"].to(logits.device)
            smoothing = self.recipe.teacher.label_smoothing
            return objectives.label_loss(logits, labels, smoothing, self.average_over_processes)
        rgb = batch["rgb"].to(logits.device).float() / 255
        if self.recipe.teacher.input == "luminance":
            rgb = to_network_units(batch["rgb"], "unit8")[0].to(logits.device)
        return objectives.class_distribution_loss(logits, self.teacher(rgb))

    def descend(self, name: str, total: torch.Tensor, optimizer, settings: Optimizer, number: int) -> torch.Tensor:
        """One step of a network down its total; the norm of its gradient. Nothing not finite gets into the weights."""
        network = {"generator": self.generator, "critic": self.critic}[name]
        factor = schedule(settings, self.recipe.phases[number].steps, self.step_in_phase(number))
        for group in optimizer.param_groups:  # the recipe's rate, also where it was changed since a checkpoint
            group["lr"] = settings.learning_rate * factor
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
            raise FloatingPointError(
                f"step {self.step + 1}: the {name}'s weight norm is {float(weights)}; the last checkpoint stands"
            )
        return norm

    def refuse(self, name: str, report: str) -> None:
        """Stops the run over a value that is not finite, or counts a step that is left out, as the recipe says."""
        if self.recipe.non_finite == "stop":
            raise FloatingPointError(f"{report}; the last checkpoint stands")
        self.skipped[name] += 1
        self.say(f"warning: {report}; its step is skipped ({self.skipped[name]} so far)")

    def step_in_phase(self, number: int) -> int:
        return self.step - sum(phase.steps for phase in self.recipe.phases[:number])

    def precision(self):
        # Both networks, the penalty's second derivatives too: bfloat16 changes their gradients less than another batch
        # does, and the critic is most of the work (benchmarks/critic_precision.py). Losses are float32 always.
        enabled = self.recipe.precision == "bfloat16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=enabled)

    def average_over_processes(self, value: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(value, "mean") if self.accelerator.num_processes > 1 else value

    def sum_over_processes(self, counts: dict[str, int]) -> dict[str, int]:
        if self.accelerator.num_processes == 1:
            return counts
        values = torch.tensor(list(counts.values()), device=self.accelerator.device)
        return dict(zip(counts, self.accelerator.reduce(values, "sum").tolist(), strict=True))

    @property
    def best_generator(self) -> ChromaGANGenerator:
        return self.average.module if self.average is not None else self.generator

    def sample(self, phase: str) -> None:
        """Measures the fixed validation pictures and draws the first of them: input, prediction, truth."""
        if not self.accelerator.is_main_process:
            return
        generator = self.best_generator
        result = evaluate_model(generator, [{"rgb": rgb} for rgb in self.validation.split(64)])
        values = {f"validation_{name}": value for name, value in result["model"].items()}
        values |= {f"validation_gain_{name}": value for name, value in result["gain"].items()}
        self.log(phase, values | color_statistics(generator, self.validation[:128]))
        for finding in diagnose(self.folder.log.read()):
            self.say(f"warning: step {self.step}: {finding}")
        self.folder.save_grid(self.step, sample_grid(generator, self.validation[:32]))

    def log(self, phase: str, values: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            self.folder.log.write(self.step, phase, values)
            self.accelerator.log(values, step=self.step)

    def save(self, number: int, optimizers: dict[str, torch.optim.Optimizer]) -> None:
        rejected = {name: self.sum_over_processes(dict(source.rejected)) for name, source in self.photographs.items()}
        retries = self.sum_over_processes({name: source.retries for name, source in self.photographs.items()})
        if self.accelerator.is_main_process:
            states = {name: optimizer.state_dict() for name, optimizer in optimizers.items()}
            keep = self.recipe.keep_checkpoints
            position = {"phase": number, "rejected": rejected, "skipped": dict(self.skipped)}
            recipe = dump_recipe(self.recipe)
            save_checkpoint(self.recipe.folder, self.step, self.networks, states, keep, position, recipe)
            self.folder.save_data_report({"rejected": rejected, "retries": retries})
            self.save_model("model")
        self.accelerator.wait_for_everyone()

    def save_model(self, name: str) -> None:
        if self.accelerator.is_main_process:
            self.folder.save_model(name, self.best_generator, self.critic)

    def say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            print(text, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default=str(DEFAULT_RECIPE), help="a YAML recipe")
    parser.add_argument("settings", nargs="*", help="key=value, dotted paths into the recipe")
    parser.add_argument(
        "--resume",
        default="auto",
        metavar="auto|none|FOLDER|HUB_ID",
        help="auto: from the newest undamaged checkpoint of the run folder, if there is one (default); none: start "
        "afresh, into an empty run folder only; or another run's training state to go on from",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")
    options = parser.parse_args(arguments)
    if "=" in options.recipe:
        options.settings.insert(0, options.recipe)
        options.recipe = str(DEFAULT_RECIPE)
    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()
    try:
        recipe = load_recipe(options.recipe, options.settings)
        if options.dry_run:
            print(dump_recipe(recipe), end="")
            return 0
        accelerator = make_accelerator(recipe)
        with Interruption() as interruption:
            Trainer(recipe, accelerator).run(options.resume, interruption)
    except (RecipeError, CheckpointError, FloatingPointError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1 if isinstance(error, FloatingPointError) else 2
    except OSError as error:
        print(f"train.py: {' '.join(str(error).split())}; the last checkpoint stands", file=sys.stderr)
        return 1
    except Interrupted as stop:
        print(f"train.py: {stop}; saved, go on with the same command", file=sys.stderr)
        return stop.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
