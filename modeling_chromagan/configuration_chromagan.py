"""What rebuilds the weights of a generator and its critic, and nothing else."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .color import COLOR_ENCODINGS
from .trunk_efficientnet_lite import VARIANTS as TRUNK_VARIANTS

TRUNK_INPUTS = ("raw", "imagenet")
NORM_ORDERS = ("relu_norm", "norm_relu")
CHROMA_RESOLUTIONS = ("half", "full")
UPSAMPLINGS = ("subpixel", "nearest")
CLASSIFYING_GENERATORS = ("chromagan_lite", "chromagan")  # those with a class head; others ignore what is set for it
CRITIC_NAMES = ("chromagan", "pix2pix", "projected")  # of critic_patchgan.CRITICS
TRUNKS = tuple(TRUNK_VARIANTS)
DEFAULT_CLASSES = 1000  # ImageNet's
CRITIC_NORMS = ("none", "batch")


@strict
class ChromaGANConfig(PreTrainedConfig):
    r"""
    Architecture of `ChromaGANGenerator` and `ChromaGANCritic`. The defaults are the generator of the packaged weights;
    with `architecture="chromagan"` they are the published network (Vitoria, Raad, Ballester, WACV 2020, section 3).

    Every generator reads the fields that its constructor names, and a saved config.json holds those alone.

    Args:
        architecture: name of the generator in `modeling_chromagan.GENERATORS`.
        encoding: network units of luminance and chroma, `"unit8"` (L/100, (ab+128)/255; sigmoid output; published) or
            `"symmetric"` (L/50-1, ab/110; tanh output). The arithmetic is in `color.py`.
        trunk: of `chromagan_lite`, a size of EfficientNet-Lite, `"lite0"` to `"lite4"`.
        decoder_widths: of `chromagan_lite`, channels of the decoder at strides 32, 16, 8, 4 and 2.
        trunk_input: `"raw"` feeds the trunk or encoder L/100 in 0..1 (published); `"imagenet"` normalizes it with the
            mean and deviation of ImageNet classifiers, required when ImageNet weights are loaded into it.
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

    def __post_init__(self, **kwargs):
        # The library's own default is two classes; the published class head has ImageNet's thousand.
        if self.id2label is None and kwargs.get("num_labels") is None:
            kwargs["num_labels"] = DEFAULT_CLASSES
        super().__post_init__(**kwargs)
        self._check_choice("encoding", COLOR_ENCODINGS)
        self._check_choice("trunk", TRUNKS)
        self._check_choice("trunk_input", TRUNK_INPUTS)
        self._check_choice("norm_order", NORM_ORDERS)
        self._check_choice("chroma_resolution", CHROMA_RESOLUTIONS)
        self._check_choice("upsampling", UPSAMPLINGS)
        self._check_choice("critic", CRITIC_NAMES)
        self._check_choice("critic_norm", CRITIC_NORMS)
        if self.critic == "projected" and self.critic_norm != "none":
            raise ValueError(f"critic_norm is {self.critic_norm!r}; accepted with critic projected: none")
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
            setattr(self, name, tuple(sizes))  # JSON gives lists; a config is equal to itself read back
        if not 0 <= self.dropout_seed < 2**32:
            raise ValueError(f"dropout_seed is {self.dropout_seed}; accepted: a whole number from 0 to 2**32 - 1")
        if self.architecture in CLASSIFYING_GENERATORS and self.class_head and self.num_labels < 2:
            raise ValueError(f"num_labels is {self.num_labels}; accepted: 2 or more while class_head is true")

    def to_diff_dict(self) -> dict:
        """What config.json holds: the fields that this generator and critic read, and no others.

        Of classes without names there is the number, unless it is the default.
        """
        from .modeling_chromagan import fields_read  # the networks, which import this file, say what they read

        unread = set(ChromaGANConfig.__annotations__) - fields_read(self) - {"model_type"}
        if self.id2label == {i: f"LABEL_{i}" for i in range(self.num_labels)}:
            unread |= {"id2label", "label2id"}
        settings = {name: value for name, value in super().to_diff_dict().items() if name not in unread}
        if "id2label" in unread and self.num_labels != DEFAULT_CLASSES:
            settings["num_labels"] = self.num_labels
        return settings

    def _check_choice(self, name: str, accepted: tuple[str, ...]) -> None:
        if getattr(self, name) not in accepted:
            raise ValueError(f"{name} is {getattr(self, name)!r}; accepted: {', '.join(accepted)}")


# Saved folders name and carry their code, for `trust_remote_code=True` where the package is not installed.
ChromaGANConfig.register_for_auto_class()

__all__ = ["ChromaGANConfig"]
