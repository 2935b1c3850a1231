"""Stored colors -> luminance, by exact tables for sRGB, by Little CMS for ICC profiles."""

import functools
import io
import struct

import numpy as np
from PIL import Image, ImageCms

from .color import LUMINANCE_WEIGHTS, SRGB_CODED_JOINT, SRGB_LINEAR_JOINT, SRGB_SLOPE

TABLE_BITS = 20  # resolution of the table from linear luminance to sRGB code; 16 bits would be 13 codes off in black

D50 = (63190, 65536, 54061)  # the white of the connection space, in 1/65536


def srgb_to_linear(code: np.ndarray) -> np.ndarray:
    return np.where(code <= SRGB_CODED_JOINT, code / SRGB_SLOPE, ((code + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= SRGB_LINEAR_JOINT, linear * SRGB_SLOPE, 1.055 * linear ** (1 / 2.4) - 0.055)


@functools.cache
def _luminance_tables(levels: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Weighted linear light of each level of a channel in units of 2^-30, and the sRGB code of 2^20 luminances."""
    linear = srgb_to_linear(np.arange(levels) / (levels - 1))
    channels = [np.rint(weight * linear * (1 << 30)).astype(np.int32) for weight in LUMINANCE_WEIGHTS]
    middles = (np.arange((1 << TABLE_BITS) + 1) + 0.5) / (1 << TABLE_BITS)
    codes = np.rint(linear_to_srgb(np.minimum(middles, 1)) * 65535).astype(np.uint16)
    return channels, codes


def reduce_integers(rgb: np.ndarray) -> np.ndarray:
    """uint8 or uint16 sRGB (h, w, 3) -> uint16 sRGB-coded luminance (h, w), within one code of the exact value."""
    (red, green, blue), codes = _luminance_tables(np.iinfo(rgb.dtype).max + 1)
    luminance = np.take(red, rgb[..., 0])
    luminance += np.take(green, rgb[..., 1])
    luminance += np.take(blue, rgb[..., 2])
    luminance >>= 30 - TABLE_BITS
    return np.take(codes, luminance)


def reduce_unit(rgb: np.ndarray) -> np.ndarray:
    """sRGB 0..1 (h, w, 3) in any float type -> float64 sRGB-coded luminance 0..1 (h, w)."""
    linear = srgb_to_linear(rgb.astype(np.float64))
    return np.clip(linear_to_srgb(linear @ np.array(LUMINANCE_WEIGHTS)), 0, 1)


def assemble_profile(space: bytes, version: int, tags: dict[bytes, bytes]) -> bytes:
    """A display profile for `space`, relative to D50 (ICC.1:2010, section 7).

    Equal arguments give equal bytes: the time of making is that of no run. Equal tags are stored once.
    """
    white = struct.pack(">3i", *D50)
    tags = {b"wtpt": b"XYZ " + bytes(4) + white} | tags
    offset, data, table = 132 + 12 * len(tags), b"", struct.pack(">I", len(tags))
    places: dict[bytes, int] = {}
    for signature, content in tags.items():
        if content not in places:
            places[content] = offset + len(data)
            data += content + bytes(-len(content) % 4)
        table += signature + struct.pack(">II", places[content], len(content))
    header = struct.pack(">I4xI4s4s4s", offset + len(data), version, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white
    return header.ljust(128, b"\0") + table + data


def _gray_srgb_profile() -> ImageCms.ImageCmsProfile:
    """A gray ICC profile with the exact sRGB curve, which Pillow cannot make: the target of gray conversions."""
    curve = [round(value * 65536) for value in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)]
    tags = {b"kTRC": b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, *curve)}
    return ImageCms.ImageCmsProfile(io.BytesIO(assemble_profile(b"GRAY", 0x04200000, tags)))


def _build_transform(profile: ImageCms.ImageCmsProfile, mode: str, target: str) -> ImageCms.ImageCmsTransform:
    """Little CMS transform of `mode` pixels to sRGB-coded "RGB" or "I;16" (luminance); black stays black."""
    srgb = _gray_srgb_profile() if target == "I;16" else ImageCms.createProfile("sRGB")
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if target == "I;16":
        flags |= ImageCms.Flags.NOOPTIMIZE  # resampled curves are 145 codes of 65535 off in the shadows
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    return ImageCms.buildTransform(profile, srgb, mode, target, intent, flags)


def gray_curve(profile: ImageCms.ImageCmsProfile) -> np.ndarray | None:
    """uint16 sRGB code of each stored gray value: 65536 from a gray profile, 256 (R = G = B) from an RGB one.

    None where the profile means sRGB: no 8-bit level moves by more than half a step.
    """
    if profile.profile.xcolor_space == "GRAY":
        ramp, levels = np.arange(65536, dtype=np.uint16).reshape(256, 256), slice(None, None, 257)
    else:
        ramp, levels = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3), slice(None)
    image = Image.fromarray(ramp)
    curve = np.asarray(_build_transform(profile, image.mode, "I;16").apply(image)).ravel()
    difference = curve[levels].astype(np.int32) - 257 * np.arange(256)
    return None if np.abs(difference).max() <= 128 else curve


@functools.lru_cache(maxsize=16)  # it takes longer than reading a small picture, and cameras write few profiles
def rgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Transform of "RGB" or "CMYK" pixels to sRGB; None for RGB profiles that mean sRGB (within 1 of 255)."""
    transform = _build_transform(ImageCms.ImageCmsProfile(io.BytesIO(profile)), mode, "RGB")
    if mode == "RGB":
        levels = np.linspace(0, 255, 9).astype(np.uint8)
        probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
        converted = np.asarray(transform.apply(Image.fromarray(probe)))
        if np.abs(converted.astype(np.int32) - probe).max() <= 1:
            return None
    return transform
