"""ChromaGAN photo colorization as transformers models.

Importing it registers config, generator and image processor with transformers' auto classes, so that
`AutoModelForImageToImage.from_pretrained(FOLDER)` needs no `trust_remote_code`; it does nothing else.
"""

import gc
from pathlib import Path

from .errors import ImageLoadError

# These imports make half a million objects that all stay; looking for garbage among them takes a tenth of their time.
collecting = gc.isenabled()
gc.disable()
try:
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageToImage

    from .architectures import GENERATORS
    from .configuration_chromagan import ChromaGANConfig
    from .image_loading import LoadedImage, load_image
    from .image_processing_chromagan import ChromaGANImageProcessor
    from .modeling_chromagan import ChromaGANCritic, ChromaGANGenerator, ColorizationOutput, CriticOutput
    from .pipeline_chromagan import ChromaGANPipeline
finally:
    if collecting:
        gc.enable()

AutoConfig.register(ChromaGANConfig.model_type, ChromaGANConfig, exist_ok=True)
AutoModelForImageToImage.register(ChromaGANConfig, ChromaGANGenerator, exist_ok=True)
AutoImageProcessor.register(ChromaGANConfig, image_processor_classes={"pil": ChromaGANImageProcessor}, exist_ok=True)

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
