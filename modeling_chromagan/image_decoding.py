"""What Pillow has decoded -> luminance, opacity or color, whatever the mode, depth or profile.

What Pillow gets wrong for archives (16-bit gray turned white, inverted or byte-swapped TIFFs, ignored profiles) is put
right here.
"""

import io
import re
import struct
import sys
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import Image, ImageCms

from .color import LAB_ROOT_JOINT, LAB_SLOPE
from .color_profiles import gray_curve, linear_to_srgb, reduce_integers, rgb_transform
from .errors import ImageLoadError, one_line
from .jpeg2000_header import LAB, Jpeg2000Header
from .pixel_blocks import Box, Reader, all_gray, assemble, boxes, check_range

Conversion = TypeVar("Conversion")

COLOR_MAP = 320  # of a TIFF: all red of its palette, all green, all blue

TURNS = {  # what displays a picture of each EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def pillow_reason(error: Exception) -> str:
    """What went wrong in Pillow, on one line."""
    cause = error.__cause__ or error  # Pillow wraps what its parsers run into as SyntaxError
    if isinstance(cause, (struct.error, IndexError, EOFError)):
        return "it ends too early"
    return one_line(error)


def _filled_up(depth: int) -> list[int]:
    """What the 256 values mean that Pillow makes of JPEG 2000 samples by filling them up with zeros."""
    shift = max(8 - depth, 0)
    return [round((value >> shift) * 255 / (255 >> shift)) for value in range(256)]


class StoredPicture:
    """A decoded Pillow image, read block by block.

    `stored` has, once the luminance was read, the displayed gray values as the file has them, before its profile was
    applied: the luminance itself where there is none, and None where the luminance is that of colors. `profile` has
    then the ICC bytes that made the luminance of them, b"" where nothing did.
    """

    stored: np.ndarray | None = None
    profile = b""

    def __init__(
        self,
        image: Image.Image,
        raw_mode: str,
        orientation: int,
        name: str,
        notes: list[str],
        header: Jpeg2000Header | None = None,
    ):
        premultiplied = {"La": "LA", "RGBa": "RGBA"}
        self.image = image.convert(premultiplied[image.mode]) if image.mode in premultiplied else image
        self.raw_mode, self.orientation, self.name, self.notes = raw_mode, orientation, name, notes
        self.format = image.format or "PIL"
        self.tags = getattr(image, "tag_v2", {})  # of a TIFF
        color_map = self.tags.get(COLOR_MAP)
        if image.mode == "P" and isinstance(color_map, tuple) and max(color_map, default=256) < 256:
            self.image = image.copy()  # old programs write 8 bits of the 16, of which Pillow takes the upper ones
            self.image.putpalette(np.reshape(color_map, (3, -1)).T.astype(np.uint8).tobytes())
        self.depths = header.depths if header is not None else ()
        if min(self.depths, default=8) < 8 and self.image.mode in ("L", "LA", "RGB", "RGBA"):
            self.image = self.image.point([level for depth in self.depths for level in _filled_up(depth)])
        if header is not None and header.profile:
            self.image.info["icc_profile"] = header.profile
        if header is not None and not header.complete:
            raise ImageLoadError(name, "damaged or truncated file (it ends too early)")
        if header is not None and header.space == LAB:
            raise ImageLoadError(name, "JPEG 2000 pictures in Lab cannot be read; convert it to RGB first")

    @property
    def is_deep(self) -> bool:
        """Whether the file has more than 8 bits a sample."""
        return (
            self.image.mode in ("I", "F")
            or self.image.mode.startswith("I;16")
            or self._is_16_bit_color()
            or max(self.depths, default=8) > 8
        )

    def luminance(self) -> tuple[np.ndarray, bool]:
        """Displayed sRGB-coded luminance, and whether the picture had color."""
        self._refuse_misread()
        mode = self.image.mode
        if mode in ("1", "L", "LA"):
            return self._eight_bit_gray(), False
        if mode in ("P", "PA"):
            return self._palette()
        if mode.startswith("I;16"):
            return self._sixteen_bit_gray(), False
        if mode in ("I", "F"):
            return self._thirty_two_bit_gray(), False
        if mode == "LAB":
            return self._lab()
        return self._color()

    def alpha(self) -> np.ndarray | None:
        """Displayed opacity, (H, W) uint8, from an alpha channel, a palette with opacities or a transparent color."""
        image, key = self.image, self.image.info.get("transparency")
        if "A" in image.getbands() and image.mode != "LAB":
            return self._assemble(np.uint8, lambda box: np.asarray(image.crop(box).getchannel("A")))
        if image.mode == "P":
            table = np.full(256, 255, np.uint8)
            if image.palette is not None and image.palette.mode == "RGBA":
                opacities = (image.getpalette("RGBA") or [])[3::4]
                table[: len(opacities)] = opacities
            elif isinstance(key, bytes):
                table[: len(key)] = np.frombuffer(key, np.uint8)[:256]
            elif isinstance(key, int):
                table[key] = 0
            else:
                return None
            return self._assemble(np.uint8, lambda box: table[np.asarray(image.crop(box))])
        if key is None or image.mode not in ("1", "L", "RGB", "I;16"):
            return None
        # PNG gives the transparent color in the file's own depth, Pillow the pixels in 8 bits.
        if image.mode == "RGB":
            color = np.array(key) >> 8 if self._is_16_bit_color() else np.array(key)
            return self._assemble(
                np.uint8, lambda box: np.where((np.asarray(image.crop(box)) == color).all(-1), 0, 255)
            )
        level = key * {"L;2": 85, "L;4": 17}.get(self.raw_mode, 1)
        if image.mode == "1":
            level = key > 0
        return self._assemble(np.uint8, lambda box: np.where(np.asarray(image.crop(box)) == level, 0, 255))

    def color(self) -> Image.Image:
        """Displayed sRGB colors, mode RGB, without opacity and without metadata."""
        image = self.image
        if image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16"):
            gray, _ = self.luminance()
            if gray.dtype != np.uint8:
                white = 65535 if gray.dtype == np.uint16 else 1
                gray = np.rint(gray * np.float32(255 / white)).astype(np.uint8)
            return Image.fromarray(gray).convert("RGB")
        self._refuse_misread()
        space = "CMYK" if image.mode == "CMYK" else "RGB"
        transform = self._rgb_transform(space) if image.mode != "LAB" else None  # which Pillow converts itself
        if space == "RGB" or transform is None:
            image = image.convert("RGB")
        return self._upright(image if transform is None else transform.apply(image))

    def stored_color(self) -> tuple[np.ndarray, bytes]:
        """Displayed colors as the file has them, (H, W, 3) uint8, and the profile that they are in.

        b"" means sRGB, which colors of other kinds (CMYK, Lab) become here.
        """
        image = self.image
        if image.mode in ("CMYK", "LAB") or self._rgb_transform("RGB") is None:
            return np.asarray(self.color()), b""
        return np.asarray(self._upright(image.convert("RGB"))), image.info["icc_profile"]

    def _upright(self, image: Image.Image) -> Image.Image:
        """A converted copy of the image, turned as it is displayed, without metadata."""
        if self.orientation != 1:
            image = image.transpose(TURNS[self.orientation])
        image.info = {}
        return image

    def _assemble(self, dtype: type, read: Reader) -> np.ndarray:
        return assemble(*self.image.size, self.orientation, dtype, read)

    def _gray(self, dtype: type, read: Reader, convert: Callable[[np.ndarray], np.ndarray] | None) -> np.ndarray:
        """Displayed luminance of a gray picture: values that `read` gives, made sRGB by `convert` if there is one."""
        self.stored = self._assemble(dtype, read)
        if convert is None:
            return self.stored
        self.profile = self.image.info["icc_profile"]
        height, width = self.stored.shape
        gray: np.ndarray = np.empty((height, width), np.float32 if self.stored.dtype.kind == "f" else np.uint16)
        for left, top, right, bottom in boxes(width, height):
            gray[top:bottom, left:right] = convert(self.stored[top:bottom, left:right])
        return gray

    def _is_16_bit_color(self) -> bool:
        return re.search(r";16[LBN]$", self.raw_mode) is not None and not self.image.mode.startswith("I")

    def _refuse_misread(self) -> None:
        deep_jpeg2000 = max(self.depths, default=8) > 8 and self.image.mode != "I;16"
        if deep_jpeg2000 and not np.all(self.image.getextrema()):
            # Pillow rounds such samples to 8 bits and wraps 256 to 0: what is 0 may be white.
            reason = "of more than 8 bits a channel, of which Pillow may read white as black; convert it"
            raise ImageLoadError(self.name, f"a JPEG 2000 picture in color {reason}")
        if self._is_16_bit_color() or deep_jpeg2000:
            self.notes.append("16 bits per color channel are read as 8, which is all that Pillow gives")
        elif self.raw_mode and max(self.tags.get(258, (8,))) == 16 and self.image.mode in ("RGB", "RGBA", "CMYK"):
            # Uncompressed planes of 16 bits: Pillow reads every byte as a sample and returns noise.
            raise ImageLoadError(self.name, "uncompressed 16-bit color TIFFs in separate planes cannot be read")

    def _white_is_zero(self) -> bool:
        """Whether the TIFF says so and Pillow has not inverted it, which it does up to 8 bits only."""
        return self.tags.get(262) == 0 and self.raw_mode in ("I;16", "I;16N", "F;32F", "F;32BF")

    def _from_profile(self, wanted: str, build: Callable[[ImageCms.ImageCmsProfile], Conversion]) -> Conversion | None:
        """What `build` makes of the embedded profile; None, with a note, if it is unusable or for another space."""
        if "icc_profile" not in self.image.info:
            return None
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(self.image.info["icc_profile"]))
            space = profile.profile.xcolor_space.strip()
            if space == wanted:
                return build(profile)
            if (wanted, space) == ("GRAY", "RGB") and gray_curve(profile) is None:
                return None  # sRGB, which many programs embed in gray pictures too
            reason = f"it is for {space}, the picture is {wanted}"
        except Exception as error:  # profiles are damaged in as many ways as files
            reason = pillow_reason(error)
        self.notes.append(f"its embedded color profile is unusable ({reason}) and was ignored")
        return None

    def _rgb_transform(self, space: str) -> ImageCms.ImageCmsTransform | None:
        return self._from_profile(space, lambda profile: rgb_transform(self.image.info["icc_profile"], space))

    def _eight_bit_gray(self) -> np.ndarray:
        image = self.image

        def read(box: Box) -> np.ndarray:
            block = image.crop(box)
            return np.asarray(block.getchannel("L") if image.mode == "LA" else block.convert("L"))

        return self._gray(np.uint8, read, self._gray_conversion())

    def _gray_conversion(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """From values of the profile, of 8 or 16 bits or 0..1, to sRGB."""
        curve = self._from_profile("GRAY", gray_curve)
        if curve is None:
            return None

        def convert(values: np.ndarray) -> np.ndarray:
            if values.dtype.kind == "f":
                return np.interp(values, np.linspace(0, 1, 65536), curve / 65535)
            return (curve[::257] if values.dtype == np.uint8 else curve)[values]

        return convert

    def _palette(self) -> tuple[np.ndarray, bool]:
        """Reduces the colors that are used, as a picture of 256 pixels, and looks the pixels up in the result."""
        image = self.image
        entries = np.zeros((256, 3), np.uint8)
        palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
        entries[: len(palette)] = palette
        used = np.array((image.getchannel("P") if image.mode == "PA" else image).histogram()[:256]) > 0
        entries[~used] = entries[used][0]  # colors that no pixel has do not make a gray picture a colored one
        colors = Image.fromarray(entries[np.newaxis])
        if "icc_profile" in image.info:
            colors.info["icc_profile"] = image.info["icc_profile"]
        picture = StoredPicture(colors, "", 1, self.name, self.notes)
        table, was_color = picture.luminance()

        def displayed(table: np.ndarray) -> np.ndarray:
            def read(box: Box) -> np.ndarray:
                block = image.crop(box)
                return table[0][np.asarray(block.getchannel("P") if image.mode == "PA" else block)]

            return self._assemble(table.dtype.type, read)

        gray = displayed(table)
        if picture.stored is not None:
            self.stored = gray if picture.stored is table else displayed(picture.stored)
            self.profile = picture.profile
        return gray, was_color

    def _sixteen_bit_gray(self) -> np.ndarray:
        def read(box: Box) -> np.ndarray:
            values = np.asarray(self.image.crop(box)).astype(np.uint16)
            if self.raw_mode == "I;12":  # Pillow leaves 12-bit samples at 0..4095
                values = np.rint(values * (65535 / 4095))
            if self.depths:  # Pillow fills JPEG 2000 samples up with zeros, so that white is not reached
                values = np.rint((values >> (16 - self.depths[0])) * (65535 / ((1 << self.depths[0]) - 1)))
            if self._white_is_zero():
                values = 65535 - values
            return values

        return self._gray(np.uint16, read, self._gray_conversion())

    def _thirty_two_bit_gray(self) -> np.ndarray:
        is_float = self.image.mode == "F"
        # Pillow swaps the bytes of big-endian compressed TIFFs twice: libtiff has done it already.
        compressed = self.image.info.get("compression", "raw") != "raw"
        swapped = compressed and sys.byteorder == "little" and self.raw_mode in ("I;16BS", "I;32BS", "F;32BF")

        def read(box: Box) -> np.ndarray:
            values = np.asarray(self.image.crop(box))
            if swapped:
                values = values.astype(np.int16) if self.raw_mode == "I;16BS" else values
                values = values.byteswap()
            return values.view(np.uint32) if self.raw_mode == "I;32N" else values

        check_range(*self.image.size, read, 1 if is_float else 65535, self.name)
        if not is_float:
            return self._gray(np.uint16, read, self._gray_conversion())
        inverted = self._white_is_zero()
        return self._gray(np.float32, lambda box: 1 - read(box) if inverted else read(box), self._gray_conversion())

    def _lab(self) -> tuple[np.ndarray, bool]:
        """L is a function of luminance alone: Lab pictures hold what we look for."""
        root = (np.arange(256) / 255 * 100 + 16) / 116
        luminance = np.where(root > LAB_ROOT_JOINT, root**3, (root - 16 / 116) / LAB_SLOPE)
        table = np.rint(linear_to_srgb(luminance) * 65535).astype(np.uint16)
        gray = self._assemble(np.uint16, lambda box: table[np.asarray(self.image.crop(box).getchannel("L"))])
        return gray, self.image.getextrema()[1:] != ((128, 128), (128, 128))

    def _color(self) -> tuple[np.ndarray, bool]:
        image = self.image
        space = "CMYK" if image.mode == "CMYK" else "RGB"
        transform = self._rgb_transform(space)

        def read_stored(box: Box) -> np.ndarray:
            """RGB before the profile; CMYK, which has no gray axis of its own, after it."""
            block = image.crop(box)
            if space == "CMYK" and transform is not None:
                return np.asarray(transform.apply(block))
            return np.asarray(block if block.mode == "RGB" else block.convert("RGB"))

        def read_srgb(box: Box) -> np.ndarray:
            stored = read_stored(box)
            if space == "CMYK" or transform is None:
                return stored
            return np.asarray(transform.apply(Image.fromarray(stored)))

        if not all_gray(*image.size, read_stored):
            return self._assemble(np.uint16, lambda box: reduce_integers(read_srgb(box))), True
        if space == "CMYK":
            return self._assemble(np.uint8, lambda box: read_stored(box)[..., 0]), False
        curve = self._from_profile("RGB", gray_curve)
        convert = None if curve is None else lambda values: curve[values]
        return self._gray(np.uint8, lambda box: read_stored(box)[..., 0], convert), False
