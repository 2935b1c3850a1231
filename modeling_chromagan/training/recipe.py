"""Recipes: defaults, then the YAML file, then `key=value` from the command line; checked before any work starts."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from huggingface_hub.errors import StrictDataclassError
from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator, model_validator

from ..architectures import CRITICS, GENERATORS, fields_read
from ..configuration_chromagan import ChromaGANConfig
from ..errors import SettingError
from ..sources.weight_packages import LITE0_PACKAGE, LITE2_PACKAGE
from .objectives import TERMS, Objective
from .settings import FileName, Section, load_settings, short

SCALARS = (str, int, float, bool, type(None))
MOST_CLASSES = 100_000


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

    @model_validator(mode="after")
    def check_place(self) -> "Source":
        if not self.path and not self.local:
            raise ValueError("has neither path nor local; accepted: at least one of them")
        return self


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
    grain_strength: float = Field(4.0, ge=0)  # its standard deviation
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
    workers: int | None = Field(None, ge=0, le=256)

    @model_validator(mode="after")
    def check_sources(self) -> "Data":
        if self.validation.source and self.validation.source not in self.sources:
            raise ValueError(
                f".validation.source is {short(self.validation.source)}; accepted: {', '.join(self.sources)}"
            )
        teachers = [name for name, source in self.sources.items() if source.use_labels]
        if len(teachers) > 1:
            raise ValueError(f".sources.{teachers[1]}.use_labels is true, as {teachers[0]}'s; accepted: one of them")
        return self


class Batches(Section):
    """One kind of batch; a phase takes its kinds in turn."""

    size: int | tuple[int, int] = 224  # pixels a side, or [height, width]
    batch_size: int = Field(10, gt=0)  # over all processes
    weights: dict[str, NonNegativeFloat]  # share of every source
    degradation: Degradation = Degradation()

    @field_validator("size", mode="before")
    @classmethod
    def check_size(cls, size: Any) -> Any:
        sides = size if isinstance(size, (list, tuple)) and len(size) == 2 else [size]
        if not all(type(side) is int and 32 <= side <= 16384 for side in sides):
            raise ValueError(f"is {short(size)}; accepted: pixels a side, or [height, width], from 32 to 16384")
        return tuple(sides) if len(sides) == 2 else size

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of its pictures."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)


Beta = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Section):
    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(2e-5, gt=0)
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(0, ge=0)
    schedule: Literal["constant", "cosine", "linear"] = "constant"  # cosine and linear fall to zero over the phase
    clip_norm: float | None = Field(None, gt=0)
    # What the generator's parts that backbone weights fill have of the learning rate of the rest; 0: they stand still.
    backbone_learning_rate_share: float = Field(1.0, ge=0)


class Phase(Section):
    name: FileName
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
            raise ValueError("has neither steps nor epochs; accepted: one of them")
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
    # Hub id or folder with safetensors, of lite also a package; null: timm/vgg16.tv_in1k for vgg16, LITE2_PACKAGE
    model: str | None = None
    input: Literal["luminance", "rgb"] | None = None  # null: rgb for lite, luminance for the others

    @model_validator(mode="after")
    def choose_model(self) -> "Teacher":
        if self.model is None:
            self.model = {"vgg16": "timm/vgg16.tv_in1k", "lite": LITE2_PACKAGE}.get(self.kind)
        if self.kind == "auto" and self.model is None:
            raise ValueError("has no model; accepted with kind auto: a Hub id or folder")
        if self.input is None:
            self.input = "rgb" if self.kind == "lite" else "luminance"
        return self


class Recipe(Section):
    name: FileName
    seed: int = Field(0, ge=0)
    output: str = ""  # run folder; empty: runs/NAME
    init_from: str | None = None  # run folder, model folder or Hub id whose weights to start from
    backbone_weights: str | None = None  # Hub id or folder of ImageNet weights to start the trunk or encoder from
    extractor_weights: str | None = None  # the same for the frozen features of preincep and preres
    features_model: str = LITE0_PACKAGE  # of the perceptual term and the projected critic: folder, Hub id or package
    model: dict[str, Any] = Field({})  # fields of ChromaGANConfig
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
    non_finite: Literal["stop", "skip"] = "stop"  # what a loss or gradient that is not finite does to the run
    log_every: int = Field(20, gt=0)
    sample_every: int = Field(500, gt=0)
    report_to: Literal["none", "tensorboard", "trackio"] = "none"

    @model_validator(mode="after")
    def check_phases(self) -> "Recipe":
        if not self.data.sources:
            raise ValueError("data.sources is empty; accepted: at least one source")
        names = [phase.name for phase in self.phases]
        for i, phase in enumerate(self.phases):
            if phase.name in names[:i]:
                raise ValueError(f"phases.{i}.name is {phase.name!r} again; accepted: a name of its own")
            for k, batches in enumerate(phase.batches):
                where = f"phases.{i}.batches.{k}"
                for name in batches.weights:
                    if name not in self.data.sources:
                        raise ValueError(
                            f"{where}.weights names {short(name)}; accepted: {', '.join(self.data.sources)}"
                        )
                if not any(batches.weights.values()):
                    raise ValueError(f"{where}.weights adds up to 0; accepted: at least one weight above 0")
                if batches.batch_size % self.accumulation:
                    raise ValueError(
                        f"{where}.batch_size is {batches.batch_size}; accepted: a multiple of accumulation, "
                        f"{self.accumulation}"
                    )
        return self

    @model_validator(mode="after")
    def check_network(self) -> "Recipe":
        """What the phases ask for is something that the generator and the critic have."""
        config = self.build_config()
        name, network, critic = config.architecture, GENERATORS[config.architecture], CRITICS[config.critic]
        for setting in ("backbone_weights", "extractor_weights"):
            if getattr(self, setting) and not getattr(network, setting.replace("weights", "parts")):
                raise ValueError(f"{setting} is {getattr(self, setting)!r}; accepted with {name}: null")
        for field, needed in network.backbone_requires.items() if self.backbone_weights else ():
            if getattr(config, field) != needed:
                raise ValueError(
                    f"model.{field} is {getattr(config, field)!r}; accepted with backbone_weights: {needed!r}"
                )
        for i, phase in enumerate(self.phases):
            objective = phase.objective
            for term in objective.weighted:
                if refusal := self.refuses_term(term, config):
                    weight = objective.weights[term]
                    raise ValueError(f"phases.{i}.objective.weights.{term} is {weight:g}; accepted {refusal}")
            if objective.is_adversarial and objective.penalty_weight and critic.bounds_slope:
                raise ValueError(
                    f"phases.{i}.objective.penalty_weight is {objective.penalty_weight:g}; accepted with model.critic "
                    f"{config.critic}: 0, its layers bound its slope"
                )
            shares = {"generator": network.backbone_parts, "critic": ()}
            for kind, parts in shares.items():
                share = getattr(phase, f"{kind}_optimizer").backbone_learning_rate_share
                if share != 1 and not parts:
                    raise ValueError(
                        f"phases.{i}.{kind}_optimizer.backbone_learning_rate_share is {share:g}; accepted with this "
                        f"{kind}, which has no backbone: 1"
                    )
            for k, batches in enumerate(phase.batches):
                refusal = network.refuses_batch(batches.batch_size, max(batches.shape), config.image_size)
                if refusal:
                    raise ValueError(f"phases.{i}.batches.{k}: {refusal}")
        return self

    def refuses_term(self, term: str, config: ChromaGANConfig) -> str | None:
        """With what a term would be accepted that the networks or the teacher cannot serve; `None` if they can."""
        network, needs = GENERATORS[config.architecture], TERMS[term].needs
        if "bins" in needs and not network.has_bins:
            return f"with {config.architecture}, which predicts no distribution over colors: 0"
        if "classes" not in needs:
            return None
        if not network.has_class_head:
            return f"with {config.architecture}, which has no class head: 0"
        if not config.class_head:
            return "with model.class_head false: 0"
        if self.teacher.kind == "none":
            return "with teacher.kind none: 0; others are vgg16, lite, auto and labels"
        if self.teacher.kind == "labels" and not any(source.use_labels for source in self.data.sources.values()):
            return "with teacher.kind labels: 0, or use_labels: true for one source"
        return None

    def build_config(self, **labels: Any) -> ChromaGANConfig:
        """The model's config; `labels` (id2label, label2id) come from the data. Unknown fields are refused."""
        for name, value in self.model.items():
            if not all(isinstance(each, SCALARS) for each in (value if isinstance(value, list) else [value])):
                raise SettingError(f"model.{name} is {short(value)}; accepted: a value, or a list of values")
        tables = {"architecture": GENERATORS, "critic": CRITICS}
        chosen = {name: self.model.get(name, getattr(ChromaGANConfig, name)) for name in tables}
        for name, table in tables.items():
            if not isinstance(chosen[name], str) or chosen[name] not in table:
                raise SettingError(f"model.{name} is {short(chosen[name])}; accepted: {', '.join(table)}")
        accepted = [*tables, *fields_read(**chosen)]
        for name in self.model:
            if name not in accepted:
                raise SettingError(
                    f"model.{name} is not read by architecture {chosen['architecture']} and critic "
                    f"{chosen['critic']}; accepted: {', '.join(accepted)}"
                )
        classes = self.model.get("num_labels", 1)
        if type(classes) is not int or not 1 <= classes <= MOST_CLASSES:
            raise SettingError(f"model.num_labels is {short(classes)}; accepted: 1 to {MOST_CLASSES}")
        settings = dict(self.model)
        if labels and settings.pop("num_labels", len(labels["id2label"])) != len(labels["id2label"]):
            raise SettingError(f"model.num_labels is {classes}; accepted here: {len(labels['id2label'])}")
        try:
            return ChromaGANConfig(**settings, **labels)
        except StrictDataclassError as error:  # a wrong type; several lines, of which the last says what is wrong
            raise SettingError(f"model: {str(error).strip().splitlines()[-1].strip()}") from error
        except ValueError as error:
            raise SettingError(f"model.{error}") from error

    def needs_features(self, phase: Phase) -> bool:
        """Whether a phase looks at frozen features of pictures."""
        projected = bool(CRITICS[self.build_config().critic].feature_widths)
        return "features" in phase.objective.needs or (phase.objective.is_adversarial and projected)

    @property
    def folder(self) -> Path:
        return Path(self.output or f"runs/{self.name}")


def load_recipe(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Reads a recipe file, applies `key=value` settings (dotted paths, YAML values) and checks the result.

    Raises:
        SettingError: one line naming the file or setting, what was found and what is accepted.
    """
    return load_settings(Recipe, path, overrides, name=Path(path).stem)


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML that `load_recipe` reads back."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
