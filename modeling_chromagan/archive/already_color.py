"""Whether a picture is in color already, or gray with a tone."""

import math

import numpy as np
import torch
from PIL import Image

from ..color import rgb8_to_lab

SIDE = 96  # of the copy that is judged
LEVELS = 16  # of lightness, whose mean color is the tone
LEAST = 6.0  # chroma beyond the tone, at the most colored twentieth


def shows_color(colors: Image.Image) -> bool:
    """Whether an RGB picture has colors besides the tone of its grays."""
    small = colors.reduce(math.ceil(max(colors.size) / SIDE)) if max(colors.size) > SIDE else colors
    lab = rgb8_to_lab(torch.from_numpy(np.array(small)).permute(2, 0, 1)[None])[0].flatten(1).double()  # (3, n)
    level = (lab[0] * (LEVELS / 100.001)).long()
    counts = torch.bincount(level, minlength=LEVELS).clamp(min=1)
    tone = torch.stack([torch.bincount(level, weights=channel, minlength=LEVELS) / counts for channel in lab[1:]])
    beyond = (lab[1:] - tone[:, level]).norm(dim=0)
    return bool(beyond.quantile(0.95) > LEAST)
