"""Finds, downloads and loads a generator or image processor; each fault is one line that names it."""

import argparse
import contextlib
import functools
import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import PACKAGED_WEIGHTS
from ..errors import SettingError, UserError, first_line

if TYPE_CHECKING:
    import torch

    from ..image_processing_chromagan import ChromaGANImageProcessor
    from ..modeling_chromagan import ChromaGANGenerator
    from ..pipeline_chromagan import ChromaGANPipeline

FLOAT16_ON_CPU = "--dtype float16 needs a GPU; accepted on the CPU: auto, float32, bfloat16"
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
HUB_ID = r"(?P<id>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w./-]+))?"
FILES = (CONFIG, PROCESSOR, "model*.safetensors", "model.safetensors.index.json")  # and no code
DOWNLOAD_TRIES = 3  # of a connection that is lost in the middle of a file


class ModelError(UserError):
    """A model cannot be found or loaded."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from: a folder, or a Hub id and perhaps a revision of it, and what messages call it."""

    place: str
    name: str
    revision: str | None = None

    @property
    def label(self) -> str:
        """What results say of it: its Hub id with the revision, or the folder's own name without its place."""
        if not os.path.isdir(self.place):
            return f"{self.place}@{self.revision}" if self.revision else self.place
        if os.path.samefile(self.place, PACKAGED_WEIGHTS):
            return "the weights that come with the package"
        return Path(self.place).resolve().name


def find_model(option: str | None, option_name: str = "--model ") -> ModelSource:
    """The model that the option, the environment or the package names, in this order.

    `option_name` is what messages put before the option's value.

    Raises:
        ModelError: if a look at the folder shows that this is no model.
    """
    from_environment = os.environ.get("CHROMAGAN_MODEL")
    if option is not None:
        model = locate_model(os.path.expanduser(option), f"{option_name}{option}")
    elif from_environment:
        model = locate_model(os.path.expanduser(from_environment), f"CHROMAGAN_MODEL={from_environment}")
    else:
        model = locate_model(str(PACKAGED_WEIGHTS), f"the packaged model {PACKAGED_WEIGHTS}")
    if os.path.isdir(model.place):
        check_model_folder(model.place, model.name, CONFIG, PROCESSOR)
    return model


def locate_model(place: str | os.PathLike, name: str | None = None) -> ModelSource:
    """A folder that exists, or a Hub id, perhaps with `@` and a revision; messages call it `name`, else by its place.

    Raises:
        ModelError: if it is neither.
    """
    place = os.fspath(place)
    name = name or place
    if os.path.isfile(place):
        raise ModelError(f"{name} is a file; accepted: a folder or a Hub id")
    if os.path.isdir(place):
        return ModelSource(place, name)
    hub_id = re.fullmatch(HUB_ID, place)
    if hub_id is None:
        raise ModelError(
            f"{name}: there is no such folder, and a Hub id has the form owner/name or owner/name@revision"
        )
    return ModelSource(hub_id["id"], name, hub_id["revision"])


def check_model_folder(folder: str, name: str, *files: str) -> None:
    """Raises ModelError if one of `files`, or any weights, are missing."""
    for file in files:
        if not Path(folder, file).is_file():
            raise ModelError(f"{name} has no {file}")
    if not any(Path(folder).glob("*.safetensors")):
        raise ModelError(f"{name} has no weights (*.safetensors)")


def download_model(model: ModelSource, folders: Sequence[str] = ()) -> str:
    """The folder of a model on this machine, to which a Hub id was, or now is, downloaded.

    Where the Hub cannot be reached or refuses, what was downloaded before is taken.

    Args:
        model: what to download.
        folders: in the repository, with other models that are wanted too.

    Raises:
        ModelError: if there is no such model, or the Hub cannot be reached.
    """
    if os.path.isdir(model.place):
        return model.place
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RevisionNotFoundError

    wanted = [*FILES, *(f"{folder}/{name}" for folder in folders for name in FILES)]
    snapshot = functools.partial(snapshot_download, model.place, revision=model.revision, allow_patterns=wanted)
    try:
        # Asked first, because a snapshot is waited for without an end where somebody listens and nobody answers.
        HfApi().model_info(model.place, revision=model.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except RevisionNotFoundError as error:
        raise ModelError(f"{model.name}: {reason_of(error, model)}") from error
    except Exception as error:  # the client's own errors share no public base
        try:
            return snapshot(local_files_only=True)
        except LocalEntryNotFoundError:
            raise ModelError(f"{model.name}: {reason_of(error, model)}") from error
    attempt = 0
    while True:
        attempt += 1
        try:
            return snapshot()
        except Exception as error:
            # The client goes on after most losses of a connection by itself, but not after a reset.
            if attempt == DOWNLOAD_TRIES or isinstance(error, HfHubHTTPError | OSError | ValueError):
                raise ModelError(f"{model.name}: cannot be downloaded: {first_line(error)}") from error


def reason_of(error: Exception, model: ModelSource) -> str:
    """Why the Hub gave no model, in words for whoever asked for it."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, GatedRepoError):
        return "access to it is restricted; accepted: `hf auth login`, or HF_TOKEN, of an account that has access"
    if isinstance(error, RepositoryNotFoundError):
        return "no such folder, and no such model on the Hub (a private one needs `hf auth login`)"
    if isinstance(error, RevisionNotFoundError):
        return f"the model has no revision {model.revision}; accepted: a branch, a tag or a commit of it"
    if status == 401:
        return "the Hub does not accept the token; accepted: `hf auth login`, or HF_TOKEN, with a valid one"
    if status is not None and status < 500:
        return f"cannot be downloaded: {first_line(error)}"
    return "no such folder, not downloaded before, and the Hub cannot be reached"


def load_generator(model: ModelSource | str | os.PathLike, **config: Any) -> "ChromaGANGenerator":
    """The generator of a folder or Hub id in float32 on the CPU, in evaluation mode.

    Args:
        model: what `locate_model` returns or takes.
        config: fields that replace those of its config, such as `class_head=False`.

    Raises:
        ModelError: naming the model, if it is not there, damaged, of another kind, or lacks weights.
    """
    import torch

    from ..modeling_chromagan import ChromaGANGenerator

    model = model if isinstance(model, ModelSource) else locate_model(model)
    folder = download_model(model)
    check_model_folder(folder, model.name, CONFIG)
    with named_errors(model, folder):
        return ChromaGANGenerator.from_pretrained(folder, dtype=torch.float32, **config).eval()


def find_stored_dtype(model: ModelSource | str | os.PathLike) -> str:
    """Which type most numbers of a model have in its files, as torch calls it, such as `float16`."""
    from safetensors import safe_open

    model = model if isinstance(model, ModelSource) else locate_model(model)
    numbers: Counter[str] = Counter()
    for path in Path(download_model(model)).glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                tensor = file.get_slice(name)
                numbers[tensor.get_dtype()] += math.prod(tensor.get_shape())
    ((kind, _),) = numbers.most_common(1)
    return re.sub(r"^(B?)F(\d+)$", lambda found: f"{found[1].lower()}float{found[2]}", kind)


def hash_weights(generator: "ChromaGANGenerator") -> str:
    """SHA-256 of a generator's tensors in float32, by which files know which weights they are about.

    The same for all copies of a file, wherever they lie; another for weights that were rounded to fewer bits.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy())
    return digest.hexdigest()


def hash_model_files(folder: str | os.PathLike) -> str:
    """SHA-256 of what a folder's results depend on: its config, its image processor and its weights.

    Unlike `hash_weights` it asks nothing of torch, and tells two settings of the image processor apart.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(folder).iterdir()):
        if path.name in (CONFIG, PROCESSOR) or (path.suffix == ".safetensors" and path.name.startswith("model")):
            with path.open("rb") as file:
                digest.update(f"{path.name}\0".encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def load_image_processor(model: ModelSource | str | os.PathLike, **settings: Any) -> "ChromaGANImageProcessor":
    """The image processor of a folder or Hub id; `settings` replace its own where they are not `None`.

    Raises:
        ModelError: naming the model, if it has none, or a damaged one.
    """
    from ..image_processing_chromagan import ChromaGANImageProcessor

    model = model if isinstance(model, ModelSource) else locate_model(model)
    folder = download_model(model)
    if not Path(folder, PROCESSOR).is_file():
        raise ModelError(f"{model.name} has no {PROCESSOR}")
    with named_errors(model, folder):
        return ChromaGANImageProcessor.from_pretrained(
            folder, **{name: value for name, value in settings.items() if value is not None}
        )


@contextlib.contextmanager
def named_errors(model: ModelSource, folder: str) -> Iterator[None]:
    """Whatever is raised inside becomes a ModelError; damaged files surface as almost any type."""
    try:
        yield
    except Exception as error:
        reason = first_line(error).removeprefix(f"{folder}: ")
        raise ModelError(f"{model.name} cannot be loaded: {reason}") from error


def load_pipeline(
    model: ModelSource | str | os.PathLike, device: str = "cpu", dtype: "torch.dtype | None" = None, **settings: Any
) -> "ChromaGANPipeline":
    """The fastest pipeline of a folder or Hub id: without class head, with folded batch norms.

    Args:
        model: what `locate_model` returns or takes.
        device: a torch device that is there.
        dtype: of the weights in memory; `None` is float32.
        settings: of the image processor, instead of its own where they are not `None`.

    Raises:
        ModelError: naming the model and what is wrong with it.
    """
    import torch

    from ..pipeline_chromagan import ChromaGANPipeline

    model = model if isinstance(model, ModelSource) else locate_model(model)
    model = replace(model, place=download_model(model))  # once for both
    processor = load_image_processor(model, **settings)
    generator = load_generator(model, class_head=False).fold_batch_norms().to(dtype or torch.float32)
    with named_errors(model, model.place):
        return ChromaGANPipeline(generator, processor, device=torch.device(device))


def load_colorizer(model: ModelSource, options: argparse.Namespace) -> "ChromaGANPipeline":
    """The pipeline that runs a model as the options of `chromagan colorize` say.

    Raises:
        SettingError: if the device is missing, or cannot compute in the chosen precision.
        ModelError: naming the model and what is wrong with it.
    """
    import torch

    device = choose_device(options.device)
    if options.dtype == "float16" and device == "cpu":
        raise SettingError(FLOAT16_ON_CPU)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
    return load_pipeline(
        model,
        device,
        None if options.dtype == "auto" else getattr(torch, options.dtype),
        size=options.working_size,
        saturation=options.saturation,
        borders=options.borders,
        max_pixels=options.max_pixels,
    )


def choose_device(name: str) -> str:
    """The name of a torch device that is there."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    kind, _, index = name.partition(":")
    if not there[kind] or (index and int(index) >= torch.cuda.device_count()):
        accepted = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise SettingError(f"--device {name} is not there; accepted here: auto, {accepted}")
    return name


def usable_cores() -> int:
    """The cores that this process may use: its affinity, and the quota of its container (Linux)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, round(int(quota) / int(period))))  # ValueError for "max", no quota
    return cores
