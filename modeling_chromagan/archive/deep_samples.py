"""Samples that Pillow has no mode for (16 bits a color channel, float colors) -> luminance and colors, as of files."""

import functools
import io

import imagecodecs
import numpy as np
from PIL import Image, ImageCms

from ..color_profiles import reduce_integers, rgb_transform
from ..errors import one_line
from ..image_decoding import TURNS
from ..image_loading import LoadedImage, load_color, load_image
from ..pixel_blocks import Box, Reader, all_gray, assemble, boxes, check_range, check_size

ORIENTATION = 0x0112
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
BLACK_POINT = int(imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION)
EXACT = int(imagecodecs.CMS.FLAGS.NOOPTIMIZE)  # five times as slow, and without errors of 150 codes in the shadows


class DeepSamples:
    """A decoded picture as an array, to be read as luminance or color by the rules of `load_image`."""

    def __init__(
        self,
        samples: np.ndarray,
        name: str,
        file_format: str,
        max_pixels: int,
        *,
        profile: bytes = b"",
        orientation: int = 1,
        premultiplied: bool = False,
    ):
        """Takes samples as they are stored, before orientation and profile.

        Args:
            samples: (H, W) or (H, W, 1 to 4): gray or RGB, opacity last of 2 or 4. uint8, uint16 or float of 0..1.
            name: what messages call the picture.
            file_format: Pillow's name of the format.
            max_pixels: that the picture may have.
            profile: ICC bytes.
            orientation: EXIF's, 1 to 8.
            premultiplied: whether the colors are multiplied with the opacity.

        Raises:
            ImageLoadError: naming float values outside 0..1, or a picture that is too large.
        """
        samples = samples[..., np.newaxis] if samples.ndim == 2 else samples
        self.height, self.width, channels = samples.shape
        check_size(self.width, self.height, name, max_pixels)
        self.name, self.format, self.max_pixels, self.orientation = name, file_format, max_pixels, orientation
        self.notes: list[str] = []
        if samples.dtype.kind == "f" and channels > 1:  # gray of float stays what it is
            check_range(self.width, self.height, lambda box: _crop(samples, box), 1, name)
            samples = np.rint(samples.astype(np.float32) * np.float32(65535)).astype(np.uint16)
        self.colors = samples[..., : 1 if channels < 3 else 3]
        self.opacity = samples[..., -1] if channels in (2, 4) else None
        if premultiplied and self.opacity is not None:
            white = np.iinfo(samples.dtype).max
            opacity = np.maximum(self.opacity, 1).astype(np.float32)[..., np.newaxis]
            self.colors = np.rint(np.minimum(self.colors * (white / opacity), white)).astype(samples.dtype)
        self.neutral = channels < 3 or all_gray(self.width, self.height, lambda box: _crop(self.colors, box))
        self.profile = profile if channels < 3 else self._other_than_srgb(profile)

    @property
    def is_deep(self) -> bool:
        """Whether there are more than 8 bits a sample."""
        return self.colors.dtype != np.uint8

    def loaded(self) -> LoadedImage:
        """Displayed luminance and opacity; RGB whose channels are equal everywhere keeps its values exactly."""
        if self.neutral:
            image = load_image(self._gray_picture(), max_pixels=self.max_pixels, name=self.name)
            gray, notes, stored, profile = image.gray, image.notes, image.stored, image.profile
            if self.colors.shape[2] == 3 and self.profile:
                profile = self.profile
                stored = self._assemble(self.colors.dtype.type, lambda box: _crop(self.colors[..., 0], box))
        else:
            gray = self._assemble(np.uint16, lambda box: reduce_integers(self._srgb(box)))
            notes, stored, profile = (), None, b""
        alpha = None
        if self.opacity is not None:
            opacity = self.opacity
            alpha = self._assemble(opacity.dtype.type, lambda box: _crop(opacity, box))
        notes = (*self.notes, *notes)
        return LoadedImage(self.name, gray, alpha, self.format, not self.neutral, notes, stored, profile)

    def color(self) -> Image.Image:
        """Displayed sRGB colors, mode RGB."""
        if self.neutral:
            return load_color(self._gray_picture(), max_pixels=self.max_pixels, name=self.name)
        stored = np.empty((self.height, self.width, 3), np.uint8)
        for box in boxes(self.width, self.height):
            block = self._srgb(box)
            _crop(stored, box)[:] = block if block.dtype == np.uint8 else np.rint(block * np.float32(1 / 257))
        image = Image.fromarray(stored)
        return image if self.orientation == 1 else image.transpose(TURNS[self.orientation])

    def stored_color(self) -> tuple[np.ndarray, bytes]:
        """Displayed colors as the file has them, (H, W, 3) uint8 or uint16, and their profile, b"" for sRGB."""
        channels = np.moveaxis(self.colors, 2, 0)
        planes = [self._assemble(plane.dtype.type, functools.partial(_crop, plane)) for plane in channels]
        return np.stack(planes, axis=2), self.profile

    def _assemble(self, dtype: type, read: Reader) -> np.ndarray:
        return assemble(self.width, self.height, self.orientation, dtype, read)

    def _gray_picture(self) -> Image.Image:
        """Of the first channel, which Pillow has a mode for: 8 and 16 bits, float."""
        gray = self.colors[..., 0]
        if self.colors.shape[2] == 3 and self.profile:
            steps = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
            curve = reduce_integers(self._transformed(np.repeat(steps, 3, axis=2), EXACT)).ravel()
            gray = curve[gray if gray.dtype == np.uint16 else gray.astype(np.uint16) * 257]
        image = Image.fromarray(np.ascontiguousarray(gray, dtype=np.float32 if gray.dtype.kind == "f" else None))
        if self.colors.shape[2] == 1 and self.profile:
            image.info["icc_profile"] = self.profile
        image.getexif()[ORIENTATION] = self.orientation
        return image

    def _other_than_srgb(self, profile: bytes) -> bytes:
        """The profile of RGB; b"" where it means sRGB, or with a note where it is unusable."""
        if not profile:
            return b""
        try:
            space = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
            if space == "RGB":
                return b"" if rgb_transform(profile, "RGB") is None else profile
            reason = f"it is for {space}, the picture is RGB"
        except Exception as error:  # profiles are damaged in as many ways as files
            reason = one_line(error)
        self.notes.append(f"its embedded color profile is unusable ({reason}) and was ignored")
        return b""

    def _srgb(self, box: Box) -> np.ndarray:
        block = _crop(self.colors, box)
        return self._transformed(block) if self.profile else block

    def _transformed(self, colors: np.ndarray, flags: int = 0) -> np.ndarray:
        intent, flags = imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC, flags | BLACK_POINT
        return imagecodecs.cms_transform(
            np.ascontiguousarray(colors), self.profile, SRGB, colorspace="rgb", intent=intent, flags=flags
        )


def full_range(samples: np.ndarray, depth: int) -> np.ndarray:
    """Integers of `depth` bits, 0 to 2^depth - 1, as those of their type, uint8 or uint16; floats as they are."""
    if samples.dtype.kind == "f" or depth == 8 * samples.dtype.itemsize:
        return samples
    factor = np.float32(np.iinfo(samples.dtype).max / ((1 << depth) - 1))
    return np.rint(samples * factor).astype(samples.dtype)


def _crop(array: np.ndarray, box: Box) -> np.ndarray:
    left, top, right, bottom = box
    return array[top:bottom, left:right]
