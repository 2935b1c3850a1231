"""Sources are found, opened and described: tables, streams and folders of pictures."""

import numpy as np
import pytest
import torch
from drawn_pictures import CLASS_NAMES, picture_bytes, sideways, sunset, swapped, write_parquet
from streams import streamed_source

from modeling_chromagan.errors import SettingError
from modeling_chromagan.sources.picture_files import decode_picture
from modeling_chromagan.training.data.batches import BatchPlan
from modeling_chromagan.training.data.sources import describe_rejected, open_sources
from modeling_chromagan.training.recipe import Batches, Data, Source


def settings_for(path, **source) -> Data:
    return Data(sources={"pictures": Source(path=str(path), **source)}, validation={"fraction": 0.25, "samples": 4})


def test_parquet_and_streamed_parquet_and_folder_are_equal_inputs(tmp_path):
    contents = [picture_bytes(i) for i in range(8)]
    write_parquet(tmp_path / "table", contents, labels=[0, 1, 2, 0, 1, 2, 0, 1])
    write_parquet(tmp_path / "table", contents[:3], labels=[0, 1, 2], split="valid")
    (tmp_path / "folder").mkdir()
    for i, content in enumerate(contents):
        (tmp_path / "folder" / f"{i}.png").write_bytes(content)

    photographs, validation, names = open_sources(settings_for(tmp_path / "table", use_labels=True), seed=0)
    assert names == ["first", "second", "third"]
    assert len(validation) == 2
    assert photographs["pictures"].picture(0)[1] in (0, 1, 2)

    _, validation, names = open_sources(settings_for(tmp_path / "folder"), seed=0)
    assert names is None
    assert len(validation) == 2

    streamed = settings_for(tmp_path / "table", streaming=True, use_labels=True)
    streamed.validation.split = "valid"
    photographs, validation, _ = open_sources(streamed, seed=0)
    assert len(validation) == 3
    seen = {photographs["pictures"].picture(i)[0].tobytes() for i in range(8)}
    assert len(seen) == 8, "a whole pass of the stream"
    photographs["pictures"].picture(8)  # and on into the next


@pytest.mark.parametrize("save", [sideways, swapped])
def test_pictures_are_upright_and_in_srgb(tmp_path, save):
    """Those that are learned from and those of the validation: the file says how its pixels are meant."""
    for i in range(2):
        (tmp_path / f"{i}.jpg").write_bytes(save(sunset()))
    photographs, validation, _ = open_sources(settings_for(tmp_path), seed=0)
    batch = BatchPlan(photographs, [Batches(size=40, batch_size=1, weights={"pictures": 1})], 1, 0, 0, 1)[0]
    for shown in (batch["rgb"][0], torch.from_numpy(np.array(validation[0])).permute(2, 0, 1)):
        above, below = shown[:, 4, 20].tolist(), shown[:, -4, 20].tolist()
        assert above == pytest.approx((60, 110, 200), abs=8)
        assert below == pytest.approx((200, 130, 60), abs=8)


def test_a_folder_is_all_of_its_pictures(tmp_path, capsys):
    """Whatever they are called: `datasets` takes names like these for splits, and then there is no other."""
    names = [
        "test_01.png",
        "ADE_val_1.jpg",
        "deep/er/validation.png",
        "train/2.PNG",
        "x.png",
        ".hidden/y.png",
        ".z.png",
    ]
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture_bytes(i))
    (tmp_path / "notes.txt").write_text("no picture")
    settings = settings_for(tmp_path)
    settings.validation.fraction = 0.01
    photographs, validation, _ = open_sources(settings, seed=0)
    assert photographs["pictures"].size == 4
    assert len(validation) == 1
    seen = {photographs["pictures"].picture(i)[0].tobytes() for i in range(4)} | {validation[0].tobytes()}
    assert seen == {decode_picture(picture_bytes(i)).tobytes() for i in range(5)}
    assert "data: pictures: all 5 pictures" in capsys.readouterr().out


def test_streams_are_opened_with_size_names_and_validation(stream_folder, capsys):
    settings = Data(sources={"tiny": streamed_source(stream_folder)}, validation={"split": "valid", "samples": 5})
    photographs, validation, names = open_sources(settings, seed=0)
    assert photographs["tiny"].size == 90
    assert names == CLASS_NAMES
    assert len(validation) == 5
    line = f"data: tiny streamed from {stream_folder}: 90 rows in 10 row groups, mixed from 10 groups at a time, 90"
    assert line in capsys.readouterr().out
    again = open_sources(settings, seed=0)[0]["tiny"]
    assert [again.picture(i)[1] for i in range(5)] == [photographs["tiny"].picture(i)[1] for i in range(5)]


def test_what_is_streamed_names_its_source(stream_folder):
    for change, line in (
        ({"split": "test"}, r": .*, split 'test' is none; accepted: train, valid"),
        ({"image_column": "photo"}, r"\.image_column is 'photo'; accepted: one of image, label"),
        ({"path": str(stream_folder / "none.parquet")}, r": .*none\.parquet: there is no such folder or file; .*"),
    ):
        source = streamed_source(stream_folder).model_copy(update=change)
        with pytest.raises(SettingError, match=rf"^data\.sources\.tiny{line}$"):
            open_sources(Data(sources={"tiny": source}, validation={"split": "valid"}), seed=0)


def test_a_damaged_file_names_its_source(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no parquet file")
    source = Source(path=str(tmp_path / "train.parquet"), streaming=True)
    with pytest.raises(SettingError, match=r"^data\.sources\.tiny: .*train\.parquet: .*[Pp]arquet"):
        open_sources(Data(sources={"tiny": source}, validation={"split": "valid"}), seed=0)


def test_a_folder_without_a_picture_or_that_is_not_there_is_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(SettingError, match="holds no pictures; accepted: parquet files or pictures"):
        open_sources(settings_for(tmp_path), seed=0)
    with pytest.raises(SettingError, match=r"^data\.sources\.pictures: .*none: there is no such folder or file"):
        open_sources(settings_for(tmp_path / "none"), seed=0)


def test_what_is_unfit_in_a_folder_is_said_before_the_training(tmp_path, capsys):
    files = [("gray.png", picture_bytes(0, "L")), ("small.png", picture_bytes(1, size=(48, 20)))]
    files += [(f"{i}.jpg", b"no picture") for i in range(4)]
    files += [(f"good{i}.png", picture_bytes(10 + i)) for i in range(6)]
    for name, content in files:
        (tmp_path / name).write_bytes(content)
    open_sources(settings_for(tmp_path), seed=0)
    assert (
        "data: pictures: 6 of 12 pictures; left out: 4 broken (0.jpg, 1.jpg, 2.jpg, ...), 1 tiny (small.png), "
        "1 grayscale (gray.png)\n"
    ) in capsys.readouterr().out
    open_sources(settings_for(tmp_path), seed=0, say=None)
    assert not capsys.readouterr().out


def test_missing_data_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("CHROMAGAN_DATA", raising=False)
    with pytest.raises(
        SettingError, match=r"data\.sources\.pictures: no folder 'nowhere' in CHROMAGAN_DATA \(unset\)"
    ):
        open_sources(Data(sources={"pictures": Source(local="nowhere")}), seed=0)
    write_parquet(tmp_path / "table", [picture_bytes(i) for i in range(4)])
    with pytest.raises(SettingError, match="image_column is 'photo'; accepted: one of image"):
        open_sources(settings_for(tmp_path / "table", image_column="photo"), seed=0)
    with pytest.raises(SettingError, match="label_column is 'label'; accepted: one of image"):
        open_sources(settings_for(tmp_path / "table", use_labels=True), seed=0)
    with pytest.raises(SettingError, match="split 'test'"):
        open_sources(settings_for(tmp_path / "table", split="test"), seed=0)
    wrong_split = settings_for(tmp_path / "table")
    wrong_split.validation.split = "val"
    with pytest.raises(SettingError, match=r"data\.validation\.split is 'val'; accepted: train"):
        open_sources(wrong_split, seed=0)


def test_shared_data_sets_open(data_root, monkeypatch):
    settings = Data(
        sources={"tiny": Source(path=str(data_root / "tiny-imagenet"), streaming=True, use_labels=True)},
        validation={"split": "valid", "samples": 2},
    )
    photographs, validation, names = open_sources(settings, seed=0)
    assert len(names) == 200
    assert [picture.size for picture in validation] == [(64, 64)] * 2
    assert photographs["tiny"].picture(0)[0].size == (64, 64)


def test_what_was_passed_over_is_said():
    assert describe_rejected({"broken": 0, "tiny": 0}) == "nothing was passed over"
    assert describe_rejected({"broken": 1200, "tiny": 0, "toned": 3}) == (
        "passed over 1,203 times: 1,200 broken, 3 toned; other pictures took these places"
    )
