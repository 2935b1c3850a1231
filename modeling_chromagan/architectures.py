"""The generators and critics that a config names.

A new one is a subclass of `layers.GeneratorNetwork` or `layers.CriticNetwork` with a line in its table.
"""

from typing import Any

from .critic_patchgan import PatchCritic, Pix2PixCritic
from .critic_projected import ProjectedCritic
from .generator_autoencoder import LabAutoencoder, RGBAutoencoder
from .generator_chromagan import FusionGenerator
from .generator_inception import InceptionResNetV2Autoencoder, InceptionV3Autoencoder
from .generator_lite import LiteGenerator
from .generator_resnet_unet import ResNetUNet
from .generator_unet import Pix2PixUNet
from .layers import CriticNetwork, GeneratorNetwork

GENERATORS: dict[str, type[GeneratorNetwork]] = {
    "chromagan_lite": LiteGenerator,
    "chromagan": FusionGenerator,
    "pix2pix_unet": Pix2PixUNet,
    "resnet_unet": ResNetUNet,
    "basic": RGBAutoencoder,
    "labnet": LabAutoencoder,
    "preincep": InceptionV3Autoencoder,
    "preres": InceptionResNetV2Autoencoder,
}
CRITICS: dict[str, type[CriticNetwork]] = {
    "chromagan": PatchCritic,
    "pix2pix": Pix2PixCritic,
    "projected": ProjectedCritic,
}


def fields_read(architecture: str, critic: str) -> dict[str, Any]:
    """The config fields that a generator and a critic are built from, as of `Network.fields`."""
    return GENERATORS[architecture].fields() | CRITICS[critic].fields()


def fields_of_all() -> dict[str, Any]:
    """The config fields that any generator or critic is built from."""
    networks = (*GENERATORS.values(), *CRITICS.values())
    return {name: default for network in networks for name, default in network.fields().items()}


__all__ = ["CRITICS", "GENERATORS", "fields_of_all", "fields_read"]
