"""Trains a colorizer from a recipe: `accelerate launch --quiet train.py [recipes/NAME.yaml] [key=value ...]`."""

import argparse
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

# Torch reads it when it starts: large tensors come in huge pages. With `keep_freed_memory` a step on a CPU takes 10 to
# 20 % less of its time, most of what the kernel had in it (benchmarks/training.py).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import datasets
import numpy as np
import torch
import transformers
from accelerate import Accelerator
from tqdm import tqdm

from modeling_chromagan.errors import UserError, one_line
from modeling_chromagan.evaluation.contact_sheet import sample_grid
from modeling_chromagan.evaluation.measurement import evaluate_model
from modeling_chromagan.training.color_weights import weigh_colors
from modeling_chromagan.training.data.batches import BatchPlan
from modeling_chromagan.training.data.crops import center_crop
from modeling_chromagan.training.data.parquet_files import StreamError
from modeling_chromagan.training.data.sources import describe_rejected, open_sources
from modeling_chromagan.training.networks import Networks, find_initial_model
from modeling_chromagan.training.recipe import Recipe, dump_recipe, load_recipe
from modeling_chromagan.training.run.checkpoint import (
    Position,
    fill_optimizers,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
    what_stands,
)
from modeling_chromagan.training.run.diagnosis import color_statistics, diagnose
from modeling_chromagan.training.run.folder import RunFolder
from modeling_chromagan.training.run.interruption import Interrupted, Interruption
from modeling_chromagan.training.run.memory import refuse_oversized_batches, report_lack_of_memory
from modeling_chromagan.training.run.processes import (
    largest_over_processes,
    load_batches,
    make_accelerator,
    sum_over_processes,
)
from modeling_chromagan.training.step import TrainingStep, computes_in_bfloat16

DEFAULT_RECIPE = Path(__file__).parent / "recipes" / "chromagan_lite.yaml"
KEPT_CHECKPOINTS = 2


class Trainer:
    """One run: what a recipe builds, and the order of events."""

    def __init__(self, recipe: Recipe, accelerator: Accelerator):
        self.recipe, self.accelerator = recipe, accelerator
        say = self.say if accelerator.is_main_process else None
        longest_side = max(max(kind.shape) for phase in recipe.phases for kind in phase.batches)
        self.photographs, pictures, class_names = open_sources(recipe.data, recipe.seed, say, longest_side)
        for phase in recipe.phases:
            phase.steps = phase.steps_for({name: source.size for name, source in self.photographs.items()})
        size = min(recipe.phases[0].batches[0].shape)
        self.validation = torch.from_numpy(np.stack([center_crop(picture, size) for picture in pictures]))
        self.validation = self.validation.permute(0, 3, 1, 2).contiguous()
        self.color_weights = [weigh_colors(self.photographs, phase, recipe.seed) for phase in recipe.phases]
        self.networks = Networks(recipe, accelerator, class_names)
        if recipe.precision == "bfloat16" and not computes_in_bfloat16(recipe, accelerator.device):
            self.say(f"precision: float32, as this {accelerator.device.type} has no instructions for bfloat16")
        penalized = any(phase.objective.is_adversarial and phase.objective.penalty_weight for phase in recipe.phases)
        if self.networks.critic.config.critic_norm == "batch" and penalized:
            self.say(
                "warning: model.critic_norm is batch: the gradient penalty bounds pictures one by one, which batch "
                "norm mixes; none is the setting it is meant for"
            )
        self.folder = RunFolder(recipe.folder, find_initial_model(recipe.init_from) if recipe.init_from else None)
        self.skipped = Counter()  # steps that were not made, by network
        self.step = 0  # over all phases
        self.resumed = None  # checkpoint, states of the optimizers, position

    def skip(self, network: str, report: str) -> None:
        """Counts a step of a network that is left out, and says so."""
        self.skipped[network] += 1
        self.say(f"warning: {report}; its step is skipped ({self.skipped[network]} so far)")

    def run(self, resume: str, interruption: Interruption) -> None:
        """All phases that are still to do.

        Args:
            resume: `"auto"`, `"none"`, or a run folder, checkpoint folder or Hub id to go on from.
            interruption: asked after every step.

        Raises:
            UserError: with its exit code: for a checkpoint that is damaged, does not fit or stands where a fresh
                start is wanted, a value that is not finite, a lack of memory, and after a signal.
            OSError: if the disk is full or a source is lost.
        """
        recipe = self.recipe
        self.interruption = interruption
        self.restore(resume)
        if asked := self.asked_to_stop():  # while everything was made ready
            raise Interrupted(asked)
        if self.accelerator.is_main_process:
            self.folder.open(dump_recipe(recipe), self.step)
        if recipe.report_to != "none":
            # TensorBoard drops what a resumed run writes again; other trackers may show points twice.
            options = {"tensorboard": {"purge_step": self.step}} if recipe.report_to == "tensorboard" else {}
            self.accelerator.init_trackers(recipe.name, {"recipe": dump_recipe(recipe)}, init_kwargs=options)
        first = 0
        for number, phase in enumerate(recipe.phases):
            if self.step < first + phase.steps:
                self.run_phase(number, first)
            first += phase.steps
        self.save_model("model")
        if self.accelerator.is_main_process:
            self.folder.draw_curves()
        for name, counts in self.rejected().items():
            self.say(f"data: {name}: {describe_rejected(counts)}")
        self.accelerator.end_training()
        self.say(f"done: {recipe.folder / 'model'}")

    def restore(self, resume: str) -> None:
        """Fills networks, counts and step from where the run is to go on, and remembers the optimizers' states."""
        checkpoint, damaged = find_checkpoint(self.recipe.folder, resume)
        for line in damaged:
            self.say(f"warning: {line}; the checkpoint before it is taken")
        if checkpoint is None:
            return
        states, position = load_checkpoint(checkpoint, self.networks.by_name)
        self.resumed = checkpoint, states, position
        self.step = position.step
        for name, counts in position.rejected.items():
            if name in self.photographs and self.accelerator.is_main_process:  # the sum over all processes
                self.photographs[name].rejected.update(counts)
        self.skipped.update(position.skipped)
        self.say(f"resumed from {checkpoint}")

    def run_phase(self, number: int, first: int) -> None:
        """The steps of one phase that are still to do; `first` is the step of the run at which it begins."""
        recipe, phase = self.recipe, self.recipe.phases[number]
        done = self.step - first
        training_step = TrainingStep(
            recipe, number, self.networks, self.accelerator, self.color_weights[number], self.skip
        )
        if self.resumed and self.resumed[2].phase == number:
            fill_optimizers(training_step.optimizers, self.resumed[1], self.resumed[0])
        elif done:
            self.say(
                f"warning: step {self.step} is inside phase {phase.name} of this recipe and was saved in another one: "
                "its optimizers start anew"
            )
        plan = BatchPlan(
            self.photographs,
            phase.batches,
            phase.steps,
            recipe.seed * 1000 + number,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        loader = load_batches(plan, done, recipe.data, self.accelerator.device)
        workers = f", {loader.num_workers} data worker(s)" if loader.num_workers else ""
        self.say(f"phase {phase.name}: steps {done} to {phase.steps}{workers}")
        bar = tqdm(total=phase.steps, initial=done, desc=phase.name, disable=not sys.stderr.isatty())
        started, pictures = time.monotonic(), 0
        batches = iter(loader)
        while self.step < first + phase.steps:
            try:
                batch = next(batches)
            except StreamError:  # its source cannot be reached any more: what was learned is kept
                self.save(number, training_step.optimizers)
                raise
            losses = training_step.update(self.step, batch)
            self.step += 1
            pictures += len(batch["rgb"]) * self.accelerator.num_processes
            bar.update()
            end = self.step == first + phase.steps
            asked = self.asked_to_stop()
            if self.step % recipe.log_every == 0 or end:
                values = {name: float(training_step.average_over_processes(value)) for name, value in losses.items()}
                bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()})
                values["learning_rate"] = training_step.optimizers["generator"].param_groups[0]["lr"]
                values["pictures_per_second"] = pictures / (time.monotonic() - started)  # since the last line
                started, pictures = time.monotonic(), 0
                self.log(phase.name, values)
            if self.step % recipe.sample_every == 0 or end:
                self.sample(phase.name)
            if end:  # before the checkpoint, with which the phase is over
                self.save_model(f"model-{phase.name}")
            if self.step % recipe.checkpoint_every == 0 or end or asked:
                # Also at the end, so that a finished run can be given more steps.
                self.save(number, training_step.optimizers)
            if asked:
                raise Interrupted(asked)
        bar.close()

    def asked_to_stop(self) -> signal.Signals | None:
        """The signal that any of the processes has received: all of them save and stop after the same step."""
        received = largest_over_processes(self.accelerator, self.interruption.received or 0)
        return signal.Signals(received) if received else None

    def rejected(self) -> dict[str, dict[str, int]]:
        """How often pictures were passed over, by source and filter."""
        return {
            name: sum_over_processes(self.accelerator, dict(source.rejected))
            for name, source in self.photographs.items()
        }

    def sample(self, phase: str) -> None:
        """Measures the fixed validation pictures and draws the first of them: input, prediction, truth."""
        if not self.accelerator.is_main_process:
            return
        generator = self.networks.best_generator
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
        rejected = self.rejected()
        retries = {name: source.retries for name, source in self.photographs.items()}
        retries = sum_over_processes(self.accelerator, retries)
        if self.accelerator.is_main_process:
            states = {name: optimizer.state_dict() for name, optimizer in optimizers.items()}
            position = Position(step=self.step, phase=number, rejected=rejected, skipped=dict(self.skipped))
            recipe = dump_recipe(self.recipe)
            save_checkpoint(self.recipe.folder, position, self.networks.by_name, states, KEPT_CHECKPOINTS, recipe)
            self.folder.save_data_report({"rejected": rejected, "retries": retries})
            self.save_model("model")
        self.accelerator.wait_for_everyone()

    def save_model(self, name: str) -> None:
        if self.accelerator.is_main_process:
            self.folder.save_model(name, self.networks.best_generator, self.networks.critic)

    def say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            print(text, flush=True)


def parse(arguments: list[str] | None) -> argparse.Namespace:
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
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()
    recipe = None
    try:
        recipe = load_recipe(options.recipe, options.settings)
        if options.dry_run:
            print(dump_recipe(recipe), end="")
            return 0
        first_of_all = os.environ.get("RANK", "0") == "0"
        with Interruption(lambda: what_stands(recipe.folder), first_of_all) as interruption, report_lack_of_memory():
            accelerator = make_accelerator(recipe)
            refuse_oversized_batches(recipe, accelerator.device, accelerator.num_processes)
            Trainer(recipe, accelerator).run(options.resume, interruption)
    except (UserError, OSError) as error:
        code = getattr(error, "exit_code", 1)
        stands = "" if recipe is None or code == 2 else f"; {what_stands(recipe.folder)}"
        print(f"train.py: {one_line(error)}{stands}", file=sys.stderr)
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
