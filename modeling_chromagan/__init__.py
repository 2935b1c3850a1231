"""ChromaGAN photo colorization as transformers models."""

from .configuration_chromagan import ChromaGANConfig
from .image_processing_chromagan import ChromaGANImageProcessor
from .modeling_chromagan import ChromaGANCritic, ChromaGANGenerator

__all__ = ["ChromaGANConfig", "ChromaGANCritic", "ChromaGANGenerator", "ChromaGANImageProcessor"]
