"""What rebuilds the weights of a generator and its critic, and nothing else."""

import os
from collections.abc import Collection
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .architectures import CRITICS, GENERATORS, fields_of_all, fields_read
from .color import COLOR_ENCODINGS
from .errors import WeightsError

DEFAULT_CLASSES = 1000  # ImageNet's
FORMAT_VERSION = (
    1  # of config.json and weights; to be raised when this version would take later ones for what they are not
)


@strict
class ChromaGANConfig(PreTrainedConfig):
    r"""
    Architecture of `ChromaGANGenerator` and `ChromaGANCritic`. The defaults are the generator of the packaged weights;
    with `architecture="chromagan"` they are the published network (Vitoria, Raad, Ballester, WACV 2020, section 3).

    Every generator and critic reads the fields that its constructor names; a saved config.json holds those alone, and
    other values than the default are refused in the rest. Reading a config.json leaves out what its networks do not
    read.

    Args:
        architecture: name of the generator, one of `modeling_chromagan.GENERATORS`.
        encoding: network units of luminance and chroma, `"unit8"` (L/100, (ab+128)/255; sigmoid output; published) or
            `"symmetric"` (L/50-1, ab/110; tanh output). The arithmetic is in `color.py`.
        trunk: of `chromagan_lite`, a size of EfficientNet-Lite, `"lite0"` to `"lite4"`.
        decoder_widths: of `chromagan_lite`, channels of the decoder at strides 32, 16, 8, 4 and 2.
        trunk_input: `"raw"` feeds the trunk or encoder L/100 in 0..1 (published); `"imagenet"` normalizes it with the
            mean and standard deviation of ImageNet classifiers, required when ImageNet weights are loaded into it.
        image_size: training size in pixels. It fixes the grid of the dense layers (other sizes are pooled to it) and
            the number of halvings of `pix2pix_unet`.
        width_multiplier: factor on every channel count of the convolutions, 1 as published.
        pooled_size: side of the grid that global and class features are pooled to before the dense layers; `None`
            is `image_size / 32`, at which the pooling is the identity at the training size (published, 7 at 224).
        global_hidden_sizes: widths of the dense layers of the global branch; the last is what is fused.
        class_head: whether the class-distribution head exists, in generators that have one. It serves training; colors
            do not depend on it.
        class_hidden_sizes: widths of the hidden dense layers of the class head.
        trunk_batch_norm: batch norm in the trunk. Off as published (the trunk starts from a trained VGG-16); without
            it the trunk does not train from scratch.
        norm_order: `"relu_norm"` is convolution, ReLU, batch norm (published); `"norm_relu"` the usual order.
        chroma_resolution: `"half"` predicts chroma at half the size, enlarged by repetition (published); `"full"`
            enlarges before the last convolution.
        dropout_at_inference: whether `pix2pix_unet` keeps its dropout, the paper's noise, in evaluation.
        dropout_seed: fixes the mask of that dropout, so that a picture gets the same colors every time.
        upsampling: how `resnet_unet` enlarges: `"subpixel"` (Shi et al., 2016) or `"nearest"`.
        train_extractor: whether the feature extractor of `preincep` and `preres` trains too, instead of being frozen;
            for training from scratch, where frozen features would be random.
        critic: `"chromagan"` (the paper's, Wasserstein), `"pix2pix"` (Isola et al., 2017, appendix 6.1.2) or
            `"projected"` (Sauer et al., 2021), which takes frozen features of the pictures besides.
        critic_norm: `"none"` (ChromaGAN) or `"batch"` (pix2pix; with a gradient penalty it mixes the pictures whose
            gradients are to be bounded one by one).
        critic_width_multiplier: factor on the channel counts of the critic, 1 as published.

    Raises:
        ValueError: naming the field, what was given and what is accepted.
    """

    model_type = "chromagan"

    architecture: str = "chromagan_lite"
    encoding: str = "unit8"
    trunk: str = "lite2"
    decoder_widths: list[int] | tuple[int, ...] = (320, 256, 192, 128, 64)
    trunk_input: str = "raw"
    image_size: int = 224
    width_multiplier: float | int = 1.0
    pooled_size: int | None = None
    global_hidden_sizes: list[int] | tuple[int, ...] = (1024, 512, 256)
    class_head: bool = True
    class_hidden_sizes: list[int] | tuple[int, ...] = (4096, 4096)
    trunk_batch_norm: bool = False
    norm_order: str = "relu_norm"
    chroma_resolution: str = "half"
    dropout_at_inference: bool = False
    dropout_seed: int = 0
    upsampling: str = "subpixel"
    train_extractor: bool = False
    critic: str = "chromagan"
    critic_norm: str = "none"
    critic_width_multiplier: float | int = 1.0

    def __post_init__(self, **kwargs: Any) -> None:
        kwargs.pop("format_version", None)  # of the file, not of this config
        self._check_choice("architecture", GENERATORS)
        self._check_choice("critic", CRITICS)
        own = {name: value for name, value in self._fields_read().items() if not hasattr(self, name)}
        # The library's own default is two classes; the published class head has ImageNet's thousand.
        if self.id2label is None and kwargs.get("num_labels") is None:
            kwargs["num_labels"] = DEFAULT_CLASSES
        super().__post_init__(**(own | kwargs))  # the networks' own fields, with their defaults
        for name in ("decoder_widths", "global_hidden_sizes", "class_hidden_sizes"):
            setattr(self, name, tuple(getattr(self, name)))  # JSON gives lists; a config is equal to itself read back
        self._check_fields_are_read()
        self._check_choice("encoding", COLOR_ENCODINGS)
        for network in (GENERATORS[self.architecture], CRITICS[self.critic]):
            for name, accepted in network.choices.items():
                self._check_choice(name, accepted)
        self._check_sizes()

    @classmethod
    def get_config_dict(cls, place: str | os.PathLike, **kwargs: Any) -> tuple[dict, dict]:
        """As in the library.

        Raises:
            WeightsError: for the config of another model, or of a newer version of this package.
        """
        config_dict, kwargs = super().get_config_dict(place, **kwargs)
        check_format(config_dict, place)
        return config_dict, kwargs

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs: Any) -> "ChromaGANConfig":
        """As in the library, without the fields that other generators and critics read: files may hold them.

        Raises:
            WeightsError: for the config of another model, or of a newer version of this package.
            ValueError: for a field that is not accepted.
        """
        check_format(config_dict, kwargs.get("name_or_path") or "config")
        given = config_dict | kwargs
        names = given.get("architecture", cls.architecture), given.get("critic", cls.critic)
        fields = {"architecture", "critic"} | fields_of_all().keys()
        if names[0] in GENERATORS and names[1] in CRITICS:
            unread = fields_of_all().keys() - fields_read(*names).keys() - {"num_labels"}
            given = {name: value for name, value in given.items() if name not in unread}
        settings = {name: value for name, value in given.items() if name in config_dict or name in fields}
        return super().from_dict(settings, **{name: kwargs[name] for name in kwargs if name not in fields})

    def to_diff_dict(self) -> dict:
        """What config.json holds: the fields that this generator and critic read, and no others.

        Of classes without names there is the number, unless it is the default.
        """
        unread = fields_of_all().keys() - self._fields_read().keys()
        if "num_labels" in unread or self.id2label == {i: f"LABEL_{i}" for i in range(self.num_labels)}:
            unread |= {"id2label", "label2id"}
        settings = {"format_version": FORMAT_VERSION} | super().to_diff_dict()
        settings = {name: value for name, value in settings.items() if name not in unread}
        if "num_labels" not in unread and "id2label" in unread and self.num_labels != DEFAULT_CLASSES:
            settings["num_labels"] = self.num_labels
        return settings

    def _fields_read(self) -> dict:
        return fields_read(self.architecture, self.critic)

    def _check_fields_are_read(self) -> None:
        """Raises ValueError for a value that only another generator or critic would read."""
        read = self._fields_read()
        for name, default in fields_of_all().items():
            if name in read or name == "num_labels":
                continue
            default = getattr(type(self), name, default)
            if (value := getattr(self, name, default)) != default:
                raise ValueError(
                    f"{name} is {value!r}, which architecture {self.architecture} and critic {self.critic} do not "
                    f"read; accepted: {', '.join(read)}"
                )

    def _check_sizes(self) -> None:
        """Raises ValueError for a number out of its range."""
        if self.image_size < 32 or self.image_size % 32:
            raise ValueError(f"image_size is {self.image_size}; accepted: a multiple of 32 from 32 upwards")
        grid = self.image_size // 32
        if self.pooled_size is not None and not 1 <= self.pooled_size <= grid:
            raise ValueError(f"pooled_size is {self.pooled_size}; accepted: None or 1 to {grid}, a 32nd of image_size")
        for name in ("width_multiplier", "critic_width_multiplier"):
            if not 0 < getattr(self, name) <= 4:
                raise ValueError(f"{name} is {getattr(self, name)}; accepted: above 0, up to 4")
        if len(self.decoder_widths) != 5:
            raise ValueError(f"decoder_widths is {list(self.decoder_widths)}; accepted: five whole numbers")
        for name, least in (("decoder_widths", 5), ("global_hidden_sizes", 1), ("class_hidden_sizes", 0)):
            sizes = getattr(self, name)
            if len(sizes) < least or any(size < 1 for size in sizes):
                raise ValueError(f"{name} is {list(sizes)}; accepted: {least} or more whole numbers from 1 upwards")
        if not 0 <= self.dropout_seed < 2**32:
            raise ValueError(f"dropout_seed is {self.dropout_seed}; accepted: a whole number from 0 to 2**32 - 1")
        if self.num_labels < 1:
            raise ValueError(f"num_labels is {self.num_labels}; accepted: 1 or more")

    def _check_choice(self, name: str, accepted: Collection[str]) -> None:
        if getattr(self, name) not in accepted:
            raise ValueError(f"{name} is {getattr(self, name)!r}; accepted: {', '.join(accepted)}")


def check_format(config_dict: dict, place: str | os.PathLike) -> None:
    """Raises WeightsError, naming `place`, for the config of another model, or of a newer version of this package."""
    kind = config_dict.get("model_type", ChromaGANConfig.model_type)
    if kind != ChromaGANConfig.model_type:
        raise WeightsError(f"{place}: model_type is {kind!r}; accepted: {ChromaGANConfig.model_type!r}")
    version = config_dict.get("format_version", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise WeightsError(
            f"{place}: format_version is {version!r}, of a newer version of this package; accepted: up to "
            f"{FORMAT_VERSION}, or updating the package"
        )


# Saved folders name and carry their code, for `trust_remote_code=True` where the package is not installed.
ChromaGANConfig.register_for_auto_class()

__all__ = ["ChromaGANConfig"]
