"""transformers' `Trainer` trains a generator as it trains any model."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from modeling_chromagan import ChromaGANConfig, ChromaGANGenerator


class DrawnPictures(Dataset):
    """Random luminance, with its colors and class by the names of the generator's arguments."""

    def __init__(self, class_labels: bool):
        self.class_labels = class_labels

    def __len__(self) -> int:
        return 8

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        random = torch.Generator().manual_seed(row)
        sample = {
            "pixel_values": torch.rand(1, 32, 32, generator=random),
            "labels": torch.rand(2, 32, 32, generator=random),
        }
        return sample | {"class_labels": torch.tensor(row % 3)} if self.class_labels else sample


class Gradients(TrainerCallback):
    """The trainable weights that had no gradient, or none but zeros, before each step."""

    def __init__(self):
        self.missing, self.zero = [], []

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.missing.append([name for name, weight in weights.items() if weight.grad is None])
        self.zero.append(
            {name for name, weight in weights.items() if weight.grad is not None and not weight.grad.any()}
        )


def trainer_of(folder: Path, class_labels: bool, *callbacks: TrainerCallback, **arguments) -> Trainer:
    torch.manual_seed(0)
    settings = {"trunk": "lite0", "width_multiplier": 0.125, "decoder_widths": [32] * 5, "num_labels": 3}
    arguments = {
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
    } | arguments
    return Trainer(
        model=ChromaGANGenerator(ChromaGANConfig(**settings)),
        args=TrainingArguments(output_dir=str(folder), **arguments),
        train_dataset=DrawnPictures(class_labels),
        eval_dataset=DrawnPictures(class_labels),
        callbacks=list(callbacks),
    )


@pytest.mark.parametrize("class_labels", [False, True])
def test_trainer_takes_steps_with_a_gradient_for_every_weight(class_labels, tmp_path):
    gradients = Gradients()
    names = ["labels", "class_labels"] if class_labels else ["labels"]
    trainer = trainer_of(tmp_path, class_labels, gradients, label_names=names)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    assert trainer.train().global_step == 2
    assert gradients.missing == [[], []]
    # A picture's colors alone teach no distribution over bins, and without classes nothing teaches their head.
    idle = ("network.bins.",) if class_labels else ("network.bins.", "network.class_head.")
    for zero in gradients.zero:
        assert zero == {name for name in before if name.startswith(idle)}
    after = dict(trainer.model.named_parameters())
    assert {name for name in before if torch.equal(before[name], after[name])} == gradients.zero[-1]
    assert 0 < trainer.evaluate()["eval_loss"] < 1
    trainer.save_model()
    loaded = ChromaGANGenerator.from_pretrained(tmp_path)
    assert all(torch.equal(weight, after[name]) for name, weight in loaded.named_parameters())


def test_accumulated_batches_count_as_their_mean(tmp_path):
    """The library divides by their number only where a model does not say that its loss is a sum."""
    one = trainer_of(tmp_path, True, max_steps=1, per_device_train_batch_size=8).train()
    two = trainer_of(tmp_path, True, max_steps=1, gradient_accumulation_steps=2).train()
    assert two.training_loss == pytest.approx(one.training_loss, rel=0.1)  # batch norms see halves
