"""Small generators, and what is seen of them."""

import torch
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

from modeling_chromagan import GENERATORS, ChromaGANConfig, ChromaGANGenerator

# Smallest networks of the same structure; a generator takes of these what its constructor names.
TINY = {
    "image_size": 64,
    "width_multiplier": 0.0625,
    "global_hidden_sizes": (8, 6),
    "class_hidden_sizes": (8,),
    "num_labels": 5,
    "trunk": "lite0",
    "decoder_widths": (32, 32, 32, 32, 32),
}
RANGES = {"unit8": (0.0, 1.0), "symmetric": (-1.0, 1.0)}  # of luminance and of chroma, by encoding


def build(name: str = "chromagan", seed: int = 0, **settings) -> ChromaGANGenerator:
    """A tiny generator whose running statistics and shifts are not the neutral ones of a new network."""
    torch.manual_seed(seed)
    generator = ChromaGANGenerator(ChromaGANConfig.from_dict(TINY | settings | {"architecture": name})).eval()
    with torch.no_grad():
        for module in generator.modules():
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.weight, module.running_var):
                    values.uniform_(0.5, 1.5)
                for values in (module.bias, module.running_mean):
                    values.normal_(0.0, 0.2)
            elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.bias is not None:
                module.bias.normal_(0.0, 0.1)
    return generator


def bare(name: str, **settings) -> nn.Module:
    """The network of a generator, with random weights."""
    return GENERATORS[name].from_config(ChromaGANConfig(architecture=name, **settings))


def pictures(count: int, height: int, width: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(seed))


def inputs_and_outputs(generator: nn.Module, module: nn.Module, luminance: torch.Tensor):
    """What reaches and what leaves one module while the generator colors `luminance`."""
    seen = []
    handle = module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        generator(luminance)
    handle.remove()
    return seen[0]


def count_of_weights(**settings) -> int:
    with torch.device("meta"):
        generator = ChromaGANGenerator(ChromaGANConfig(**settings))
    counted = {key: tensor for key, tensor in generator.state_dict().items() if not key.endswith("batches_tracked")}
    return sum(tensor.numel() for tensor in counted.values())


def resnet18() -> ResNetForImageClassification:
    """The library's own ResNet-18, as in `microsoft/resnet-18`, a quarter as wide, with random running statistics."""
    torch.manual_seed(7)
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [2, 2, 2, 2], "num_labels": 3}
    network = ResNetForImageClassification(ResNetConfig(layer_type="basic", **sizes)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 1.5)
            for values in (module.bias.data, module.running_mean):
                values.normal_(0.0, 0.2)
    return network
