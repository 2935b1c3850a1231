"""The awkward files of a collection, one of each kind, and what is right for each; by the command, in one run."""

import json
from fractions import Fraction

import imagecodecs
import numpy as np
import pytest
import tifffile
from picture_files import files_in
from PIL import ExifTags, Image

from modeling_chromagan.archive.scan import open_scan
from modeling_chromagan.color_profiles import reduce_unit


def pages_of(path):
    with open_scan(path.read_bytes(), name=str(path), max_pixels=10**8) as scan:
        return scan.layout, list(scan.pages())


@pytest.mark.slow
def test_every_case_is_done_right_and_the_second_run_changes_nothing(run, tmp_path, data_root):
    cases, out = data_root / "cases", tmp_path / "out"
    code, (summary,), err = run(cases, "-o", out)
    pictures = [path for path in sorted(cases.iterdir()) if path.suffix != ".md"]
    assert (code, summary) == (
        0,
        f"{len(pictures) - 1} colorized, 0 kept, 0 failed, 1 not pictures, 1 already in color",
    )
    assert err == [f"note: {cases / 'color.jpg'}: is in color already, and left alone"]
    expected = {path.name for path in pictures if path.name != "color.jpg"} - {"anim.gif"} | {"anim.png"}
    assert set(files_in(out)) == expected

    for name in ("dpi300.jpg", "dpi300.png", "dpi300.tif", "g4.tif"):
        _, (page,) = pages_of(out / name)
        x, y = (204, 98) if name == "g4.tif" else (300, 300)
        resolution = page.metadata.resolution
        scale = Fraction(1) if resolution.unit == "inch" else Fraction(254, 100)
        assert (round(resolution.x * scale), round(resolution.y * scale)) == (x, y), name

    for name in ("exif.jpg", "exif.tif"):
        with Image.open(cases / name) as before, Image.open(out / name) as after:
            assert after.size == before.size if before.getexif().get(0x0112, 1) < 5 else before.size[::-1]
            old, new = before.getexif(), after.getexif()
            for tag in (ExifTags.Base.ImageDescription, ExifTags.Base.Artist, ExifTags.Base.Copyright):
                assert old[tag] == new[tag], name
            assert new.get(ExifTags.Base.Orientation, 1) == 1
            taken = ExifTags.Base.DateTimeOriginal
            assert old.get(taken, old.get_ifd(0x8769).get(taken)) == new.get_ifd(0x8769)[taken]
            size = new.get_ifd(0x8769)
            assert size.get(0xA002, after.width) == after.width

    with Image.open(cases / "xmp.jpg") as before, Image.open(out / "xmp.jpg") as after:
        text = after.info["xmp"].decode()
        assert "compositeWithTrainedAlgorithmicMedia" in text
        for word in ("title", "creator"):
            assert (word in before.info["xmp"].decode()) == (word in text)
    with Image.open(cases / "text.png") as before, Image.open(out / "text.png") as after:
        said = {keyword: text for keyword, text in before.text.items() if keyword != "XML:com.adobe.xmp"}  # extended
        assert said
        assert said.items() <= after.text.items()

    for name in ("gray16.tif", "gray16.png"):
        read = tifffile.imread if name.endswith("tif") else imagecodecs.imread
        gray, rgb = read(cases / name), read(out / name)
        assert (gray.dtype, rgb.dtype, rgb.shape) == (np.uint16, np.uint16, (*gray.shape, 3))
        assert np.abs(reduce_unit(rgb / 65535) * 65535 - gray).max() <= 1

    for before, after, kind in (("pages.tif", "pages.tif", "pages"), ("anim.gif", "anim.png", "frames")):
        (layout, old), (_, new) = pages_of(cases / before), pages_of(out / after)
        assert layout == kind
        assert [page.image.gray.shape for page in new] == [page.image.gray.shape for page in old]
        assert [page.duration for page in new] == [page.duration for page in old]
        assert all(np.ptp(page.colors, axis=2).max() > 20 for page in new if page.colors is not None)

    with Image.open(out / "scan.jp2") as after:
        assert (after.format, after.mode) == ("JPEG2000", "RGB")
    with Image.open(cases / "la.png") as before, Image.open(out / "la.png") as after:
        np.testing.assert_array_equal(before.getchannel("A"), after.getchannel("A"))

    records = [json.loads(line) for line in (out / ".chromagan" / "manifest.jsonl").read_text().splitlines()]
    assert len(records) == 2 * len(pictures)
    times = {name: (out / name).stat().st_mtime_ns for name in files_in(out)}
    code, (summary,), err = run(cases, "-o", out)
    assert (code, err) == (0, [])
    assert summary == f"0 colorized, {len(pictures) - 1} kept, 0 failed, 1 not pictures, 1 already in color"
    assert times == {name: (out / name).stat().st_mtime_ns for name in files_in(out)}
