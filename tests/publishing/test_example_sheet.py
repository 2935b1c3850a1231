"""The sheet of a card: every photograph of a folder, gray and colorized, side by side."""

import numpy as np
from PIL import Image

from modeling_chromagan.publishing.example_sheet import draw_examples


def test_every_photograph_stands_there_before_and_after(model_folder, tmp_path):
    for number, size in enumerate([(300, 200), (120, 240), (100, 100)]):
        Image.radial_gradient("L").resize(size).save(tmp_path / f"{number}.png")
    (tmp_path / "CREDITS.md").write_text("Drawn.")
    sheet = np.asarray(draw_examples(model_folder, tmp_path)).astype(int)
    inked = (sheet.min(axis=2) < 250).any(axis=0)
    starts = np.flatnonzero(inked[1:] & ~inked[:-1])
    assert len(starts) >= 4, "two photographs in a row, each twice"
    colored = np.ptp(sheet, axis=2) > 3
    columns = np.flatnonzero(colored.any(axis=0))
    middle = sheet.shape[1] // 2
    assert not colored[:, : middle // 2 - 10].any(), "a picture before has colors"
    assert (columns < middle).any()
    assert (columns > middle).any()
    assert (sheet[:4] == 255).all()
