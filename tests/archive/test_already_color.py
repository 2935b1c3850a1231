"""Whether a picture is in color already, or gray with a tone."""

import numpy as np
from encoded_pictures import random_gray, random_rgb
from PIL import Image

from modeling_chromagan.archive.already_color import shows_color


def test_colors_show_and_a_tone_does_not():
    assert shows_color(Image.fromarray(random_rgb()))
    gray = np.dstack([random_gray()] * 3)
    assert not shows_color(Image.fromarray(gray))
    assert not shows_color(Image.fromarray((gray * (1.0, 0.85, 0.6)).astype(np.uint8)))
