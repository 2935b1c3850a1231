"""What a model makes of photographs that may be published, before and after, as one picture for its card."""

from pathlib import Path
from typing import Any

from PIL import Image

from ..image_loading import load_image
from ..picture_formats import FORMAT_OF_SUFFIX
from ..sources.models import load_pipeline

WIDTH, HEIGHT = 400, 300  # pixels that a picture may take
GAP = 8
ABREAST = 2  # photographs in a row


def draw_examples(model: Path, folder: Path) -> Image.Image:
    """Colorizes the photographs of a folder, as a user would, and draws each before and after on one sheet.

    Raises:
        UserError: naming a photograph or a model that cannot be read.
    """
    pipeline = load_pipeline(model)
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in FORMAT_OF_SUFFIX]
    pairs = []
    for path in paths:
        original = load_image(path)
        after: Any = pipeline(original)
        pairs.append([fit(picture) for picture in (original.as_shown("RGB"), after.convert("RGB"))])
    rows = [pairs[start : start + ABREAST] for start in range(0, len(pairs), ABREAST)]
    heights = [max(pair[0].height for pair in row) for row in rows]
    width = GAP + ABREAST * (2 * WIDTH + 2 * GAP)
    sheet = Image.new("RGB", (width, GAP + sum(height + GAP for height in heights)), "white")
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for number, pair in enumerate(row):
            for half, picture in enumerate(pair):
                left = GAP + number * (2 * WIDTH + 2 * GAP) + half * (WIDTH + GAP // 2)
                sheet.paste(picture, (left + (WIDTH - picture.width) // 2, top + (height - picture.height) // 2))
        top += height + GAP
    return sheet


def fit(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    picture.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    return picture


__all__ = ["draw_examples"]
