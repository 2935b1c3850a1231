"""ChromaGAN photo colorization as transformers models.

Importing it makes config, generator and image processor known to transformers' auto classes, so that
`AutoModelForImageToImage.from_pretrained(FOLDER)` needs no `trust_remote_code`. That takes no time: torch and
transformers are imported when a name that needs them is first used.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .auto_registration import register_when_imported

if TYPE_CHECKING:
    from .architectures import GENERATORS
    from .configuration_chromagan import ChromaGANConfig
    from .errors import ImageLoadError
    from .image_loading import LoadedImage, load_image
    from .image_processing_chromagan import ChromaGANImageProcessor
    from .modeling_chromagan import ChromaGANCritic, ChromaGANGenerator, ColorizationOutput, CriticOutput
    from .pipeline_chromagan import ChromaGANPipeline

__version__ = "0.1.0"

PACKAGED_WEIGHTS = Path(__file__).parent / "pretrained"

__all__ = [
    "GENERATORS",
    "PACKAGED_WEIGHTS",
    "ChromaGANConfig",
    "ChromaGANCritic",
    "ChromaGANGenerator",
    "ChromaGANImageProcessor",
    "ChromaGANPipeline",
    "ColorizationOutput",
    "CriticOutput",
    "ImageLoadError",
    "LoadedImage",
    "load_image",
]

# The module of each public name that is imported when it is used; the names are those of the imports above.
_MODULES = {
    "architectures": ("GENERATORS",),
    "configuration_chromagan": ("ChromaGANConfig",),
    "errors": ("ImageLoadError",),
    "image_loading": ("LoadedImage", "load_image"),
    "image_processing_chromagan": ("ChromaGANImageProcessor",),
    "modeling_chromagan": ("ChromaGANCritic", "ChromaGANGenerator", "ColorizationOutput", "CriticOutput"),
    "pipeline_chromagan": ("ChromaGANPipeline",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            globals()[name] = value = getattr(importlib.import_module(f".{module}", __name__), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_when_imported()
