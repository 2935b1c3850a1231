"""Makes the classes of this package known to transformers' auto classes, once somebody imports those.

To register them here and now would import torch and transformers, seconds that `chromagan --help` does not have.
"""

import functools
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

AUTO_CLASSES = "transformers.models.auto.configuration_auto"  # which the others import


def register_when_imported() -> None:
    """Registers at once if transformers' auto classes are there, else as soon as they are."""
    if AUTO_CLASSES in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, ImportWatcher())


def register() -> None:
    """Makes config, generator, critic and image processor known to transformers' auto classes."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageToImage

    from .configuration_chromagan import ChromaGANConfig
    from .image_processing_chromagan import ChromaGANImageProcessor
    from .modeling_chromagan import ChromaGANCritic, ChromaGANGenerator

    AutoConfig.register(ChromaGANConfig.model_type, ChromaGANConfig, exist_ok=True)
    AutoModel.register(ChromaGANConfig, (ChromaGANGenerator, ChromaGANCritic), exist_ok=True)  # the config tells which
    AutoModelForImageToImage.register(ChromaGANConfig, ChromaGANGenerator, exist_ok=True)
    AutoImageProcessor.register(
        ChromaGANConfig, image_processor_classes={"pil": ChromaGANImageProcessor}, exist_ok=True
    )


class ImportWatcher(MetaPathFinder):
    """Calls `register` after the import, of transformers' modules or ours, in whose course the auto classes came.

    Not before its end: modules that are half imported could not be imported from.
    """

    def __init__(self) -> None:
        self.running = 0

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(("transformers.", f"{__package__}.")):
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((spec for finder in others if (spec := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            loader.exec_module = functools.partial(self.execute, loader.exec_module)
        return spec

    def execute(self, execute_module: Callable[[ModuleType], None], module: ModuleType) -> None:
        """Runs a module's code, and registers if this was the outermost import and brought the auto classes."""
        self.running += 1
        try:
            execute_module(module)
        finally:
            self.running -= 1
        if not self.running and AUTO_CLASSES in sys.modules and self in sys.meta_path:
            sys.meta_path.remove(self)
            register()
