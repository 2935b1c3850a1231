"""The real training script on tiny sizes: both phases, resume, what it saves, and how it refuses."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from debug_run import RECIPE, arguments, losses_of, run
from PIL import Image
from safetensors.torch import load_file

import train
from modeling_chromagan import ChromaGANCritic, ChromaGANGenerator, ChromaGANImageProcessor
from modeling_chromagan.training import networks
from modeling_chromagan.training import step as training_step
from modeling_chromagan.training.data.parquet_files import StreamError
from modeling_chromagan.training.run.checkpoint import list_checkpoints

GOLDEN = [  # step, loss, value
    (1, "color", 0.060761),
    (2, "color", 0.037389),
    (3, "color", 0.043019),
    (3, "critic", 0.730276),
    (3, "penalty", 0.073150),
    (4, "color", 0.045893),
    (4, "critic", 0.089925),
]


class Killed(BaseException):
    """Ends a run without anything being saved any more."""


def test_run_folder_holds_a_loadable_model_and_the_resolved_recipe(finished_run):
    generator = ChromaGANGenerator.from_pretrained(finished_run / "model")
    critic = ChromaGANCritic.from_pretrained(finished_run / "model" / "critic")
    processor = ChromaGANImageProcessor.from_pretrained(finished_run / "model")
    assert processor.encoding == generator.config.encoding
    assert torch.isfinite(generator(torch.rand(1, 1, 32, 32)).reconstruction).all()
    assert critic.config.critic_width_multiplier == 0.0625
    assert "penalty_reduction: root" in (finished_run / "recipe.yaml").read_text(encoding="utf-8")
    assert len(list_checkpoints(finished_run)) == 2
    with Image.open(finished_run / "samples" / "00000004.png") as grid:
        assert grid.width > 3 * 32


def test_what_was_left_out_is_said_at_the_start_and_at_the_end(photographs, tmp_path, capsys):
    shutil.copytree(photographs, tmp_path / "pictures")
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (64, 56), (90, 90, 90)).save(tmp_path / "pictures" / "gray.png")
    assert run(tmp_path / "pictures", tmp_path / "run", "phases.0.steps=6", "data.validation.fraction=0.01") == 0
    said = capsys.readouterr().out
    start = "data: pictures: 12 of 14 pictures; left out: 1 broken (broken.png), 1 grayscale (gray.png)"
    assert start in said[: said.index("phase color")]
    report = json.loads((tmp_path / "run" / "data_report.json").read_text(encoding="utf-8"))["rejected"]["pictures"]
    broken, gray = report["broken"], report["grayscale"]
    assert broken + gray > 0
    groups = ", ".join(f"{count} {flaw}" for flaw, count in report.items() if count)
    assert f"data: pictures: passed over {broken + gray} times: {groups}; other" in said[said.index("phase adv") :]


def test_every_evaluation_measures_the_model_against_the_grey_row(finished_run):
    lines = [json.loads(line) for line in (finished_run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    measured = [line for line in lines if "validation_psnr_mean" in line]
    assert [line["step"] for line in measured] == [2, 4]
    for line in measured:
        assert 0 < line["validation_ssim"] <= 1
        assert {"validation_gain_ssim", "validation_gain_psnr_mean", "validation_colorfulness_ratio"} <= set(line)


def test_weights_saved_are_the_average(finished_run):
    average = load_file(list_checkpoints(finished_run)[-1] / "average.safetensors")
    saved = load_file(finished_run / "model" / "model.safetensors")
    for name, tensor in saved.items():
        assert torch.equal(tensor, average[f"module.{name}"]), name
    live = load_file(list_checkpoints(finished_run)[-1] / "generator.safetensors")
    assert any(not torch.equal(saved[name], live[name]) for name in saved)


def test_the_average_follows_the_weights_by_the_recipe_s_decay(finished_run):
    before, after = list_checkpoints(finished_run)
    average, moved = (load_file(at / "average.safetensors") for at in (before, after))
    weights = load_file(after / "generator.safetensors")
    differing = 0
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            expected = 0.999 * average[f"module.{name}"] + 0.001 * tensor
            torch.testing.assert_close(moved[f"module.{name}"], expected, atol=1e-7, rtol=1e-6)
            differing += not torch.equal(average[f"module.{name}"], tensor)
    assert differing > 20, "running statistics among them"


def test_every_phase_has_its_schedule_from_its_first_step_to_its_last(photographs, tmp_path):
    settings = ["phases.0.steps=4", "phases.1.steps=4", "checkpoint_every=100", "sample_every=100"]
    for phase in (0, 1):
        optimizer = "{learning_rate: 1.0e-3, warmup_steps: 1, schedule: cosine}"
        settings.append(f"phases.{phase}.generator_optimizer={optimizer}")
    assert run(photographs, tmp_path / "run", *settings) == 0
    rates = [line["learning_rate"] for line in losses_of(tmp_path / "run").values()]
    assert rates == pytest.approx([1e-3 * (1 + math.cos(math.pi * i / 4)) / 2 for i in (0, 1, 2, 3)] * 2)
    # What is due at a phase's end does not wait for its turn.
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["checkpoint-00000004", "checkpoint-00000008"]
    assert sorted(path.name for path in (tmp_path / "run" / "samples").iterdir()) == ["00000004.png", "00000008.png"]
    for name in ("model-color", "model-adversarial", "model"):
        assert (tmp_path / "run" / name / "model.safetensors").is_file()


def test_first_losses_are_golden(finished_run):
    """A silent change of an objective, of the data or of the initialization shows here."""
    losses = losses_of(finished_run)
    assert sorted(losses) == [1, 2, 3, 4]
    assert losses[1]["phase"] == "color"
    assert "critic" not in losses[2]
    for step, name, value in GOLDEN:
        assert losses[step][name] == pytest.approx(value, rel=1e-2), (step, name)


def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(photographs, finished_run, tmp_path):
    folder = tmp_path / "cut"
    # The first phase's schedule is its own, so a run cut at its end or inside the second phase must continue exactly.
    original = training_step.TrainingStep.update
    for cut in (2, 3):

        def stop_at(self, step, batch, cut=cut):
            if step == cut:
                raise Killed
            return original(self, step, batch)

        training_step.TrainingStep.update = stop_at
        try:
            with pytest.raises(Killed):
                run(photographs, folder)
        finally:
            training_step.TrainingStep.update = original
        assert json.loads((list_checkpoints(folder)[-1] / "position.json").read_text())["step"] == cut
    assert run(photographs, folder) == 0
    for name in ("generator", "critic", "average"):
        ours, theirs = (load_file(list_checkpoints(at)[-1] / f"{name}.safetensors") for at in (folder, finished_run))
        for key in theirs:
            assert torch.equal(ours[key], theirs[key]), (name, key)
    assert losses_of(folder)[4]["critic"] == losses_of(finished_run)[4]["critic"]


def test_counts_go_on_from_those_of_the_checkpoint_and_another_phase_is_said(
    photographs, finished_run, tmp_path, capsys, monkeypatch
):
    original = train.load_checkpoint

    def load(checkpoint, networks):
        states, position = original(checkpoint, networks)
        counts = {"rejected": {"pictures": {"broken": 5}, "gone": {"broken": 1}}, "skipped": {"critic": 2}}
        return states, position.model_copy(update=counts | {"phase": 0})

    monkeypatch.setattr(train, "load_checkpoint", load)
    shutil.copytree(finished_run, tmp_path / "run")
    assert run(photographs, tmp_path / "run", "phases.1.steps=3") == 0
    position = json.loads((list_checkpoints(tmp_path / "run")[-1] / "position.json").read_text())
    assert position["step"] == 5
    assert position["skipped"] == {"critic": 2}
    assert position["rejected"]["pictures"]["broken"] == 5
    assert "gone" not in position["rejected"]
    assert "warning: step 4 is inside phase adversarial of this recipe" in capsys.readouterr().out


def test_finished_run_is_left_as_it_is(photographs, finished_run):
    before = (finished_run / "model" / "model.safetensors").read_bytes()
    assert run(photographs, finished_run) == 0
    assert (finished_run / "model" / "model.safetensors").read_bytes() == before


def test_learns_from_the_adversarial_phase(finished_run):
    """The critic's weights move in the second phase only."""
    losses = losses_of(finished_run)
    assert {"critic", "critic_gap", "penalty", "adversarial", "adversarial_gradient_ratio"} <= set(losses[3])
    assert losses[3]["adversarial_gradient_ratio"] == pytest.approx(0.35, rel=1e-4)


def test_start_from_another_run(photographs, finished_run, tmp_path):
    standstill = [f"phases.{i}.generator_optimizer.learning_rate=1e-12" for i in range(2)]
    shutil.copytree(finished_run / "model", tmp_path / "first" / "model")
    encoding = ChromaGANGenerator.from_pretrained(finished_run / "model").config.encoding
    ChromaGANImageProcessor(encoding=encoding, size=96).save_pretrained(tmp_path / "first" / "model")
    assert run(photographs, tmp_path / "next", f"init_from={tmp_path / 'first'}", "ema_decay=0", *standstill) == 0
    assert ChromaGANImageProcessor.from_pretrained(tmp_path / "next" / "model").size == {
        "shortest_edge": 96,
        "longest_edge": 384,
    }
    start = load_file(finished_run / "model" / "model.safetensors")
    end = load_file(tmp_path / "next" / "model" / "model.safetensors")
    for name in ("network.chroma.weight", "network.trunk.0.conv1_1.conv.weight"):
        torch.testing.assert_close(start[name], end[name], atol=1e-6, rtol=0)


def test_a_start_from_another_shape_or_from_nothing_is_one_line(photographs, finished_run, tmp_path, capsys):
    settings = [f"init_from={finished_run}", "model.width_multiplier=0.125"]
    assert run(photographs, tmp_path / "next", *settings) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "weights of the recipe's generator are missing or of another shape" in message
    assert run(photographs, tmp_path / "next", f"init_from={tmp_path / 'none'}") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        (["stepz=4"], ["stepz", "accepted"]),
        (["init_from=nowhere"], ["init_from", "nowhere"]),
        (["data.sources.pictures.image_column=photo"], ["image_column", "photo", "accepted", "image"]),
        (["phases.0.objective.weights.class=1"], ["teacher.kind", "accepted"]),
    ],
)
def test_bad_settings_are_one_line_and_no_run_folder(photographs, tmp_path, capsys, settings, parts):
    assert run(photographs, tmp_path / "run", *settings) == 2
    message = capsys.readouterr().err.strip()
    assert message.count("\n") == 0
    for part in parts:
        assert part in message
    assert not (tmp_path / "run").exists()


def test_a_source_that_is_lost_ends_the_run_with_a_checkpoint(photographs, tmp_path, capsys, monkeypatch):
    original = train.BatchPlan.__getitem__

    def lose(self, step):
        if step == 1:
            raise StreamError("pictures: https://somewhere/1.parquet: gone after 8 tries")
        return original(self, step)

    monkeypatch.setattr(train.BatchPlan, "__getitem__", lose)
    assert run(photographs, tmp_path / "run", "checkpoint_every=100") == 1
    assert "gone after 8 tries; checkpoint-00000001 stands\n" in capsys.readouterr().err
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["checkpoint-00000001"]


def test_a_generator_whose_package_is_missing_is_one_line(photographs, tmp_path, capsys, monkeypatch):
    def refuse(config):
        raise ImportError("preincep needs timm: pip install 'chromagan[inception]'")

    monkeypatch.setattr(networks, "ChromaGANGenerator", refuse)
    assert run(photographs, tmp_path / "run") == 2
    assert capsys.readouterr().err == (
        "train.py: model.architecture: preincep needs timm: pip install 'chromagan[inception]'\n"
    )


def test_a_run_folder_that_cannot_be_written_says_that_nothing_stands(photographs, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    assert run(photographs, tmp_path / "file" / "run") == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "Not a directory" in message
    assert message.endswith("; there is no checkpoint\n")


def test_a_batch_that_cannot_fit_is_refused_before_any_picture_is_opened(photographs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "open_sources", None)
    assert run(photographs, tmp_path / "run", "phases.1.batches.0.batch_size=1000000000") == 2
    message = capsys.readouterr().err
    assert message.startswith("train.py: phases.1.batches.0.batch_size is 1000000000: a step takes at least ")
    assert message.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_step_without_memory_is_one_line(photographs, tmp_path, capsys, monkeypatch):
    def fail(self, step, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(training_step.TrainingStep, "update", fail)
    assert run(photographs, tmp_path / "run") == 1
    assert capsys.readouterr().err == (
        "train.py: out of memory: CUDA out of memory. Tried to allocate 2.00 GiB; a smaller batch_size or a larger "
        "accumulation; there is no checkpoint\n"
    )


def test_a_damaged_checkpoint_is_named_and_the_run_goes_on_from_the_one_before(
    photographs, finished_run, tmp_path, capsys
):
    shutil.copytree(finished_run, tmp_path / "run")
    (list_checkpoints(tmp_path / "run")[-1] / "optimizers.safetensors").write_bytes(b"")
    assert run(photographs, tmp_path / "run") == 0
    said = capsys.readouterr().out
    assert "checkpoint-00000004: optimizers.safetensors has 0 bytes; written were" in said
    assert f"resumed from {tmp_path / 'run' / 'checkpoint-00000003'}\n" in said
    ours, theirs = (load_file(at / "model" / "model.safetensors") for at in (tmp_path / "run", finished_run))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    (tmp_path / "run" / "checkpoint-00000003" / "optimizers.safetensors").unlink()
    (tmp_path / "run" / "checkpoint-00000004" / "optimizers.safetensors").unlink()
    assert run(photographs, tmp_path / "run") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "warned"),
    [
        ("phases.1.objective.adversarial=wasserstein", True),
        ("phases.1.objective.adversarial=bce", False),
        ("phases.1.objective.weights.adversarial=0", False),
    ],
)
def test_batch_norm_in_a_critic_with_a_gradient_penalty_is_warned_of(photographs, tmp_path, capsys, setting, warned):
    assert run(photographs, tmp_path / "run", "model.critic_norm=batch", setting) == 0
    assert ("warning: model.critic_norm is batch" in capsys.readouterr().out) == warned


def test_no_silent_fresh_start(photographs, finished_run, capsys):
    assert run(photographs, finished_run, "--resume", "none") == 2
    assert "--resume is none and" in capsys.readouterr().err
    assert run(photographs, finished_run, "model.width_multiplier=0.125", "phases.1.steps=9") == 2
    assert "size mismatch" in capsys.readouterr().err


@pytest.mark.slow
def test_a_published_training_state_is_gone_on_with(photographs, finished_run, tmp_path, capsys, monkeypatch):
    """Critic, optimizers and position included: the same weights as where nobody else took over."""
    published = tmp_path / "published" / "training"
    published.mkdir(parents=True)
    shutil.copytree(list_checkpoints(finished_run)[-1], published / list_checkpoints(finished_run)[-1].name)
    asked = []

    def download(repository, allow_patterns):
        asked.append((repository, allow_patterns))
        return str(tmp_path / "published")

    monkeypatch.setattr("modeling_chromagan.training.run.checkpoint.snapshot_download", download)
    assert run(photographs, tmp_path / "further", "phases.1.steps=4", "--resume", "someone/chromagan") == 0
    assert "resumed from" in capsys.readouterr().out
    ((repository, patterns),) = asked
    assert repository == "someone/chromagan"
    assert any(Path("training/checkpoint-00000004/critic.safetensors").match(pattern) for pattern in patterns)
    assert sorted(losses_of(tmp_path / "further")) == [5, 6]
    shutil.copytree(finished_run, tmp_path / "own")
    assert run(photographs, tmp_path / "own", "phases.1.steps=4") == 0
    for name in ("generator", "critic", "average"):
        ours, theirs = (
            load_file(list_checkpoints(at)[-1] / f"{name}.safetensors")
            for at in (tmp_path / "further", tmp_path / "own")
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name


@pytest.mark.parametrize("network", ["generator", "critic"])
@pytest.mark.parametrize("wrong", ["loss", "gradient norm"])
def test_a_value_that_is_not_finite_stops_the_run_within_the_step(
    photographs, tmp_path, capsys, monkeypatch, network, wrong
):
    fail_at_step(monkeypatch, 4, network, wrong)
    assert run(photographs, tmp_path / "run") == 1
    message = capsys.readouterr().err.strip()
    assert re.fullmatch(
        rf"train.py: step 4: the {network}'s {wrong} is (nan|inf); checkpoint-00000003 stands", message
    )
    newest = list_checkpoints(tmp_path / "run")[-1]
    assert newest.name == "checkpoint-00000003"
    for name in ("generator", "critic", "average"):
        assert all(tensor.isfinite().all() for tensor in load_file(newest / f"{name}.safetensors").values())


def test_a_recipe_can_have_such_steps_skipped_and_counted(photographs, tmp_path, capsys, monkeypatch):
    fail_at_step(monkeypatch, 3, "critic", "gradient norm")
    assert run(photographs, tmp_path / "run", "non_finite=skip") == 0
    assert "step 3: the critic's gradient norm is nan; its step is skipped (1 so far)" in capsys.readouterr().out
    newest = list_checkpoints(tmp_path / "run")[-1]
    assert json.loads((newest / "position.json").read_text())["skipped"] == {"critic": 1}
    assert all(tensor.isfinite().all() for tensor in load_file(newest / "critic.safetensors").values())


def test_weights_that_overflow_are_named(photographs, tmp_path, capsys):
    settings = ["phases.0.generator_optimizer.learning_rate=1e30", "phases.0.generator_optimizer.schedule=constant"]
    assert run(photographs, tmp_path / "run", *settings) == 1
    assert "step 1: the generator's weight norm is inf; there is no checkpoint\n" in capsys.readouterr().err


def fail_at_step(monkeypatch, step: int, network: str, wrong: str) -> None:
    """Makes the loss of a network, or only its gradient, not a number in one step."""
    original = training_step.TrainingStep.descend

    class GradientOfNothing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("nan")

    def descend(self, name, total, *arguments):
        if name == network and self.step + 1 == step:
            total = total * float("nan") if wrong == "loss" else GradientOfNothing.apply(total)
        return original(self, name, total, *arguments)

    monkeypatch.setattr(training_step.TrainingStep, "descend", descend)


@pytest.mark.slow
def test_accumulated_parts_update_both_networks_once_and_as_the_whole_batch_does(photographs, tmp_path, monkeypatch):
    """With running statistics in batch norm, which would otherwise see the parts, the weights end the same."""
    settings = ["phases.1.objective.adaptive_weight=false", "phases.1.objective.weights.adversarial=0.01"]
    settings += ["phases.1.objective.reuse_forward=true", "ema_decay=0"]
    steps = []

    class SGD(torch.optim.SGD):
        def __init__(self, parameters, lr, **adam_options):
            super().__init__(parameters, lr)

        def step(self, *arguments, **options):
            steps.append(self)
            return super().step(*arguments, **options)

    # Adam divides by its gradient and would make differences of rounding as large as any other.
    monkeypatch.setattr(training_step, "OPTIMIZERS", {"adam": SGD, "adamw": SGD})
    monkeypatch.setattr(ChromaGANGenerator, "train", lambda self, mode=True: torch.nn.Module.train(self, False))
    assert run(photographs, tmp_path / "parts", *settings, "accumulation=2") == 0
    assert len(steps) == 6, "one of the generator in each of four steps, one of the critic in each of two"
    assert run(photographs, tmp_path / "whole", *settings) == 0
    for name in ("generator", "critic"):
        parts, whole = (
            load_file(list_checkpoints(tmp_path / at)[-1] / f"{name}.safetensors") for at in ("parts", "whole")
        )
        for key, tensor in whole.items():
            torch.testing.assert_close(parts[key], tensor, atol=1e-6, rtol=1e-4)
    for step, losses in losses_of(tmp_path / "whole").items():
        assert losses_of(tmp_path / "parts")[step]["color"] == pytest.approx(losses["color"], rel=1e-4)


def test_dry_run_prints_the_resolved_recipe_and_does_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train.main([RECIPE, "seed=7", "--dry-run"]) == 0
    assert "seed: 7" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert train.main(["seed=8", "--dry-run"]) == 0
    assert "name: chromagan_lite" in capsys.readouterr().out


@pytest.mark.slow
def test_accelerate_launch_runs_the_script(photographs, tmp_path):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", str(ROOT / "train.py")]
    command += arguments(photographs, tmp_path / "run", "precision=bfloat16")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "threads each" in done.stdout
    natively = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    assert ("precision: float32, as this cpu has no instructions for bfloat16" in done.stdout) != natively
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_a_finished_run_can_be_given_more_steps(photographs, finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    assert run(photographs, tmp_path / "run", "phases.1.steps=3") == 0
    assert sorted(losses_of(tmp_path / "run"))[-1] == 5
