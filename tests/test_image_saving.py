import io
import os
import stat

import numpy as np
import pytest
from PIL import Image, ImageCms

from modeling_chromagan import image_saving
from modeling_chromagan.image_saving import ENCODERS, ImageSaveError, save_image, srgb_profile
from modeling_chromagan.picture_formats import FORMAT_OF_SUFFIX, OUTPUT_FORMATS


def random_picture(mode: str = "RGB", size: tuple[int, int] = (41, 23)) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jp2"])
def test_lossless_formats_keep_every_pixel_even_transparent_ones(tmp_path, mode, suffix):
    picture = random_picture(mode)
    if mode == "RGBA":
        alpha = np.zeros((picture.height, picture.width), np.uint8)
        alpha[:, ::2] = 200
        picture.putalpha(Image.fromarray(alpha))
    assert save_image(picture, tmp_path / f"a{suffix}") == ()
    with Image.open(tmp_path / f"a{suffix}") as saved:
        assert saved.mode == mode
        np.testing.assert_array_equal(np.asarray(saved), np.asarray(picture))


def test_jpeg_has_full_chroma_resolution_quality_95_and_a_profile(tmp_path):
    red_and_blue = np.zeros((16, 16, 3), np.uint8)
    red_and_blue[:, ::2, 0] = red_and_blue[:, 1::2, 2] = 200
    save_image(Image.fromarray(red_and_blue), tmp_path / "a.jpg")
    reference = io.BytesIO()
    Image.fromarray(red_and_blue).save(reference, "JPEG", quality=95)
    with Image.open(tmp_path / "a.jpg") as saved, Image.open(reference) as quality_95:
        assert saved.format == "JPEG"
        assert saved.quantization == quality_95.quantization
        # Subsampled by two, columns of red and blue would all be purple.
        assert np.abs(np.asarray(saved).astype(int) - red_and_blue).max() < 40


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".webp", ".png", ".avif", ".jp2"])
def test_every_format_says_that_it_is_srgb(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_image(random_picture(), path)
    with Image.open(path) as saved:
        if suffix == ".png":
            assert b"sRGB" in path.read_bytes()[:60]
        elif suffix == ".jp2":
            assert b"colr\1\0\0\0\0\0\x10" in path.read_bytes()  # 16 means sRGB
        else:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(saved.info["icc_profile"]))
            assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_the_profile_is_usable_and_always_the_same():
    profile = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    picture = random_picture()
    converted = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"))
    assert np.abs(np.asarray(converted).astype(int) - np.asarray(picture)).max() <= 1
    assert srgb_profile()[24:36] == bytes.fromhex("07d000010001000000000000")


def test_jpeg_leaves_alpha_out_and_says_so(tmp_path):
    (note,) = save_image(random_picture("RGBA"), tmp_path / "a.jpg")
    assert "alpha" in note
    with Image.open(tmp_path / "a.jpg") as saved:
        assert saved.mode == "RGB"


def test_folders_are_made_and_only_the_picture_is_left(tmp_path):
    save_image(random_picture(), tmp_path / "new" / "deeper" / "a.png")
    assert [path.name for path in (tmp_path / "new" / "deeper").iterdir()] == ["a.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
def test_results_have_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "other").touch()
    save_image(random_picture(), tmp_path / "a.png")
    permissions = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("other", "a.png")]
    assert permissions[0] == permissions[1]


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    path = tmp_path / ("a" * 251 + ".png")
    save_image(random_picture(), path)
    assert path.is_file()


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("existing", [None, b"an earlier result"])
def test_a_failed_write_leaves_no_trace(tmp_path, monkeypatch, failure, existing):
    def encode_half(image, output_format, file):
        file.write(b"half a picture")
        raise failure

    monkeypatch.setattr(image_saving, "_encode", encode_half)
    target = tmp_path / "a.png"
    if existing:
        target.write_bytes(existing)
    with pytest.raises(ImageSaveError if isinstance(failure, OSError) else type(failure)) as caught:
        save_image(random_picture(), target)
    if isinstance(failure, OSError):
        assert str(caught.value) == f"{target}: cannot be written: No space left on device"
    assert list(tmp_path.iterdir()) == ([target] if existing else [])
    if existing:
        assert target.read_bytes() == existing


def test_what_cannot_be_written_is_refused_in_one_line(tmp_path):
    with pytest.raises(ImageSaveError, match=r"a\.bmp: cannot write \.bmp; accepted: \.png, "):
        save_image(random_picture(), tmp_path / "a.bmp")
    with pytest.raises(ImageSaveError, match="20000 x 1 pixels, WEBP holds at most 16383 a side"):
        save_image(Image.new("RGB", (20_000, 1)), tmp_path / "a.webp")
    (tmp_path / "file").touch()
    with pytest.raises(ImageSaveError, match=r"file/a\.png: cannot be written: (Not a directory|File exists)"):
        save_image(random_picture(), tmp_path / "file" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageSaveError, match=r"folder\.png: cannot be written: Is a directory"):
        save_image(random_picture(), tmp_path / "folder.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


def test_every_suffix_is_written_in_the_format_that_it_names(tmp_path):
    assert set(ENCODERS) == set(OUTPUT_FORMATS)
    for suffix, output_format in FORMAT_OF_SUFFIX.items():
        save_image(Image.new("RGB", (4, 4)), tmp_path / f"a{suffix}")
        with Image.open(tmp_path / f"a{suffix}") as written:
            assert written.format == {"jp2": "JPEG2000"}.get(output_format, output_format.upper())
