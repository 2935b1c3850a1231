"""transformers' own tests of models and configs, on generators and critics."""

import unittest

import pytest
import torch
from transformers_sources import run_suite

from modeling_chromagan import ChromaGANConfig, ChromaGANCritic, ChromaGANGenerator

TINY = {
    "trunk": "lite0",
    "width_multiplier": 0.125,
    "decoder_widths": [64] * 5,
    "image_size": 32,
    "global_hidden_sizes": [8],
    "class_hidden_sizes": [8],
    "num_labels": 5,
    "critic_width_multiplier": 0.0625,
}
# Features of pictures are (B, C, H, W), and there are no tokens; tests/test_modeling_chromagan.py has tests of both.
SKIPPED = {
    "test_hidden_states_output": "expects as many vectors in every state, as transformers have",
    "test_model_get_set_embeddings": "expects embeddings of tokens",
    "test_model_weights_reload_no_missing_tied_weights": "loads a file without weights, which is refused",
}
SKIPPED_OF_CRITICS = SKIPPED | {
    "test_retain_grad_hidden_states_attentions": "expects states; a critic gives scores alone",
}


class TinyModel:
    """What the mixin asks of a model: its config, and a batch."""

    batch_size = 2

    def __init__(self, model: type, settings: dict):
        self.channels = 1 if model is ChromaGANGenerator else 3
        self.is_training = model is ChromaGANGenerator  # a critic's loss is of two batches, and the training's
        self.settings = settings

    def get_config(self) -> ChromaGANConfig:
        return ChromaGANConfig.from_dict(TINY | self.settings)

    def prepare_config_and_inputs_for_common(self) -> tuple[ChromaGANConfig, dict[str, torch.Tensor]]:
        inputs = {"pixel_values": torch.rand(self.batch_size, self.channels, 32, 32)}
        if self.settings.get("critic") == "projected":
            sides = zip((24, 40, 112, 320), (8, 4, 2, 1), strict=True)
            inputs["features"] = tuple(torch.rand(self.batch_size, width, side, side) for width, side in sides)
        return self.get_config(), inputs


def case_of(mixin: type, model: type, settings: dict) -> type[unittest.TestCase]:
    class Case(mixin, unittest.TestCase):
        all_model_classes = (model,)
        test_resize_embeddings = False
        has_attentions = False

        def setUp(self):
            self.model_tester = TinyModel(model, settings)

        def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
            if return_labels:
                inputs_dict = inputs_dict | {"labels": torch.full((TinyModel.batch_size, 2, 32, 32), 0.4)}
            return inputs_dict

    return Case


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["chromagan_lite", "chromagan", "pix2pix_unet"])
def test_common_model_tests_of_generators(transformers_tests, architecture):
    mixin = transformers_tests.test_modeling_common.ModelTesterMixin
    run_suite(case_of(mixin, ChromaGANGenerator, {"architecture": architecture}), SKIPPED)


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["chromagan", "pix2pix", "projected"])
def test_common_model_tests_of_critics(transformers_tests, critic):
    mixin = transformers_tests.test_modeling_common.ModelTesterMixin
    skipped = dict(SKIPPED_OF_CRITICS)
    if critic == "projected":
        skipped["test_init_weights_can_init_buffers"] = "random, as the weights they belong to"
    run_suite(case_of(mixin, ChromaGANCritic, {"critic": critic}), skipped)


@pytest.mark.slow
def test_common_config_tests(transformers_tests):
    tester = transformers_tests.test_configuration_common.ConfigTester(
        unittest.TestCase(), ChromaGANConfig, has_text_modality=False, common_properties=["architecture", "encoding"]
    )
    tester.run_common_tests()
