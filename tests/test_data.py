"""Batches are a function of seed and step; unsuitable pictures are passed over and counted."""

import io

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PillowImage
from PIL import ImageCms

from modeling_chromagan.color import encode_ab, rgb_to_lab
from modeling_chromagan.training import data, pixels
from modeling_chromagan.training.data import BatchPlan, Photographs
from modeling_chromagan.training.evaluation_pictures import open_source, read_pictures
from modeling_chromagan.training.flaws import find_flaw, hue_deviation
from modeling_chromagan.training.metrics import colorfulness
from modeling_chromagan.training.picture_files import decode_picture
from modeling_chromagan.training.pixels import RandomSquares, RowRandom, degrade, to_network_units
from modeling_chromagan.training.protocols import PROTOCOLS
from modeling_chromagan.training.recipe import Batches, Data, Degradation, RecipeError, Source
from modeling_chromagan.training.sources import open_sources


def picture_bytes(number: int, mode: str = "RGB", size: tuple[int, int] = (48, 40)) -> bytes:
    random = np.random.default_rng(number)
    colors = random.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    picture = PillowImage.fromarray(colors).resize(size, PillowImage.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def make_dataset(contents: list[bytes], labels: list[int] | None = None) -> Dataset:
    columns = {"image": [{"bytes": content, "path": None} for content in contents]}
    features = {"image": Image(decode=False)}
    if labels is not None:
        columns["label"], features["label"] = labels, ClassLabel(names=["first", "second", "third"])
    return Dataset.from_dict(columns, features=Features(features))


def write_parquet(folder, contents, labels=None, split="train"):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    data = make_dataset(contents, labels).cast_column("image", Image())
    data.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


def random_crops(picture, size: int, min_crop: float, drawn) -> torch.Tensor:
    """A square of one picture for every four numbers drawn."""
    squares = RandomSquares(len(drawn), size)
    for place, numbers in enumerate(drawn):
        squares.add(place, picture, min_crop, numbers)
    return squares.finish()


def settings_for(path, **source) -> Data:
    return Data(sources={"pictures": Source(path=str(path), **source)}, validation={"fraction": 0.25, "samples": 4})


def test_every_picture_once_per_epoch_in_a_new_order():
    data = make_dataset([picture_bytes(i) for i in range(12)], labels=[i % 3 for i in range(12)])
    photographs = Photographs(data, Source(path="x", use_labels=True), Data(sources={}), seed=3)
    epochs = [[np.asarray(photographs.picture(12 * e + i)[0]).tobytes() for i in range(12)] for e in range(2)]
    assert len(set(epochs[0])) == 12
    assert set(epochs[0]) == set(epochs[1])
    assert epochs[0] != epochs[1]
    again = Photographs(data, Source(path="x", use_labels=True), Data(sources={}), seed=3)
    assert np.asarray(again.picture(17)[0]).tobytes() == epochs[1][5]


def test_unsuitable_pictures_are_replaced_and_counted():
    bad = [picture_bytes(100, "L"), b"no picture at all", picture_bytes(101)[:200], picture_bytes(102, size=(48, 20))]
    good = [picture_bytes(i) for i in range(4)]
    photographs = Photographs(make_dataset(bad + good), Source(path="x"), Data(sources={}), seed=0)
    allowed = {np.asarray(PillowImage.open(io.BytesIO(content))).tobytes() for content in good}
    for position in range(8):
        picture, label = photographs.picture(position)
        assert picture.tobytes() in allowed
        assert label == -1
    assert dict(photographs.rejected) == {"broken": 2, "tiny": 1, "grayscale": 1, "almost gray": 0, "toned": 0}


def test_nothing_but_gray_pictures_ends_with_one_line():
    photographs = Photographs(make_dataset([picture_bytes(0, "L")]), Source(path="here"), Data(sources={}), seed=0)
    with pytest.raises(RecipeError, match="here: 100 pictures in a row are unsuitable, the last one grayscale"):
        photographs.picture(0)


def with_tint(number: int, tint: tuple[float, float, float], mix: float = 1.0) -> PillowImage.Image:
    """A picture whose colors are replaced, as far as `mix` says, by one tint of its gray values."""
    color = decode_picture({"bytes": picture_bytes(number, size=(48, 40))})
    gray = np.asarray(color.convert("L"), dtype=float)[..., None]
    toned = np.clip(gray * np.array(tint), 0, 255)
    return PillowImage.fromarray((mix * toned + (1 - mix) * np.asarray(color)).round().astype(np.uint8))


def test_flaws_are_found_and_named():
    settings = Data(sources={})
    assert find_flaw(with_tint(1, (1, 1, 1)), settings) == "grayscale"
    assert find_flaw(with_tint(1, (1, 1, 1), mix=0.97), settings) == "almost gray"
    assert find_flaw(with_tint(1, (1.1, 0.95, 0.75)), settings) == "toned"
    assert find_flaw(with_tint(1, (1.1, 0.95, 0.75), mix=0.3), settings) is None
    assert find_flaw(with_tint(1, (1, 1, 1)).resize((64, 31)), settings) == "tiny"


def test_thresholds_of_flaws_are_settings():
    gray, toned = with_tint(1, (1, 1, 1)), with_tint(1, (1.1, 0.95, 0.75))
    assert find_flaw(gray, Data(sources={}, min_colorfulness=0)) is None
    assert find_flaw(toned, Data(sources={}, min_hue_deviation=0)) is None
    assert find_flaw(toned, Data(sources={}, min_colorfulness=60)) == "almost gray"
    assert find_flaw(with_tint(1, (0.5, 1, 1), 0.3), Data(sources={}, min_side=41)) == "tiny"


def test_a_picture_near_the_threshold_is_measured_whole():
    """Most are judged by a sixteenth of their pixels: here those are a little over the threshold, the whole is not."""
    pixels = np.asarray(with_tint(1, (1, 1, 1), mix=0.7)).copy()
    pixels[1::4] = pixels[1::4].mean(axis=2, keepdims=True).round()  # gray rows that the sixteenth does not see
    whole = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    seen, measured = float(colorfulness(whole[..., ::4, ::4])), float(colorfulness(whole))
    assert measured < seen
    assert find_flaw(PillowImage.fromarray(pixels), Data(sources={}, min_colorfulness=(seen + measured) / 2)) == (
        "almost gray"
    )


def test_hue_deviation_is_that_of_the_circle():
    """Against the formula; neither the strength of the colors nor pixels without color count."""
    colors = np.array([[[190, 120, 120], [120, 120, 200]]], dtype=np.uint8)
    pixels = torch.from_numpy(colors).permute(2, 0, 1)[None]
    a, b = rgb_to_lab(pixels.float() / 255)[0, 1:].flatten(1).T.double().numpy()
    resultant = np.linalg.norm(a / np.linalg.norm(a) + b / np.linalg.norm(b)) / 2
    assert hue_deviation(pixels).item() == pytest.approx(np.degrees(np.sqrt(-2 * np.log(resultant))), rel=1e-4)
    with_gray = torch.cat([pixels, torch.full_like(pixels, 90)], dim=3)
    assert hue_deviation(with_gray).item() == pytest.approx(hue_deviation(pixels).item(), rel=1e-6)
    assert hue_deviation(torch.full((1, 3, 4, 4), 90, dtype=torch.uint8)).item() == np.inf
    assert hue_deviation(pixels[..., :1]).item() == pytest.approx(0, abs=0.1)


def plan(ranks=1, rank=0, **kinds) -> BatchPlan:
    sources = {
        name: Photographs(
            make_dataset([picture_bytes(100 * k + i) for i in range(10)]),
            Source(path=name, min_crop=0.5),
            Data(sources={}),
            seed=k,
        )
        for k, name in enumerate(("one", "two"))
    }
    batches = [
        Batches(size=32, batch_size=8, weights={"one": 0.75, "two": 0.25}),
        Batches(size=64, batch_size=2, weights={"two": 1}),
    ]
    return BatchPlan(sources, batches, steps=10, seed=0, rank=rank, ranks=ranks)


def test_a_batch_depends_on_its_step_alone():
    straight = plan()
    batches = [straight[step] for step in range(5)]
    torch.testing.assert_close(plan()[4]["rgb"], batches[4]["rgb"], rtol=0, atol=0)
    assert batches[0]["rgb"].shape == (8, 3, 32, 32)
    assert batches[1]["rgb"].shape == (2, 3, 64, 64)
    assert (batches[0]["kind"], batches[1]["kind"]) == (0, 1)
    assert not torch.equal(batches[0]["rgb"], batches[2]["rgb"])


def test_how_many_pictures_are_judged_together_changes_nothing_and_is_bounded(monkeypatch):
    """Flawed pictures among them; photographs of many megapixels would not fit into memory a batch at a time."""
    gray = PillowImage.fromarray(np.full((40, 48, 3), 90, dtype=np.uint8))
    content = io.BytesIO()
    gray.save(content, "PNG")
    cells = [content.getvalue() if i % 3 == 0 else picture_bytes(i) for i in range(12)]
    judged = []

    def batch():
        source = Photographs(make_dataset(cells), Source(path="one"), Data(sources={}))
        judged.clear()
        return BatchPlan({"one": source}, [Batches(size=32, batch_size=12, weights={"one": 1})], 1, 0, 0, 1)[0], dict(
            source.rejected
        )

    original = data.find_flaws
    monkeypatch.setattr(
        data, "find_flaws", lambda pictures, *of: judged.append(len(pictures)) or original(pictures, *of)
    )
    together, rejected = batch()
    assert max(judged) == 12
    monkeypatch.setattr(data, "READ_AHEAD_PIXELS", 3 * 48 * 40)
    monkeypatch.setattr(pixels, "WAITING_PIXELS", 5 * 40 * 40)
    in_parts, rejected_in_parts = batch()
    assert max(judged) == 3
    assert torch.equal(together["rgb"], in_parts["rgb"])
    assert rejected == rejected_in_parts
    assert rejected["grayscale"] == 4


def test_processes_share_a_batch_without_overlap():
    whole = plan()[2]["rgb"]
    parts = torch.cat([plan(ranks=2, rank=rank)[2]["rgb"] for rank in range(2)])
    key = [picture.numpy().tobytes() for picture in whole]
    assert sorted(key) == sorted(picture.numpy().tobytes() for picture in parts)


def test_sources_keep_their_shares_and_an_epoch_shows_every_picture_once():
    """Whatever kinds of batches draw from a source: they go through one order of it, one after the other."""
    batches = plan()
    batches.kinds = [
        Batches(size=32, batch_size=7, weights={"one": 0.75, "two": 0.25}),
        Batches(size=64, batch_size=3, weights={"one": 0.1, "two": 0.9}),
    ]
    steps = [batches.places(step) for step in range(200)]
    assert [len(places) for places in steps] == [7, 3] * 100
    assert sum(name == "two" for places in steps[::2] for name, _ in places) == 175
    assert sum(name == "two" for places in steps[1::2] for name, _ in places) == 270
    for source in ("one", "two"):
        positions = [position for places in steps for name, position in places if name == source]
        assert positions == list(range(len(positions)))


def test_batch_size_must_divide():
    with pytest.raises(RecipeError, match="batch_size is 8; accepted: a multiple of the 3 processes"):
        plan(ranks=3)


def test_crops_stay_inside_and_sometimes_mirror():
    ramp = np.zeros((40, 60, 3), dtype=np.uint8)
    ramp[..., 0] = np.arange(60) * 4
    picture = PillowImage.fromarray(ramp)
    crops = random_crops(picture, 32, 0.6, np.random.default_rng(0).random((40, 4)))
    assert crops.shape == (40, 3, 32, 32)
    mirrored = [crop[0, :, 0].float().mean() > crop[0, :, -1].float().mean() for crop in crops]
    assert 8 < sum(mirrored) < 32
    assert len({int(crop[0].int().sum()) for crop in crops}) > 20


def test_squares_of_many_sides_stand_at_their_own_places(monkeypatch):
    """Those of one side are resized together, and no more wait than the limit allows."""
    pictures = [PillowImage.new("RGB", (40 + 3 * (i % 4), 44), (10 * i, 0, 255 - 10 * i)) for i in range(20)]
    for limit in (2**22, 5 * 40 * 40):
        monkeypatch.setattr(pixels, "WAITING_PIXELS", limit)
        squares = RandomSquares(len(pictures), 32)
        for place, picture in enumerate(pictures):
            squares.add(place, picture, 0.5, np.random.default_rng(place % 7).random(4))
            assert squares.pixels < limit
        expected = torch.tensor([(10 * i, 0, 255 - 10 * i) for i in range(20)])
        assert (squares.finish() == expected[:, :, None, None]).all()


@pytest.mark.parametrize("size", [20, 32, 57])
def test_crops_are_resized_as_pillow_does(size):
    picture = decode_picture({"bytes": picture_bytes(2, size=(48, 40))})
    for drawn, box in (((1, 0, 0, 1), (0, 0, 40, 40)), ((0, 1 - 1e-9, 1 - 1e-9, 1), (28, 20, 48, 40))):
        expected = np.asarray(picture.crop(box).resize((size, size), PillowImage.Resampling.BICUBIC))
        expected = torch.from_numpy(expected.copy()).permute(2, 0, 1)
        for mirror in (False, True):
            (crop,) = random_crops(picture, size, 0.5, [(*drawn[:3], 1 - mirror)])
            difference = ((crop.flip(2) if mirror else crop).int() - expected.int()).abs()
            assert difference.max() <= 2
            assert difference.float().mean() < 0.1


@pytest.mark.parametrize("fault", ["gamma", "fade", "blur", "grain", "frame"])
def test_each_degradation_changes_luminance_and_keeps_colors(fault):
    rgb = torch.randint(0, 256, (16, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    lab = rgb_to_lab(rgb.float() / 255)
    degraded = degrade(lab, Degradation(**{fault: 1.0}), RowRandom(1, len(lab)))
    assert torch.isfinite(degraded).all()
    assert degraded[:, 0].min() >= 0
    assert degraded[:, 0].max() <= 100
    assert ((degraded - lab)[:, 0].abs().flatten(1).amax(1) > 0.5).sum() >= 12
    if fault == "frame":
        changed = (degraded[:, 1:] != lab[:, 1:]).any(dim=1)
        assert (degraded[:, 1:][changed[:, None].expand(-1, 2, -1, -1)] == 0).all()
        assert not changed[:, 4:-4, 4:-4].any(), "at most an eighth of a side"
    else:
        assert torch.equal(degraded[:, 1:], lab[:, 1:])
    untouched = degrade(lab, Degradation(), RowRandom(1, len(lab)))
    torch.testing.assert_close(untouched, lab, atol=1e-3, rtol=0)


def test_network_units_are_those_of_the_encoding():
    rgb = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    lab = rgb_to_lab(rgb.float() / 255)
    luminance, ab = to_network_units(rgb, "unit8")
    torch.testing.assert_close(luminance, lab[:, :1] / 100)
    torch.testing.assert_close(ab, encode_ab(lab[:, 1:], "unit8"))
    assert to_network_units(rgb, "symmetric")[0].min() < 0


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


def sunset() -> PillowImage.Image:
    """Blue above, orange below, 48 wide and 40 high: it shows which way is up, and what was done to its colors."""
    pixels = np.zeros((40, 48, 3), dtype=np.uint8)
    pixels[:20], pixels[20:] = (60, 110, 200), (200, 130, 60)
    return PillowImage.fromarray(pixels)


def sideways(picture: PillowImage.Image) -> dict:
    """What a camera saves that was held upright: the picture turned, and how to turn it back."""
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    picture.transpose(PillowImage.Transpose.ROTATE_90).save(file, "JPEG", quality=95, exif=exif)
    return {"bytes": file.getvalue(), "path": None}


def swapped(picture: PillowImage.Image) -> dict:
    """What a program saves whose working space is not sRGB; here red and blue of sRGB changed places."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = srgb.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")
    red, green, blue = picture.split()
    file = io.BytesIO()
    PillowImage.merge("RGB", (blue, green, red)).save(file, "JPEG", quality=95, icc_profile=profile)
    return {"bytes": file.getvalue(), "path": None}


@pytest.mark.parametrize("save", [sideways, swapped])
def test_pictures_are_upright_and_in_srgb_wherever_they_are_read(tmp_path, save):
    """In training, among the validation pictures and in an evaluation: the file says how its pixels are meant."""
    for i in range(2):
        (tmp_path / f"{i}.jpg").write_bytes(save(sunset())["bytes"])
    photographs, validation, _ = open_sources(settings_for(tmp_path), seed=0)
    batch = BatchPlan(photographs, [Batches(size=40, batch_size=1, weights={"pictures": 1})], 1, 0, 0, 1)[0]
    evaluated = [picture.rgb for picture in read_pictures(open_source(str(tmp_path), "valid"), PROTOCOLS["native"])]
    for shown in (batch["rgb"][0], torch.from_numpy(np.array(validation[0])).permute(2, 0, 1), *evaluated):
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


def test_a_split_of_a_folder_is_one_of_its_sub_folders(tmp_path):
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
    with pytest.raises(RecipeError, match="no sub-folder 'none'; accepted: train, which is all of its pictures"):
        open_sources(settings, seed=0)


def test_folders_name_classes_only_where_they_are_asked_to(tmp_path):
    for i, name in enumerate(["cat/1.png", "dog/1.png", "dog/2.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture_bytes(i))
    photographs, _, names = open_sources(settings_for(tmp_path, use_labels=True), seed=0)
    assert names == ["cat", "dog"]
    assert {photographs["pictures"].picture(i)[1] for i in range(2)} <= {0, 1}
    assert open_sources(settings_for(tmp_path), seed=0)[2] is None
    (tmp_path / "loose.png").write_bytes(picture_bytes(3))
    with pytest.raises(RecipeError, match=r"loose\.png lies in no sub-folder"):
        open_sources(settings_for(tmp_path, use_labels=True), seed=0)


def test_a_folder_without_a_picture_or_that_is_not_there_is_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(RecipeError, match="holds no pictures; accepted: parquet files or pictures"):
        open_sources(settings_for(tmp_path), seed=0)
    with pytest.raises(RecipeError, match=r"path is '.*none'; accepted: a folder that is there, or a Hub id"):
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


def test_every_table_of_a_folder_without_a_card_is_read(tmp_path):
    """`datasets` itself takes those that follow its pattern, and passes over the others."""
    write_parquet(tmp_path, [picture_bytes(i) for i in range(4)])
    for i, name in enumerate(("train-things", "more")):
        make_dataset([picture_bytes(10 + i)]).cast_column("image", Image()).to_parquet(
            tmp_path / "data" / f"{name}.parquet"
        )
    write_parquet(tmp_path, [picture_bytes(20)], split="valid")
    for streaming in (False, True):
        settings = settings_for(tmp_path, streaming=streaming)
        settings.validation.split = "valid"
        photographs, validation, _ = open_sources(settings, seed=0)
        assert photographs["pictures"].size == 6
        assert len(validation) == 1
    assert open_source(str(tmp_path), "train").count() == 6


def test_held_out_pictures_are_not_trained_on(tmp_path):
    write_parquet(tmp_path / "table", [picture_bytes(i) for i in range(8)])
    photographs, validation, _ = open_sources(settings_for(tmp_path / "table"), seed=0)
    trained = {photographs["pictures"].picture(i)[0].tobytes() for i in range(6)}
    assert len(trained) == 6
    assert not trained & {picture.tobytes() for picture in validation}


def test_missing_data_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("CHROMAGAN_DATA", raising=False)
    with pytest.raises(RecipeError, match=r"data\.sources\.pictures: no folder 'nowhere' in CHROMAGAN_DATA \(unset\)"):
        open_sources(Data(sources={"pictures": Source(local="nowhere")}), seed=0)
    write_parquet(tmp_path / "table", [picture_bytes(i) for i in range(4)])
    with pytest.raises(RecipeError, match="image_column is 'photo'; accepted: one of image"):
        open_sources(settings_for(tmp_path / "table", image_column="photo"), seed=0)
    with pytest.raises(RecipeError, match="label_column is 'label'; accepted: one of image"):
        open_sources(settings_for(tmp_path / "table", use_labels=True), seed=0)
    with pytest.raises(RecipeError, match="split 'test'"):
        open_sources(settings_for(tmp_path / "table", split="test"), seed=0)
    wrong_split = settings_for(tmp_path / "table")
    wrong_split.validation.split = "val"
    with pytest.raises(RecipeError, match=r"data\.validation\.split is 'val'; accepted: train"):
        open_sources(wrong_split, seed=0)


def test_optional_sources_are_left_out_with_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("CHROMAGAN_DATA", raising=False)
    write_parquet(tmp_path / "table", [picture_bytes(i) for i in range(4)])
    settings = Data(
        sources={"pictures": Source(path=str(tmp_path / "table")), "more": Source(local="more", optional=True)},
        validation={"fraction": 0.25, "samples": 1},
    )
    photographs, _, _ = open_sources(settings, seed=0)
    assert list(photographs) == ["pictures"]
    assert "more left out" in capsys.readouterr().out


def test_local_copy_comes_before_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("CHROMAGAN_DATA", str(tmp_path))
    write_parquet(tmp_path / "pictures", [picture_bytes(i) for i in range(4)])
    settings = Data(
        sources={"pictures": Source(path="someone/on-the-hub", local="pictures")},
        validation={"fraction": 0.25, "samples": 1},
    )
    photographs, _, _ = open_sources(settings, seed=0)
    assert photographs["pictures"].picture(0)[0].size == (48, 40)


def test_shared_data_sets_open(data_root, monkeypatch):
    settings = Data(
        sources={"tiny": Source(path=str(data_root / "tiny-imagenet"), streaming=True, use_labels=True)},
        validation={"split": "valid", "samples": 2},
    )
    photographs, validation, names = open_sources(settings, seed=0)
    assert len(names) == 200
    assert [picture.size for picture in validation] == [(64, 64)] * 2
    assert photographs["tiny"].picture(0)[0].size == (64, 64)
