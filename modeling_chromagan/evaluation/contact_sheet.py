"""Sheets of pictures beside each other: grids of training samples, captioned ones of an evaluation."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from ..color import rgb8_to_lab
from ..errors import UserError
from ..modeling_chromagan import ChromaGANGenerator
from ..rgb_spaces import lab_to_rgb8
from .colorizers import colorize, evaluation_mode
from .measurement import Evaluation
from .pictures import evenly_spaced, read_pictures
from .rows import color_batch

CELL = 192  # long side of a picture on a captioned sheet, in pixels
GAP = 6
WIDEST = 1300  # pixels that several rows side by side may take; a single row may be wider
CAPTION = 20  # height of a line of text
FIXED_SAMPLE = 8  # pictures that do not depend on any model
PICKED = 4  # worst, median and best pictures of a single model; of several models one each


def picture_grid(stacks: Sequence[torch.Tensor], columns: int = 4, enlarge: int = 2, gap: int = 4) -> Image.Image:
    """Draws pictures as one white sheet: the first of every stack side by side, then the second of every stack, ...

    Args:
        stacks: each (N, 3, H, W) uint8, for instance inputs, predictions and truths.
        columns: groups per row of the sheet.
        enlarge: whole factor by which pixels are repeated.
        gap: white pixels between groups and around them.

    Raises:
        ValueError: if the stacks differ in shape.
    """
    if len({tuple(stack.shape) for stack in stacks}) != 1:
        raise ValueError(f"stacks have shapes {[tuple(stack.shape) for stack in stacks]}; accepted: one shape")
    groups = torch.cat([stack.cpu() for stack in stacks], dim=3)  # (N, 3, H, stacks*W)
    groups = groups.repeat_interleave(enlarge, dim=2).repeat_interleave(enlarge, dim=3)
    groups = F.pad(groups, (0, gap, 0, gap), value=255)
    empty = torch.full((-len(groups) % columns, *groups.shape[1:]), 255, dtype=torch.uint8)
    cells = torch.cat((groups, empty)).unflatten(0, (-1, columns))  # (rows, columns, 3, h, w)
    sheet = cells.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)  # (3, rows*h, columns*w)
    sheet = F.pad(sheet, (gap, 0, gap, 0), value=255)
    return Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy())


def sample_grid(generator: ChromaGANGenerator, rgb: torch.Tensor, **layout: int) -> Image.Image:
    """Draws input, prediction and truth of photographs, (N, 3, H, W) uint8; `layout` is passed to `picture_grid`."""
    lab = rgb8_to_lab(rgb)
    with evaluation_mode(generator):
        prediction, _ = colorize(generator, lab[:, :1])
    grey = lab_to_rgb8(torch.cat((lab[:, :1], torch.zeros_like(lab[:, 1:])), dim=1))
    return picture_grid((grey, prediction, rgb), **layout)


def thumbnail(rgb: torch.Tensor) -> Image.Image:
    """A picture, (3, H, W) uint8, with its long side brought to `CELL` pixels; small ones grow by whole factors."""
    picture = Image.fromarray(rgb.permute(1, 2, 0).contiguous().cpu().numpy())
    long_side = max(picture.size)
    if long_side <= CELL // 2:
        factor = CELL // long_side
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    if long_side > CELL:
        size = tuple(max(1, round(side * CELL / long_side)) for side in picture.size)
        return picture.resize(size, Image.Resampling.LANCZOS)
    return picture


def captioned_sheet(
    title: str, columns: Sequence[str], sections: Sequence[tuple[str, Sequence[tuple[str, Sequence[Image.Image]]]]]
) -> Image.Image:
    """Draws a table of pictures: a column for each way they were made, rows under headings.

    Args:
        title: first line.
        columns: headings of the columns.
        sections: heading, and rows of caption and pictures, one for each column.
    """
    group_width = len(columns) * (CELL + GAP) + GAP
    abreast = max(1, WIDEST // group_width)  # rows that stand side by side where there are few columns
    width = abreast * group_width + GAP
    lines = [(heading, [rows[i : i + abreast] for i in range(0, len(rows), abreast)]) for heading, rows in sections]
    heights = [[max(picture.height for _, pictures in line for picture in pictures) for line in of] for _, of in lines]
    below = CAPTION if any(caption for _, rows in sections for caption, _ in rows) else 0
    height = GAP + 2 * CAPTION + sum(CAPTION + sum(h + below + GAP for h in section) for section in heights)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.font = ImageFont.load_default(size=13)

    y = GAP
    _write(draw, (GAP, y), title, width - 2 * GAP)
    y += CAPTION
    for number in range(abreast * len(columns)):
        group, column = divmod(number, len(columns))
        _write(draw, (GAP + group * group_width + column * (CELL + GAP), y), columns[column], CELL)
    y += CAPTION
    for (heading, of_section), line_heights in zip(lines, heights, strict=True):
        draw.rectangle((0, y, width, y + CAPTION - 3), fill="#dddddd")
        _write(draw, (GAP, y), heading, width - 2 * GAP)
        y += CAPTION
        for line, line_height in zip(of_section, line_heights, strict=True):
            for group, (caption, pictures) in enumerate(line):
                left = GAP + group * group_width
                for number, picture in enumerate(pictures):
                    sheet.paste(picture, (left + number * (CELL + GAP), y))
                _write(draw, (left, y + line_height + 1), caption, group_width - 2 * GAP)
            y += line_height + below + GAP
    return sheet


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, room: int) -> None:
    """Writes a line, shortened to so many pixels."""
    if draw.textlength(text) > room:
        while text and draw.textlength(text + "...") > room:
            text = text[:-1]
        text += "..."
    draw.text(place, text, fill="black")


def _colored_pictures(evaluation: Evaluation, positions: Sequence[int]) -> dict[int, tuple[str, list[Image.Image]]]:
    """Name of each measured picture, and what every row of the evaluation makes of it with the photograph behind.

    Reads and colors the pictures once more: none of them was kept.

    Raises:
        UserError: if some can no longer be read.
    """
    position_of = {evaluation.indices[position]: position for position in positions}
    drawn = {}
    for picture in read_pictures(evaluation.source, evaluation.protocol, sorted(position_of)):
        rgb = picture.rgb[None]
        lab = rgb8_to_lab(rgb)
        colored = [result.rgb[0] for result in color_batch(evaluation.rows, rgb, lab)]
        drawn[position_of[picture.index]] = (picture.name, [thumbnail(rgb) for rgb in (*colored, picture.rgb)])
    if missing := len(position_of) - len(drawn):
        raise UserError(f"{evaluation.source.title}: {missing} of the pictures can no longer be read; no sheet made")
    return drawn


def comparison_sheet(evaluation: Evaluation) -> Image.Image:
    """The fixed sample alone, a line of pictures for every model: what many models make of the same eight pictures."""
    drawn = _colored_pictures(evaluation, list(evenly_spaced(len(evaluation.indices), FIXED_SAMPLE)))
    ways = [*(row.name for row in evaluation.rows), "photograph"]
    lines = [(way, [("", [pictures[number] for _, pictures in drawn.values()])]) for number, way in enumerate(ways)]
    title = f"{evaluation.protocol.name}, {evaluation.source.title}"
    return captioned_sheet(title, [name for name, _ in drawn.values()], lines)


def evaluation_sheet(evaluation: Evaluation) -> Image.Image:
    """The contact sheet of an evaluation: a fixed sample, then each model's worst, median and best by PSNR."""
    rows = evaluation.rows
    count = len(evaluation.indices)
    sections = [("fixed sample", list(evenly_spaced(count, FIXED_SAMPLE)))]
    picked = PICKED if len(rows) == 2 else 1
    for row in rows[1:]:
        order = np.argsort(np.asarray(row.metrics.values["psnr"]), kind="stable").tolist()
        middle = max(0, (count - picked) // 2)
        name = row.name
        sections += [
            (f"{name}: worst by PSNR", order[:picked]),
            (f"{name}: median", order[middle : middle + picked]),
            (f"{name}: best", order[::-1][:picked]),
        ]
    drawn = _colored_pictures(evaluation, sorted({position for _, positions in sections for position in positions}))

    def line(position: int) -> tuple[str, list[Image.Image]]:
        name, pictures = drawn[position]
        scores = ", ".join(f"{row.name} {row.metrics.values['psnr'][position]:.2f}" for row in rows)
        return f"{name} - PSNR: {scores} dB", pictures

    return captioned_sheet(
        f"{evaluation.protocol.name}, {evaluation.source.title}, {count:,} pictures measured",
        [*(row.name for row in rows), "photograph"],
        [(heading, [line(position) for position in positions]) for heading, positions in sections],
    )


__all__ = ["captioned_sheet", "comparison_sheet", "evaluation_sheet", "picture_grid", "sample_grid", "thumbnail"]
