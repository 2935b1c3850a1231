"""Finds, downloads and loads the model that a command was asked for; each fault is one line that names the model."""

import argparse
import contextlib
import gc
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import PACKAGED_WEIGHTS
from ..errors import first_line

if TYPE_CHECKING:
    from ..pipeline_chromagan import ChromaGANPipeline

FLOAT16_ON_CPU = "--dtype float16 needs a GPU; accepted on the CPU: auto, float32, bfloat16"


class UsageError(Exception):
    """What was asked for cannot be done on this machine; nothing has been done. Exit code 2."""


class ModelError(Exception):
    """The model cannot be loaded. Exit code 1."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from: a folder or a Hub id, and what messages call it."""

    place: str
    name: str


def find_model(option: str | None) -> ModelSource:
    """The model that the option, the environment or the package names, in this order.

    Raises:
        ModelError: if a look at the folder shows that this is no model.
    """
    from_environment = os.environ.get("CHROMAGAN_MODEL")
    if option is not None:
        model = ModelSource(os.path.expanduser(option), f"--model {option}")
    elif from_environment:
        model = ModelSource(os.path.expanduser(from_environment), f"CHROMAGAN_MODEL={from_environment}")
    else:
        model = ModelSource(str(PACKAGED_WEIGHTS), f"the packaged model {PACKAGED_WEIGHTS}")
    if os.path.isdir(model.place):
        check_model_folder(model.place, model.name)
    elif os.path.exists(model.place):
        raise ModelError(f"{model.name} is a file; accepted: a folder or a Hub id")
    elif not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model.place):
        raise ModelError(f"{model.name}: there is no such folder, and a Hub id has the form owner/name")
    return model


def check_model_folder(folder: str, name: str) -> None:
    """Raises ModelError if a file is missing that every model folder has."""
    for file in ("config.json", "preprocessor_config.json"):
        if not Path(folder, file).is_file():
            raise ModelError(f"{name} has no {file}")
    if not any(Path(folder).glob("*.safetensors")):
        raise ModelError(f"{name} has no weights (*.safetensors)")


def download_model(model: ModelSource) -> str:
    """The folder on this machine that a Hub id was, or now is, downloaded to.

    Raises:
        ModelError: if there is no such model, or the Hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = snapshot_download(
            model.place,
            allow_patterns=["*.json", "*.safetensors"],
            ignore_patterns=["*/*"],  # no critic, no code
        )
    except RepositoryNotFoundError as error:
        reason = "no such folder, and no such model on the Hub (a private one needs `hf auth login`)"
        raise ModelError(f"{model.name}: {reason}") from error
    except LocalEntryNotFoundError as error:
        reason = "no such folder, not downloaded before, and the Hub cannot be reached"
        raise ModelError(f"{model.name}: {reason}") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(f"{model.name}: cannot be downloaded: {first_line(error)}") from error
    check_model_folder(folder, model.name)
    return folder


def load_colorizer(model: ModelSource, options: argparse.Namespace) -> "ChromaGANPipeline":
    """The pipeline that runs a model as the options say.

    Raises:
        UsageError: if the device is missing, or cannot compute in the chosen precision.
        ModelError: naming the model and what is wrong with it.
    """
    import torch

    from ..image_processing_chromagan import ChromaGANImageProcessor
    from ..modeling_chromagan import ChromaGANGenerator
    from ..pipeline_chromagan import ChromaGANPipeline

    # The imports left half a million objects that stay to the end; every later collection would look at all of them.
    gc.freeze()
    device = choose_device(options.device)
    if options.dtype == "float16" and device == "cpu":
        raise UsageError(FLOAT16_ON_CPU)
    dtype = torch.float32 if options.dtype == "auto" else getattr(torch, options.dtype)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))

    folder = model.place if os.path.isdir(model.place) else download_model(model)
    settings = {"size": options.working_size, "saturation": options.saturation, "borders": options.borders}
    settings["max_pixels"] = options.max_pixels
    try:
        processor = ChromaGANImageProcessor.from_pretrained(
            folder, **{name: value for name, value in settings.items() if value is not None}
        )
        generator, loading = ChromaGANGenerator.from_pretrained(
            folder, class_head=False, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
        generator.fold_batch_norms().to(dtype)
        colorizer = ChromaGANPipeline(generator, processor, device=torch.device(device))
    except Exception as error:  # damaged files surface as almost any type
        raise ModelError(f"{model.name} cannot be loaded: {first_line(error)}") from error
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])
        raise ModelError(f"{model.name} lacks {len(missing)} of its weights, {missing[0]} among them")
    return colorizer


def choose_device(name: str) -> str:
    """The name of a torch device that is there."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    kind, _, index = name.partition(":")
    if not there[kind] or (index and int(index) >= torch.cuda.device_count()):
        accepted = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise UsageError(f"--device {name} is not there; accepted here: auto, {accepted}")
    return name


def usable_cores() -> int:
    """The cores that this process may use: its affinity, and the quota of its container (Linux)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, round(int(quota) / int(period))))  # ValueError for "max", no quota
    return cores
