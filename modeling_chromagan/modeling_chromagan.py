"""The two models of ChromaGAN as transformers classes: a generator of chroma and a critic of Lab pictures."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .architectures import CRITICS, GENERATORS
from .configuration_chromagan import ChromaGANConfig
from .durable_files import filling
from .errors import WeightsError
from .layers import GeneratorOutput, Network

CLASS_WEIGHT = 0.003  # of the class term beside the color term (WACV 2020, equation 1)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
ACCEPTED_WEIGHTS = "accepted: safetensors files alone, a pickle can run code when it is opened"


@contextlib.contextmanager
def frozen_running_statistics(model: nn.Module) -> Iterator[None]:
    """Inside it, batch norms in training mode compute as always but leave their running statistics alone."""
    norms = [module for module in model.modules() if getattr(module, "track_running_stats", False)]
    statistics = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers(recurse=False)]
    # Copies are updated; a norm without statistics would save fewer tensors for backward, which a checkpoint refuses.
    for norm, name, buffer in statistics:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in statistics:
            setattr(norm, name, buffer)


@dataclass
class ColorizationOutput(ModelOutput):
    """
    Args:
        loss: scalar, only with `labels`: mean squared error between `reconstruction` and `labels`, and with
            `class_labels` the weighted cross-entropy of `logits` besides.
        reconstruction: encoded ab, (B, 2, H, W), in the units of `config.encoding`, or sRGB in 0..1, (B, 3, H, W), as
            `network.output_space` says; `color.reconstruction_to_ab` makes Lab chroma of either.
        logits: class logits, (B, num_labels); `None` without a class head.
        bin_logits: logits over the squares of the ab plane of `color.ab_bins()`, (B, bins, ceil(H/4), ceil(W/4));
            `None` from generators that predict no distribution over colors.
        hidden_states: only with `output_hidden_states`: the features after every stage, first to last.
    """

    loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    bin_logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


@dataclass
class CriticOutput(ModelOutput):
    """
    Args:
        scores: (B, 1, h, w), one real number per patch of the picture, about H/8 x W/8 of them; higher is more like a
            real photograph. Of a projected critic, a tuple of such maps.
    """

    scores: torch.Tensor | tuple[torch.Tensor, ...] | None = None


class ChromaGANPreTrainedModel(PreTrainedModel):
    config_class = ChromaGANConfig
    base_model_prefix = "network"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    auto_classes: tuple[str, ...] = ("AutoModel",)  # of transformers, by which saved folders are loaded

    def _build(self, network: type[Network]) -> None:
        """Makes the network, and initializes it where no weights are loaded."""
        self.network = network.from_config(self.config)
        self._no_split_modules = [network.__name__]
        self.post_init()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None,
        *args: Any,
        use_safetensors: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As in the library, but of weights reads safetensors files alone: a pickle can run code when it is opened.

        Weights that are missing or of another shape are refused, unless `ignore_mismatched_sizes=True` asks for random
        ones in their place.

        Raises:
            WeightsError: naming what was found instead of safetensors files, before it is opened, or weights that are
                missing, of another shape or not finite, or a config of another model or of a newer version.
        """
        place = pretrained_model_name_or_path
        if "adapter_kwargs" in kwargs:  # of AutoModel, which of a config's class notes the first model that it loaded
            architectures = kwargs["config"].architectures or []
            meant = next((model for model in MODELS if model.__name__ in architectures), cls)
            if not issubclass(cls, meant):
                return meant.from_pretrained(place, *args, use_safetensors=use_safetensors, **kwargs)
        if use_safetensors is False:
            raise WeightsError(f"{place}: use_safetensors is False; {ACCEPTED_WEIGHTS}")
        if place is not None and os.path.isdir(folder := Path(place, kwargs.get("subfolder") or "")):
            found = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
            if found and not any(folder.glob("*.safetensors")):
                raise WeightsError(f"{folder}: has {', '.join(found)}; {ACCEPTED_WEIGHTS}")
        try:
            return super().from_pretrained(place, *args, use_safetensors=True, **kwargs)
        except OSError as error:
            if "`use_safetensors=True`" not in str(error):
                raise
            # Of a repository on the Hub; the library goes on with the advice to read pickles.
            raise WeightsError(f"{place}: has no safetensors file; {ACCEPTED_WEIGHTS}") from error

    @staticmethod
    def _load_pretrained_model(model: Any, state_dict: Any, checkpoint_files: Any, *args: Any, **kwargs: Any) -> Any:
        # Files come by name from an index or from config.json too.
        for file in checkpoint_files or ():
            if not str(file).endswith(".safetensors"):
                raise WeightsError(f"{file}: is no safetensors file; {ACCEPTED_WEIGHTS}")
        return PreTrainedModel._load_pretrained_model(model, state_dict, checkpoint_files, *args, **kwargs)

    @staticmethod
    def _finalize_model_loading(model: Any, load_config: Any, loading_info: Any) -> Any:
        # The library fills gaps with random numbers and goes on.
        place = load_config.pretrained_model_name_or_path
        if place is None:  # a state dict was given
            return PreTrainedModel._finalize_model_loading(model, load_config, loading_info)
        place = "/".join(filter(None, (str(place), (load_config.download_kwargs or {}).get("subfolder"))))
        if not load_config.ignore_mismatched_sizes:
            if missing := sorted(loading_info.missing_keys):
                raise WeightsError(
                    f"{place}: lacks {len(missing)} of its weights, {missing[0]} among them; accepted: all that its "
                    "config asks for"
                )
            if unfit := sorted(loading_info.mismatched_keys):
                name, found, wanted = unfit[0]
                raise WeightsError(
                    f"{place}: {len(unfit)} of its weights have shapes that its config does not say, {name} among "
                    f"them, {tuple(found)}; accepted: {tuple(wanted)}"
                )
        loading_info = PreTrainedModel._finalize_model_loading(model, load_config, loading_info)
        tensors = ((name, tensor) for name, tensor in model.state_dict().items() if tensor.is_floating_point())
        unfit = sorted(name for name, tensor in tensors if not (tensor.is_meta or torch.isfinite(tensor).all()))
        if unfit:
            raise WeightsError(f"{place}: {len(unfit)} of its weights are not finite, {unfit[0]} among them")
        return loading_info

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if hasattr(module, "initialize"):  # a layer that starts in a way of its own
            module.initialize()
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            if self.network.initial_std is None:
                init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                init.normal_(module.weight, std=self.network.initial_std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):  # no activation follows any of the dense layers
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Callable = checkpoint, **kwargs: Any
    ) -> None:
        # The second forward of a checkpointed stage would count its batch into the running statistics once more.
        def contexts() -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
            return contextlib.nullcontext(), frozen_running_statistics(self)

        # Of torch's two kinds, which give the same, only this one takes contexts.
        checkpoint_stage = functools.partial(gradient_checkpointing_func, use_reentrant=False, context_fn=contexts)
        super()._set_gradient_checkpointing(enable, checkpoint_stage, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """As in the library, but each file is on the disk as a whole, and weights of an earlier save are removed.

        The loader takes model.safetensors where there is one, also a stale one beside the shards of this save.

        Raises:
            OSError: if the disk is full or fails; what was in the folder before is then still there.
        """
        folder = Path(save_directory)
        # The library records one auto class, and keeps those of another model with the same config.
        if self.is_remote_code():
            module = type(self).__module__.rpartition(".")[2]
            self.config.auto_map = {name: f"{module}.{type(self).__name__}" for name in self.auto_classes}
        if kwargs.get("push_to_hub"):
            kwargs.setdefault("repo_id", folder.name)
        try:
            with filling(folder) as partial:
                super().save_pretrained(partial, **kwargs)
                written = {path.name for path in partial.glob("model*.safetensors*")}
        except SafetensorError as error:  # how safetensors reports a full disk
            raise OSError(f"{folder}: {error}") from error
        stale = {"model.safetensors", "model.safetensors.index.json"}
        stale |= {path.name for path in folder.glob("model-*-of-*.safetensors")}
        for name in stale - written if written else ():
            (folder / name).unlink(missing_ok=True)


class ChromaGANGenerator(ChromaGANPreTrainedModel):
    """From encoded luminance, the colors of a plausible photograph, and the classes it sees if it has a class head."""

    # A checkpoint with a class head loads into a generator without one: colors do not depend on it.
    _keys_to_ignore_on_load_unexpected = [r"network\.class_head\."]  # noqa: RUF012
    auto_classes = ("AutoModel", "AutoModelForImageToImage")
    accepts_loss_kwargs = False  # its loss is a mean, which transformers' Trainer divides by the accumulated batches
    is_folded = False  # whether batch norms were folded into convolutions

    def __init__(self, config: ChromaGANConfig):
        super().__init__(config)
        self._build(GENERATORS[config.architecture])
        self.train()

    def train(self, mode: bool = True) -> "ChromaGANGenerator":
        """As in torch, but the network's `frozen_parts` stay in evaluation mode and without gradients.

        Raises:
            ValueError: for training with folded batch norms.
        """
        if mode and self.is_folded:
            raise ValueError("batch norms are folded; accepted: training a generator loaded anew")
        super().train(mode)
        for name in self.network.frozen_parts:
            self.network.get_submodule(name).eval().requires_grad_(False)
        return self

    def fold_batch_norms(self) -> "ChromaGANGenerator":
        """Writes batch norms into the convolutions before them, in generators that can: the same colors, faster.

        In place, for inference only: from then on the generator can neither be trained nor saved. Returns itself, in
        evaluation mode.
        """
        self.eval()
        if self.network.folds_batch_norms and not self.is_folded:
            self.requires_grad_(False)
            self.network.fold_batch_norms()
            self.is_folded = True
        return self

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """As for all models here.

        Raises:
            ValueError: with folded batch norms, whose weights no generator could load.
        """
        if self.is_folded:
            raise ValueError("batch norms are folded; accepted: saving a generator loaded anew")
        super().save_pretrained(save_directory, **kwargs)

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        class_labels: torch.Tensor | None = None,
        class_weight: float = CLASS_WEIGHT,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> ColorizationOutput | tuple:
        """Predicts color from luminance.

        Args:
            pixel_values: encoded luminance, (B, 1, H, W), every side at least `network.minimum_size`.
            labels: the true picture as `reconstruction` has it, encoded ab, (B, 2, H, W), or RGB, (B, 3, H, W); gives
                `loss`.
            class_labels: with `labels`, the classes that the class head has to tell, their numbers, (B,), or
                probabilities, (B, num_labels); their cross-entropy is added to `loss`. Without them transformers'
                `Trainer` evaluates with `TrainingArguments(label_names=["labels"])`.
            class_weight: its weight, 0.003 in the paper (WACV 2020, equation 1).
            output_hidden_states: also return the features after every stage.
            return_dict: `False` returns a tuple of the fields that are not `None`.

        Raises:
            ValueError: for a wrong shape, too small a picture, or classes without a head for them.
        """
        if pixel_values.ndim != 4 or pixel_values.shape[1] != 1:
            raise ValueError(f"pixel_values has shape {tuple(pixel_values.shape)}; accepted: (B, 1, H, W) luminance")
        # Image processors give float32 whatever the weights are; models of the library take it too.
        prediction = self.network(pixel_values.to(self.dtype))
        loss = self._loss(prediction, labels, class_labels, class_weight)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        output = ColorizationOutput(
            loss=loss,
            reconstruction=prediction.reconstruction,
            logits=prediction.class_logits,
            bin_logits=prediction.bin_logits,
            hidden_states=prediction.hidden_states if output_hidden_states else None,
        )
        if return_dict is None:
            return_dict = self.config.return_dict
        return output if return_dict else output.to_tuple()

    def _loss(
        self,
        prediction: GeneratorOutput,
        labels: torch.Tensor | None,
        class_labels: torch.Tensor | None,
        class_weight: float,
    ) -> torch.Tensor | None:
        reconstruction = prediction.reconstruction
        logits: Any = prediction.class_logits
        if class_labels is not None and logits is None:
            raise ValueError("class_labels are given to a generator without a class head; accepted: None")
        if labels is None:
            if class_labels is not None:
                raise ValueError("class_labels are given without labels; accepted: both, or labels alone")
            return None
        if labels.shape != reconstruction.shape:
            kind = "RGB" if self.network.output_space == "rgb" else "encoded ab"
            raise ValueError(
                f"labels has shape {tuple(labels.shape)}; accepted: {kind}, {tuple(reconstruction.shape)}"
            )
        loss = F.mse_loss(reconstruction.float(), labels.float())
        if class_labels is not None:
            if class_labels.shape not in (logits.shape[:1], logits.shape):
                raise ValueError(
                    f"class_labels has shape {tuple(class_labels.shape)}; accepted: {tuple(logits.shape[:1])} or "
                    f"{tuple(logits.shape)}"
                )
            loss = loss + class_weight * F.cross_entropy(logits.float(), class_labels)
        # Data-parallel training needs a gradient for every weight, if a zero one.
        for unused in (logits if class_labels is None else None, prediction.bin_logits):
            if unused is not None:
                loss = loss + 0 * unused.float().mean()
        return loss


class ChromaGANCritic(ChromaGANPreTrainedModel):
    """Scores Lab pictures patch by patch: high for photographs, low for colorized ones."""

    supports_gradient_checkpointing = False  # it is small, and a gradient penalty differentiates it twice

    def __init__(self, config: ChromaGANConfig):
        super().__init__(config)
        self._build(CRITICS[config.critic])

    def forward(
        self,
        pixel_values: torch.Tensor,
        features: tuple[torch.Tensor, ...] | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> CriticOutput | tuple[torch.Tensor]:
        """Scores `pixel_values`, luminance and ab concatenated, encoded, (B, 3, H, W).

        Args:
            pixel_values: the pictures.
            features: of the same pictures, as the projected critic takes them; others take none.
            return_dict: `False` returns a tuple of the fields that are not `None`.

        Raises:
            ValueError: for a wrong shape, too small a picture, or other features than the critic takes.
        """
        least = self.network.minimum_size
        if pixel_values.ndim != 4 or pixel_values.shape[1] != 3 or min(pixel_values.shape[-2:]) < least:
            raise ValueError(
                f"pixel_values has shape {tuple(pixel_values.shape)}; accepted: (B, 3, H, W) Lab picture, at least "
                f"{least} pixels a side"
            )
        wanted = self.network.feature_widths
        given = tuple(feature.shape[1] for feature in features or ())
        if given != wanted:
            raise ValueError(
                f"features has {given or 'no'} channels; accepted with critic {self.config.critic}: {wanted or None}"
            )
        seen = {"features": tuple(feature.to(self.dtype) for feature in features or ())} if wanted else {}
        output = CriticOutput(scores=self.network(pixel_values.to(self.dtype), **seen))
        if return_dict is None:
            return_dict = self.config.return_dict
        return output if return_dict else output.to_tuple()


MODELS = (ChromaGANGenerator, ChromaGANCritic)

# Saved folders name and carry their code, for `trust_remote_code=True` where the package is not installed.
ChromaGANGenerator.register_for_auto_class("AutoModelForImageToImage")
ChromaGANCritic.register_for_auto_class("AutoModel")

__all__ = ["ChromaGANCritic", "ChromaGANGenerator", "ColorizationOutput", "CriticOutput"]
