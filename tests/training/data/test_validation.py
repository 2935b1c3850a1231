"""Pictures of the validation are held out, and have colors."""

import pytest
from drawn_pictures import make_dataset, picture_bytes, write_parquet
from streams import streamed_source

from modeling_chromagan.errors import SettingError
from modeling_chromagan.sources.picture_files import decode_picture
from modeling_chromagan.training.data.sources import open_sources
from modeling_chromagan.training.data.validation import collect_validation
from modeling_chromagan.training.recipe import Data, Source


def settings_for(path, **source) -> Data:
    return Data(sources={"pictures": Source(path=str(path), **source)}, validation={"fraction": 0.25, "samples": 4})


def test_held_out_pictures_are_not_trained_on(tmp_path):
    write_parquet(tmp_path / "table", [picture_bytes(i) for i in range(8)])
    photographs, validation, _ = open_sources(settings_for(tmp_path / "table"), seed=0)
    trained = {photographs["pictures"].picture(i)[0].tobytes() for i in range(6)}
    assert len(trained) == 6
    assert not trained & {picture.tobytes() for picture in validation}


def test_a_held_out_sub_folder_is_not_trained_on(tmp_path):
    for i, name in enumerate(["a.png", "train/b.png", "held/c.png", "held/deep/d.png"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture_bytes(i))
    settings = settings_for(tmp_path)
    settings.validation.split = "held"
    photographs, validation, _ = open_sources(settings, seed=0)
    assert {photographs["pictures"].picture(i)[0].tobytes() for i in range(9)} == {
        decode_picture(picture_bytes(i)).tobytes() for i in range(2)
    }
    assert len(validation) == 2
    settings.validation.split = "none"
    with pytest.raises(SettingError, match="no sub-folder 'none'; accepted: train, which is all of its pictures"):
        open_sources(settings, seed=0)


def test_a_split_that_does_not_exist_is_named(tmp_path, stream_folder):
    write_parquet(tmp_path / "table", [picture_bytes(i) for i in range(4)])
    for source, accepted in (
        (Source(path=str(tmp_path / "table")), "train"),
        (streamed_source(stream_folder), "train, valid"),
    ):
        settings = Data(sources={"pictures": source}, validation={"split": "val"})
        with pytest.raises(SettingError, match=rf"^data\.validation\.split is 'val'; accepted: {accepted}$"):
            open_sources(settings, seed=0)
    with pytest.raises(SettingError, match=r"^data\.validation\.split is null; accepted: a split's name while tiny"):
        open_sources(Data(sources={"tiny": streamed_source(stream_folder)}), seed=0)


def test_only_colorful_pictures_are_measured_on():
    """More so than those that are learned from: a gray picture says nothing about a colorizer."""
    settings = Data(sources={}, validation={"samples": 2}, min_colorfulness=0)
    rows = make_dataset([picture_bytes(0, "L"), b"broken", *(picture_bytes(i) for i in range(1, 5))])
    pictures = collect_validation(rows, Source(path="x"), settings, None)
    assert [picture.tobytes() for picture in pictures] == [decode_picture(picture_bytes(i)).tobytes() for i in (1, 2)]
    with pytest.raises(SettingError, match=r"^data\.validation: no readable color picture"):
        collect_validation(make_dataset([picture_bytes(0, "L")]), Source(path="x"), settings, None)
