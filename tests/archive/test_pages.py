"""The pictures of a file, between reading and writing."""

import numpy as np

from modeling_chromagan.archive.metadata import Metadata
from modeling_chromagan.archive.pages import ColoredPage


def test_a_page_without_metadata_says_nothing():
    assert ColoredPage(np.zeros((2, 3, 3), np.uint8)).metadata == Metadata()
