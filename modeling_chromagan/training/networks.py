"""The networks of a training, with the weights that it starts from."""

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .. import ChromaGANCritic, ChromaGANGenerator
from ..errors import SettingError, one_line
from ..sources.models import ModelError, download_model, locate_model
from .batch_norm import use_global_batch_norm
from .frozen_features import load_picture_features
from .recipe import Recipe
from .teacher import load_pretrained_part, load_teacher


class Networks:
    """Both networks on their device: `generator` and `critic` as they are, `prepared_...` as calls go through them.

    The prepared ones are wrapped for several processes, and compiled if the recipe says so. The bare ones are what is
    saved, averaged and asked for the adversarial gradient, which no process shares with the others. `teacher` and
    `features` are frozen, `None` where no term needs them.

    Args:
        recipe: names sizes and first weights.
        accelerator: the devices and processes.
        class_names: of the labels in the data, where labels teach the class head.

    Raises:
        SettingError: for an optional package that is missing, or first weights that cannot be read or do not fit.
    """

    def __init__(self, recipe: Recipe, accelerator: Accelerator, class_names: list[str] | None = None):
        self.teacher = load_teacher(recipe.teacher)
        labels = self.teacher.id2label if self.teacher is not None else None
        if recipe.teacher.kind == "labels" and class_names:
            labels = dict(enumerate(class_names))
        names = {"id2label": labels, "label2id": {name: i for i, name in labels.items()}} if labels else {}
        config = recipe.build_config(**names)
        set_seed(recipe.seed)
        try:
            self.generator, self.critic = ChromaGANGenerator(config), ChromaGANCritic(config)
        except ImportError as error:
            raise SettingError(f"model.architecture: {error}") from error
        except (RuntimeError, MemoryError, OverflowError) as error:
            raise SettingError(f"model: {one_line(error, 200)}; accepted: networks that fit into memory") from error
        adversarial = any(phase.objective.is_adversarial for phase in recipe.phases)
        if recipe.init_from:
            self.load_initial_weights(find_initial_model(recipe.init_from), adversarial)
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
        self.prepared_generator, self.prepared_critic = accelerator.prepare(self.generator, self.critic)
        if recipe.compile:
            self.prepared_generator = torch.compile(self.prepared_generator)
        self.features = None
        if any(recipe.needs_features(phase) for phase in recipe.phases):
            critic = type(self.critic.network) if adversarial else None
            self.features = load_picture_features(recipe.features_model, config.encoding, critic)
        for frozen in (self.teacher, self.features):
            if frozen is not None:
                frozen.to(accelerator.device, memory_format=torch.channels_last)

    def load_initial_weights(self, folder: Path, adversarial: bool) -> None:
        """Starts from the weights of a model folder.

        Args:
            folder: of the generator, with the critic's in `critic` if there is one.
            adversarial: whether the critic has a part to play; otherwise its weights are taken if they fit.
        """
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
                reason = one_line(error, 300)
                raise SettingError(f"init_from: {places[name]}: {reason}; accepted: a run or model folder") from error
            unfit = sorted(report["missing_keys"]) + sorted(key for key, *_ in report["mismatched_keys"])
            if unfit and name == "critic" and not adversarial:
                continue
            if unfit:
                raise SettingError(
                    f"init_from: {places[name]}: {len(unfit)} weights of the recipe's {name} are missing or of "
                    f"another shape, {unfit[0]} is the first; accepted: a model of the recipe's shape"
                )
            network.load_state_dict(saved.state_dict())

    @property
    def by_name(self) -> dict[str, nn.Module]:
        """What a checkpoint holds."""
        networks = {"generator": self.generator, "critic": self.critic}
        return networks | {"average": self.average} if self.average is not None else networks

    @property
    def best_generator(self) -> ChromaGANGenerator:
        """The average, or the generator of a training without one."""
        return self.average.module if self.average is not None else self.generator


def find_initial_model(place: str) -> Path:
    """The model folder that a recipe's `init_from` names: of a run, of a model, or of what is downloaded from the Hub.

    Raises:
        SettingError: if there is none.
    """
    try:
        folder = Path(download_model(locate_model(place, f"init_from: {place}"), folders=["critic"]))
    except ModelError as error:
        raise SettingError(f"{error}; accepted: a run folder, a model folder or a Hub id") from error
    return folder / "model" if (folder / "model").is_dir() else folder


__all__ = ["Networks", "find_initial_model"]
