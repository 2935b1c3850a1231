"""One stored picture is decoded as it is displayed, wherever it comes from."""

import io
import re

import numpy as np
import pytest
from conftest import ROOT
from drawn_pictures import picture_bytes, sideways, sunset, swapped
from PIL import Image, ImageCms

from modeling_chromagan.errors import ImageLoadError
from modeling_chromagan.sources.picture_files import decode_picture


def gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack((x, y, np.full_like(x, 80)), axis=2).astype(np.uint8))


def test_pictures_are_decoded_as_they_are_displayed():
    def encoded(picture: Image.Image, **options) -> dict:
        file = io.BytesIO()
        picture.save(file, "PNG", **options)
        return {"bytes": file.getvalue(), "path": None}

    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    upright = decode_picture(encoded(gradient(40, 20), exif=exif))
    assert upright.size == (20, 40)
    assert upright.getpixel((19, 0))[1] < 10

    # A profile is applied and then forgotten: nobody may apply it again.
    gray = Image.new("RGB", (4, 4), (128, 128, 128))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = decode_picture(encoded(gray, icc_profile=srgb))
    assert same.getpixel((0, 0)) == (128, 128, 128)
    assert "icc_profile" not in same.info
    assert decode_picture(encoded(gray, icc_profile=b"damaged")).getpixel((0, 0)) == (128, 128, 128)
    assert decode_picture(encoded(Image.new("LA", (4, 4), (7, 0)))).getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize("save", [sideways, swapped])
def test_a_camera_picture_is_upright_and_in_srgb(save):
    shown = np.asarray(decode_picture(save(sunset())))
    assert shown[4, 20].tolist() == pytest.approx((60, 110, 200), abs=8)
    assert shown[-4, 20].tolist() == pytest.approx((200, 130, 60), abs=8)


def test_cells_hold_bytes_or_a_path(tmp_path):
    (tmp_path / "1.png").write_bytes(picture_bytes(1))
    pictures = [
        decode_picture(picture_bytes(1)),
        decode_picture({"bytes": picture_bytes(1), "path": "elsewhere.png"}),
        decode_picture({"bytes": None, "path": str(tmp_path / "1.png")}),
        decode_picture({"bytes": None, "path": (tmp_path / "1.png").as_uri()}),
    ]
    assert len({picture.tobytes() for picture in pictures}) == 1


@pytest.mark.parametrize("cell", [None, {}, {"bytes": None, "path": None}])
def test_a_cell_without_a_picture_is_named(cell):
    with pytest.raises(ImageLoadError, match="there is no picture"):
        decode_picture(cell)


def test_nothing_else_opens_pictures():
    """Whoever asks Pillow for a file gets it sideways and in whatever colors it was stored."""
    places = [ROOT / "modeling_chromagan", ROOT / "benchmarks", ROOT / "space"]
    files = [ROOT / "train.py", *(file for place in places for file in place.rglob("*.py"))]
    opening = [file.name for file in files if re.search(r"\bImage\.open\(|imread\(", file.read_text(encoding="utf-8"))]
    assert sorted(opening) == ["image_loading.py", "listing.py"]  # which asks for sizes alone
