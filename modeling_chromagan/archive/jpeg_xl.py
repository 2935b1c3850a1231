"""JPEG XL, which Pillow does not read: pixels by imagecodecs, size and profile from the libjxl that it brings."""

import ctypes
import functools
import importlib
from dataclasses import dataclass

import imagecodecs
import numpy as np

from ..errors import ImageLoadError, one_line
from ..pixel_blocks import check_size
from .deep_samples import DeepSamples, full_range

MARKS = (b"\xff\n", b"\0\0\0\x0cJXL \r\n\x87\n")  # of a bare codestream, of one in boxes
BASIC_INFO, COLOR_ENCODING = 0x40, 0x100  # events of libjxl's decoder
DECODED_PIXELS = 1  # whose profile is asked for; 0 would be that of what was encoded

NAMES = (  # the words of libjxl's JxlBasicInfo, in order (codestream_header.h), up to what is used here
    *("have_container", "xsize", "ysize", "bits_per_sample", "exponent_bits", "intensity_target", "min_nits"),
    *("relative_to_max_display", "linear_below", "uses_original_profile", "have_preview", "have_animation"),
    *("orientation", "num_color_channels", "num_extra_channels", "alpha_bits", "alpha_exponent_bits"),
    "alpha_premultiplied",
)


class _BasicInfo(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_uint32) for name in NAMES), ("rest", ctypes.c_uint32 * 64)]


@dataclass(frozen=True)
class JpegXLHeader:
    """width, height: displayed; depth: bits a sample; profile: ICC bytes of what decoding gives."""

    width: int
    height: int
    depth: int
    premultiplied: bool
    animated: bool
    profile: bytes


def is_jpeg_xl(head: bytes) -> bool:
    return head.startswith(MARKS)


def read_header(content: bytes, name: str, max_pixels: int) -> JpegXLHeader:
    """Size, depth and profile of a JPEG XL file, without decoding it.

    Raises:
        ImageLoadError: naming a damaged file, or a picture of more than `max_pixels`.
    """
    library = _libjxl()
    if library is None:
        raise ImageLoadError(name, "JPEG XL cannot be read: this build of imagecodecs keeps libjxl to itself")
    decoder = library.JxlDecoderCreate(None)
    try:
        library.JxlDecoderSubscribeEvents(decoder, BASIC_INFO | COLOR_ENCODING)
        library.JxlDecoderSetInput(decoder, content, len(content))
        library.JxlDecoderCloseInput(decoder)
        info = _BasicInfo()
        if library.JxlDecoderProcessInput(decoder) != BASIC_INFO:
            raise ImageLoadError(name, "damaged or truncated file (no JPEG XL header)")
        library.JxlDecoderGetBasicInfo(decoder, ctypes.byref(info))
        check_size(info.xsize, info.ysize, name, max_pixels)
        if library.JxlDecoderProcessInput(decoder) != COLOR_ENCODING:
            raise ImageLoadError(name, "damaged or truncated file (no color encoding)")
        size, profile = ctypes.c_size_t(0), b""
        if library.JxlDecoderGetICCProfileSize(decoder, DECODED_PIXELS, ctypes.byref(size)) == 0 and size.value:
            buffer = ctypes.create_string_buffer(size.value)
            if library.JxlDecoderGetColorAsICCProfile(decoder, DECODED_PIXELS, buffer, size) == 0:
                profile = buffer.raw
    finally:
        library.JxlDecoderDestroy(decoder)
    flags = bool(info.alpha_premultiplied), bool(info.have_animation)
    return JpegXLHeader(info.xsize, info.ysize, info.bits_per_sample, *flags, profile)


def read_samples(content: bytes, header: JpegXLHeader, name: str, max_pixels: int) -> DeepSamples:
    """The picture of a JPEG XL file, the first of several. Its orientation is applied by libjxl.

    Raises:
        ImageLoadError: naming a damaged file.
    """
    try:
        samples = imagecodecs.jpegxl_decode(content, index=0 if header.animated else None, numthreads=1)
    except Exception as error:
        raise ImageLoadError(name, f"damaged or truncated file ({one_line(error)})") from error
    channels = 1 if samples.ndim == 2 else samples.shape[-1]
    if samples.shape[:2] != (header.height, header.width) or channels > 4:
        raise ImageLoadError(name, f"JPEG XL pictures of {channels} channels cannot be read")
    samples = full_range(np.asarray(samples), header.depth)
    return DeepSamples(samples, name, "JPEGXL", max_pixels, profile=header.profile, premultiplied=header.premultiplied)


@functools.cache
def _libjxl() -> ctypes.CDLL | None:
    """The functions of libjxl used here; None where they cannot be reached through imagecodecs."""
    try:
        library = ctypes.CDLL(importlib.import_module("imagecodecs._jpegxl").__file__)
        library.JxlDecoderCreate.restype = ctypes.c_void_p
        library.JxlDecoderCreate.argtypes = [ctypes.c_void_p]
        library.JxlDecoderSubscribeEvents.argtypes = [ctypes.c_void_p, ctypes.c_int]
        library.JxlDecoderSetInput.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        for name in ("CloseInput", "ProcessInput", "Destroy"):
            getattr(library, f"JxlDecoder{name}").argtypes = [ctypes.c_void_p]
        library.JxlDecoderGetBasicInfo.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        library.JxlDecoderGetICCProfileSize.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
        library.JxlDecoderGetColorAsICCProfile.argtypes = [
            *(ctypes.c_void_p, ctypes.c_int),
            *(ctypes.c_char_p, ctypes.c_size_t),
        ]
    except (AttributeError, ImportError, OSError):
        return None
    return library
