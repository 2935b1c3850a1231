"""The two models of ChromaGAN as transformers classes: a generator of chroma and a critic of Lab pictures."""

import contextlib
import functools
import inspect
import os
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_chromagan import ChromaGANConfig
from .critic_patchgan import CRITICS
from .generator_autoencoder import LabAutoencoder, RGBAutoencoder
from .generator_chromagan import FusionGenerator
from .generator_inception import InceptionResNetV2Autoencoder, InceptionV3Autoencoder
from .generator_lite import LiteGenerator
from .generator_resnet_unet import ResNetUNet
from .generator_unet import Pix2PixUNet

# A generator's constructor names the config fields that it takes; adding a generator is one file and one line here.
GENERATORS = {
    "chromagan_lite": LiteGenerator,
    "chromagan": FusionGenerator,
    "pix2pix_unet": Pix2PixUNet,
    "resnet_unet": ResNetUNet,
    "basic": RGBAutoencoder,
    "labnet": LabAutoencoder,
    "preincep": InceptionV3Autoencoder,
    "preres": InceptionResNetV2Autoencoder,
}


def build_generator(config: ChromaGANConfig) -> nn.Module:
    """The bare network that `config.architecture` names, with random weights: no file, no network, no output.

    Raises:
        ValueError: if no generator of that name is registered.
    """
    if config.architecture not in GENERATORS:
        raise ValueError(f"architecture is {config.architecture!r}; accepted: {', '.join(GENERATORS)}")
    return build_network(GENERATORS[config.architecture], config)


def build_network(network: type[nn.Module], config: ChromaGANConfig) -> nn.Module:
    """A generator or critic with the config fields that its constructor names."""
    return network(**{name: getattr(config, name) for name in inspect.signature(network).parameters})


def fields_read(config: ChromaGANConfig) -> set[str]:
    """Names of the config fields that the generator and the critic which `config` names are built from."""
    networks = GENERATORS.get(config.architecture), CRITICS.get(config.critic)
    read = {name for network in networks if network for name in inspect.signature(network).parameters}
    return read | {"architecture", "critic"}


@contextlib.contextmanager
def frozen_running_statistics(model: nn.Module):
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
        loss: scalar, only with `labels`: mean squared error between `reconstruction` and `labels`.
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
    _no_split_modules = [  # noqa: RUF012 - read by transformers as a class attribute
        network.__name__ for network in (*GENERATORS.values(), *CRITICS.values())
    ]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if hasattr(module, "initialize"):  # a layer that starts in a way of its own
            module.initialize()
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            deviation = getattr(self.network, "initial_deviation", None)
            if deviation is None:
                init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                init.normal_(module.weight, std=deviation)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):  # no activation follows any of the dense layers
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def _set_gradient_checkpointing(self, enable: bool = True, gradient_checkpointing_func=checkpoint, **kwargs):
        # The second forward of a checkpointed stage would count its batch into the running statistics once more.
        def contexts():
            return contextlib.nullcontext(), frozen_running_statistics(self)

        checkpoint_stage = functools.partial(gradient_checkpointing_func, context_fn=contexts)
        super()._set_gradient_checkpointing(enable, checkpoint_stage, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs) -> None:
        """As in the library, and weights that an earlier save left in the folder are removed.

        The loader takes model.safetensors where there is one, also a stale one beside the shards of this save.
        """
        super().save_pretrained(save_directory, **kwargs)
        folder = Path(save_directory)
        sharded = any(folder.glob("model-*-of-*.safetensors"))
        stale = folder / ("model.safetensors" if sharded else "model.safetensors.index.json")
        stale.unlink(missing_ok=True)


class ChromaGANGenerator(ChromaGANPreTrainedModel):
    """From encoded luminance, the colors of a plausible photograph, and the classes it sees if it has a class head."""

    # A checkpoint with a class head loads into a generator without one: colors do not depend on it.
    _keys_to_ignore_on_load_unexpected = [r"network\.class_head\."]  # noqa: RUF012
    is_folded = False  # whether batch norms were folded into convolutions

    def __init__(self, config: ChromaGANConfig):
        super().__init__(config)
        self.network = build_generator(config)
        self.post_init()
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
        if hasattr(self.network, "fold_batch_norms") and not self.is_folded:
            self.requires_grad_(False)
            self.network.fold_batch_norms()
            self.is_folded = True
        return self

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs) -> None:
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
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> ColorizationOutput | tuple:
        """Predicts color from luminance.

        Args:
            pixel_values: encoded luminance, (B, 1, H, W), every side at least `network.minimum_size`.
            labels: the true picture as `reconstruction` has it, encoded ab, (B, 2, H, W), or RGB, (B, 3, H, W); gives
                `loss`.
            output_hidden_states: also return the features after every stage.
            return_dict: `False` returns a tuple of the fields that are not `None`.

        Raises:
            ValueError: for a wrong shape or too small a picture.
        """
        if pixel_values.ndim != 4 or pixel_values.shape[1] != 1:
            raise ValueError(f"pixel_values has shape {tuple(pixel_values.shape)}; accepted: (B, 1, H, W) luminance")
        # Image processors give float32 whatever the weights are; models of the library take it too.
        prediction = self.network(pixel_values.to(self.dtype))
        in_rgb = self.network.output_space == "rgb"
        reconstruction = prediction.rgb if in_rgb else prediction.ab
        loss = None
        if labels is not None:
            if labels.shape != reconstruction.shape:
                raise ValueError(
                    f"labels has shape {tuple(labels.shape)}; accepted: {'RGB' if in_rgb else 'encoded ab'}, "
                    f"{tuple(reconstruction.shape)}"
                )
            loss = F.mse_loss(reconstruction.float(), labels.float())
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        output = ColorizationOutput(
            loss=loss,
            reconstruction=reconstruction,
            logits=prediction.class_logits,
            bin_logits=getattr(prediction, "bin_logits", None),
            hidden_states=prediction.hidden_states if output_hidden_states else None,
        )
        if return_dict is None:
            return_dict = self.config.return_dict
        return output if return_dict else output.to_tuple()


class ChromaGANCritic(ChromaGANPreTrainedModel):
    """Scores Lab pictures patch by patch: high for photographs, low for colorized ones."""

    supports_gradient_checkpointing = False  # five layers, whose penalty is differentiated twice

    def __init__(self, config: ChromaGANConfig):
        super().__init__(config)
        self.network = build_network(CRITICS[config.critic], config)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        features: tuple[torch.Tensor, ...] | None = None,
        return_dict: bool | None = None,
        **kwargs,
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
        inputs = [pixel_values.to(self.dtype)]
        if wanted:
            inputs.append(tuple(feature.to(self.dtype) for feature in features))
        output = CriticOutput(scores=self.network(*inputs))
        if return_dict is None:
            return_dict = self.config.return_dict
        return output if return_dict else output.to_tuple()


# Saved folders name and carry their code, for `trust_remote_code=True` where the package is not installed.
ChromaGANGenerator.register_for_auto_class("AutoModelForImageToImage")
ChromaGANCritic.register_for_auto_class("AutoModel")

__all__ = ["GENERATORS", "ChromaGANCritic", "ChromaGANGenerator", "ColorizationOutput", "CriticOutput"]
