"""transformers' own tests of image processors, run on ours."""

import unittest

import pytest
from transformers_sources import run_suite

from modeling_chromagan import ChromaGANImageProcessor

SKIPPED = {
    "test_call_numpy_4_channels": "gives image_mean and image_std, which are refused: `encoding` says them",
    "test_new_models_require_torchvision_backend": "torchvision has no 16-bit pictures, and is not required",
    "test_pil_can_run_without_torchvision": "its script does not import this package",
}


@pytest.mark.slow
def test_transformers_own_tests_of_image_processors_pass(transformers_tests):
    common = transformers_tests.test_image_processing_common

    class Tester(common.ImageProcessingTester):
        def __init__(self, parent):
            # Sides of one length: pictures of different network sizes are no batch.
            settings = {"do_resize": True, "do_convert_rgb": True, "size": {"shortest_edge": 32, "longest_edge": 128}}
            super().__init__(parent, min_resolution=60, max_resolution=61, **settings)

        def _get_image_processing_classes(self):
            return {"pil": ChromaGANImageProcessor}

        def expected_output_image_shape(self, images):
            return 1, *super().expected_output_image_shape(images)[1:]

    class Suite(common.ImageProcessingTestMixin, unittest.TestCase):
        image_processor_tester_class = Tester
        test_cast_dtype = True

    run_suite(Suite, SKIPPED)
