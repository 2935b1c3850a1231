"""Sheets of pictures: where each one stands, and which ones are picked."""

import numpy as np
import pytest
import torch
from small_evaluation import PromptedGenerator, as_batch, photograph, tiny_config

from modeling_chromagan.color import rgb8_to_lab
from modeling_chromagan.errors import UserError
from modeling_chromagan.evaluation.colorizers import GREY, load_colorizers
from modeling_chromagan.evaluation.contact_sheet import comparison_sheet, evaluation_sheet, picture_grid, sample_grid
from modeling_chromagan.evaluation.measurement import Evaluation
from modeling_chromagan.evaluation.pictures import open_source
from modeling_chromagan.evaluation.protocols import PROTOCOLS


def test_grid_places_every_picture():
    shades = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    sheet = np.asarray(picture_grid((shades, shades + 10), columns=2, enlarge=3, gap=1))
    assert sheet.shape == (1 + 2 * 7, 1 + 2 * 13, 3)
    assert np.unique(sheet[1:7, 1:7]).tolist() == [0]
    assert np.unique(sheet[1:7, 7:13]).tolist() == [10]
    assert np.unique(sheet[1:7, 14:20]).tolist() == [1]
    assert np.unique(sheet[8:14, 1:7]).tolist() == [2]
    assert np.unique(sheet[8:14, 14:]).tolist() == [255]
    assert np.unique(sheet[7]).tolist() == [255]


def test_sample_grid_shows_input_prediction_and_truth():
    batch = as_batch([photograph(0), photograph(1)])
    truth = rgb8_to_lab(batch["rgb"])
    generator = PromptedGenerator(tiny_config()).prompt(truth[:, 1:]).train()
    sheet = np.asarray(sample_grid(generator, batch["rgb"], columns=1, enlarge=1, gap=0)).astype(int)
    gray, prediction, photographs = np.split(sheet, 3, axis=1)
    assert np.ptp(gray, axis=2).max() <= 2
    assert np.abs(prediction - photographs).max() <= 3
    assert np.array_equal(photographs[:64], np.array(photograph(0)))
    assert generator.training


def test_contact_sheet_shows_the_worst_and_the_best(small_model, small_data):
    protocol = PROTOCOLS["tiny64"]
    evaluation = Evaluation(
        load_colorizers([str(small_model)], protocol), open_source(str(small_data), "valid"), protocol
    )
    evaluation.run(show_progress=False)
    sections = {}

    def keep(title, columns, of):
        sections.update(dict(of))
        return columns

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modeling_chromagan.evaluation.contact_sheet.captioned_sheet", keep)
        assert evaluation_sheet(evaluation) == [GREY, small_model.name, "photograph"]
        patch.setattr("modeling_chromagan.evaluation.contact_sheet.read_pictures", lambda *of: iter(()))
        with pytest.raises(UserError, match=f"^{small_data.name}, valid: {len(evaluation.indices)} of the pictures"):
            evaluation_sheet(evaluation)  # for instance a drive that was unplugged since they were measured
    assert [len(rows) for rows in sections.values()] == [4, 4, 4, 4]
    scores = evaluation.rows[1].metrics.values["psnr"]
    (worst, *_), (best, *_) = (sections[f"{small_model.name}: {which}"] for which in ("worst by PSNR", "best"))
    assert f"{min(scores):.2f} dB" in worst[0]
    assert f"{max(scores):.2f} dB" in best[0]
    truth = np.asarray(sections["fixed sample"][0][1][-1])  # 64 pixels drawn three times as large
    assert np.array_equal(truth[1::3, 1::3], np.array(photograph(0)))


def test_comparison_shows_one_picture_of_every_model_below_the_other(small_model, small_data, monkeypatch):
    protocol = PROTOCOLS["tiny64"]
    source = open_source(str(small_data), "valid")
    evaluation = Evaluation(load_colorizers([str(small_model)] * 2, protocol), source, protocol)
    evaluation.run(show_progress=False)
    drawn = []
    monkeypatch.setattr("modeling_chromagan.evaluation.contact_sheet.captioned_sheet", lambda *of: drawn.extend(of))
    comparison_sheet(evaluation)
    title, names, sections = drawn
    assert title == f"tiny64, {small_data.name}, valid"
    lines = [(way, pictures) for way, ((_, pictures),) in sections]
    assert [way for way, _ in lines] == [GREY, small_model.name, f"{small_model.name}-2", "photograph"]
    assert len(names) == len(evaluation.indices)
    assert all(len(pictures) == len(names) for _, pictures in lines)
    for one, other in zip(lines[1][1], lines[2][1], strict=True):
        assert np.array_equal(np.array(one), np.array(other))
    assert np.array_equal(np.array(lines[-1][1][0])[1::3, 1::3], np.array(photograph(0)))
