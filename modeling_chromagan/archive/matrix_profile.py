"""ICC profiles of one tone curve, gray or RGB of three primaries, read to the last bit and written.

Little CMS evaluates curves of tables at 16 bits of linear light, too coarse for the shadows of 16-bit codes.
Numbers of the format: ICC.1:2010 (version 4.3), sections 7, 9 and 10.
"""

import io
import struct

import numpy as np
from PIL import ImageCms

from ..color_profiles import D50, assemble_profile
from ..errors import first_line

CODES = np.linspace(0.0, 1.0, 65536)  # at which curves are tabulated
HEADER = 128

Colorants = tuple[tuple[int, int, int], ...]  # X, Y and Z relative to D50 in 1/65536, of red, green and blue


class ProfileError(ValueError):
    """Why a profile cannot be used, as the end of a sentence."""


def tags_of(profile: bytes) -> dict[str, bytes]:
    """The tags of a profile by their signatures.

    Raises:
        ProfileError: if it is damaged, or something else.
    """
    if profile[36:40] != b"acsp":
        raise ProfileError("it is not an ICC profile")
    try:
        (count,) = struct.unpack_from(">I", profile, HEADER)
        entries = [struct.unpack_from(">4sII", profile, HEADER + 4 + 12 * index) for index in range(min(count, 100))]
        ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (struct.error, OSError) as error:
        raise ProfileError("it is damaged") from error
    if any(offset + size > len(profile) for _, offset, size in entries):
        raise ProfileError("it is damaged")
    return {name.decode("latin-1"): profile[offset : offset + size] for name, offset, size in entries}


def color_space_of(profile: bytes) -> str:
    """The space of a profile's values: "RGB", "GRAY", "CMYK", ..."""
    return profile[16:20].decode("latin-1").strip()


def name_of(profile: bytes) -> str:
    """What a profile calls itself."""
    try:
        return ImageCms.getProfileDescription(io.BytesIO(profile)).strip() or "unnamed"
    except ImageCms.PyCMSError as error:
        raise ProfileError(f"it is damaged ({first_line(error)})") from error


def colorants_of(tags: dict[str, bytes]) -> Colorants:
    """The primaries of an RGB profile.

    Raises:
        ProfileError: if it has none, or they do not add up to the white of the connection space.
    """
    if any(name.startswith(("A2B", "D2B")) for name in tags):
        raise ProfileError("it converts by tables (LUT), not by primaries and a curve")
    try:
        columns = [struct.unpack(">3i", tags[name][8:20]) for name in ("rXYZ", "gXYZ", "bXYZ")]
    except (KeyError, struct.error) as error:
        raise ProfileError("it has no primaries") from error
    matrix = np.array(columns)
    if np.abs(matrix.sum(0) - D50).max() > 1000 or np.linalg.cond(matrix) > 1e4:
        raise ProfileError("its primaries do not mix to white")
    if matrix[:, 1].min() < 0:
        raise ProfileError("one of its primaries has a negative luminance")
    return tuple(columns)


def curve_of(tags: dict[str, bytes]) -> np.ndarray:
    """Linear light of `CODES`, (65536,) float64, by the tone curve that the channels share.

    Raises:
        ProfileError: if there is none, the channels' curves differ, or it does not rise from black to white.
    """
    names = ("kTRC",) if "kTRC" in tags else ("rTRC", "gTRC", "bTRC")
    if not all(name in tags for name in names):
        raise ProfileError("it has no tone curve")
    try:
        curves = [_curve(tags[name]) for name in names]
    except (struct.error, ValueError, IndexError) as error:
        raise ProfileError("its tone curve is damaged or of an unknown kind") from error
    if np.abs(np.array(curves) - curves[0]).max() > 1e-4:
        raise ProfileError("its three channels have different tone curves")
    curve = curves[0]
    if not (np.diff(curve) >= 0).all() or curve[0] > 0.05 or abs(curve[-1] - 1) > 1e-3:
        raise ProfileError("its tone curve does not rise from black to white")
    return curve


def _curve(tag: bytes) -> np.ndarray:
    """curveType (ICC.1, 10.5) and parametricCurveType (10.15)."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        values = np.array(struct.unpack_from(f">{count}H", tag, 12)) if count <= 65536 else np.empty(0)
        if count == 1:
            return CODES ** (values[0] / 256)
        return np.interp(CODES, np.linspace(0, 1, len(values)), values / 65535) if count else CODES
    if tag[:4] != b"para":
        raise ValueError(tag[:4])
    (kind,) = struct.unpack_from(">H", tag, 8)
    count = (1, 3, 4, 5, 7)[kind]
    gamma, a, b, c, d, e, f = np.array(struct.unpack_from(f">{count}i", tag, 12) + (0,) * (7 - count)) / 65536
    if kind == 0:
        return CODES**gamma
    if a <= 0:
        raise ValueError(a)
    power = np.maximum(a * CODES + b, 0) ** gamma
    if kind < 3:  # below the joint the constant that the power gets, c in kind 2
        return np.where(-b / a <= CODES, power + c, c)
    return np.where(d <= CODES, power + e, c * CODES + f)


def make_profile(name: str, colorants: Colorants, curve: bytes) -> bytes:
    """An RGB display profile, version 2.4, of primaries relative to D50 and the bytes of a tone curve's tag.

    The same arguments give the same bytes.
    """
    text = name.encode("ascii") + b"\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)
    tags = {b"desc": description, b"cprt": b"text" + bytes(4) + b"CC0\0"}
    for channel, values in zip((b"r", b"g", b"b"), colorants, strict=True):
        tags[channel + b"XYZ"] = b"XYZ " + bytes(4) + struct.pack(">3i", *values)
        tags[channel + b"TRC"] = curve
    return assemble_profile(b"RGB ", 0x02400000, tags)
