"""The space in which results are written: sRGB, a wide working space, the user's ICC profile, or the scan's own."""

import functools
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ImageCms

from ..color import WHITE
from ..color_profiles import D50, gray_curve, rgb_transform
from ..errors import SettingError, first_line, one_line
from ..rgb_spaces import SRGB, RGBSpace
from .matrix_profile import (
    CODES,
    Colorants,
    ProfileError,
    color_space_of,
    colorants_of,
    curve_of,
    make_profile,
    name_of,
    tags_of,
)

ACCEPTED = (
    "accepted: srgb, adobe-rgb, prophoto, same, or the path of an ICC profile of RGB by primaries and one tone curve"
)

# Adobe RGB (1998) Color Image Encoding, version 2005-05, section 4.3.4 and annex A: primaries relative to D50, and a
# gamma of 563/256.
ADOBE_RGB: Colorants = ((39960, 20389, 1276), (13453, 41004, 3989), (9777, 4143, 48796))
# ISO 22028-2, ROMM RGB. Its curve is straight below 1/512 of white and of gamma 1.8 above; the profiles that programs
# ship as ProPhoto RGB have a gamma of 461/256 all the way down, and that is what is meant by the name.
PROPHOTO: Colorants = ((52276, 18877, 0), (8860, 46653, 0), (2054, 6, 54061))

# Bradford adaptation (ICC.1:2010, annex E), from XYZ to the responses of the cones.
_BRADFORD = np.array(((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)))

BLACK = torch.zeros(1, dtype=torch.float64)
LARGEST_PROFILE = 16 << 20  # bytes; those of matrix profiles are a few thousand


@dataclass(frozen=True, eq=False)
class WorkingSpace:
    """Where the colors of a result are.

    name: of the space.
    space: in which colors are composed.
    profile: ICC profile to embed; b"" means sRGB.
    note: why it is not what was asked for, one phrase; "" where it is.
    """

    name: str
    space: RGBSpace
    profile: bytes
    note: str = ""


IN_SRGB = WorkingSpace("sRGB", SRGB, b"")


@functools.lru_cache(maxsize=16)  # the tables of a space take as long as a small picture
def find_working_space(choice: str, embedded: bytes) -> WorkingSpace:
    """The space for a choice of `--profile` and the profile embedded in the input, b"" for none.

    "srgb", "adobe-rgb" and "prophoto" are these; a path is the ICC file there. "same" is the input's own: of an RGB
    profile that space. Of a gray profile it is the RGB space of that tone curve and the primaries of Adobe RGB: they
    hold all colors of sRGB, in which the network predicts, and none that does not exist; sRGB's own would do, but
    nobody who keeps a profile asks for the narrowest. Where the input has no such profile, or one that means sRGB, it
    is sRGB, and `note` says why.

    Raises:
        SettingError: if the choice is neither a name nor the path of a usable profile.
    """
    if choice == "srgb":
        return IN_SRGB
    if choice == "adobe-rgb":
        curve = struct.pack(">4s4xIH", b"curv", 1, 563)
        return _space_of(make_profile("Compatible with Adobe RGB (1998)", ADOBE_RGB, curve))
    if choice == "prophoto":
        curve = struct.pack(">4s4xIH", b"curv", 1, 461)
        return _space_of(make_profile("ProPhoto RGB", PROPHOTO, curve))
    if choice == "same":
        return _same(embedded)
    try:
        return _space_of(_read_profile(Path(choice)))
    except (ProfileError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingError(f"--profile {choice}: {one_line(reason or 'cannot be read')}; {ACCEPTED}") from error


def find_coding(profile: bytes) -> RGBSpace | None:
    """The space whose curve gray values have as they are stored under a profile, exact in the deepest shadows too.

    None where there is no profile, and where only Little CMS finds the luminance: by tables in three dimensions, or of
    a black that is not 0 but made so.
    """
    own = find_working_space("same", profile)
    return own.space if own.profile and not own.space.decode(BLACK) else None


def _read_profile(path: Path) -> bytes:
    with open(path, "rb") as file:
        content = file.read(LARGEST_PROFILE + 1)
    if len(content) > LARGEST_PROFILE:
        raise ProfileError("it is not an ICC profile")
    return content


def _same(embedded: bytes) -> WorkingSpace:
    if not embedded:
        return WorkingSpace("sRGB", SRGB, b"", "the input has no color profile; the result is sRGB")
    try:
        tags, kind = tags_of(embedded), color_space_of(embedded)
        if kind in ("RGB", "GRAY") and _means_srgb(embedded, kind):
            return IN_SRGB
        if kind != "GRAY":
            return _space_of(embedded)
        if embedded[20:24] != b"XYZ ":
            raise ProfileError("it is a gray profile that connects by Lab")
        curve_of(tags)
        name = f"{name_of(embedded)} in RGB".encode("ascii", "replace").decode()
        return _space_of(make_profile(name, ADOBE_RGB, tags["kTRC"]))
    except ProfileError as error:
        note = f"the input's color profile cannot hold the result ({error}); the result is sRGB"
        return WorkingSpace("sRGB", SRGB, b"", note)


def _means_srgb(profile: bytes, kind: str) -> bool:
    """Whether the reader takes the stored values of such a picture as they are."""
    try:
        in_gray = gray_curve(ImageCms.ImageCmsProfile(io.BytesIO(profile))) is None
        return in_gray and (kind == "GRAY" or rgb_transform(profile, "RGB") is None)
    except ImageCms.PyCMSError as error:
        raise ProfileError(f"Little CMS says: {first_line(error)}") from error


def _space_of(profile: bytes) -> WorkingSpace:
    """The space of an RGB profile; raises ProfileError."""
    tags = tags_of(profile)
    if color_space_of(profile) != "RGB":
        raise ProfileError(f"it is for {color_space_of(profile)}, not RGB")
    matrix = np.array(colorants_of(tags)).T / 65536
    curve = curve_of(tags)
    name = name_of(profile)

    def decode(codes: torch.Tensor) -> torch.Tensor:
        beyond = codes - codes.clamp(0.0, 1.0)  # half steps below black and above white
        return torch.from_numpy(np.interp(codes.numpy(), CODES, curve)) + beyond

    def encode(linear: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.interp(linear.numpy(), curve, CODES))

    mixing, weights = _mix(matrix)
    return WorkingSpace(name, RGBSpace(name, mixing, weights, decode, encode), profile)


def _mix(matrix: np.ndarray) -> tuple[tuple[tuple[float, float, float], ...], tuple[float, float, float]]:
    """`RGBSpace.mixing` and `.weights` of the matrix from linear RGB to XYZ relative to D50.

    Chroma is predicted relative to D65 and adapted. Adaptation changes the luminance of colors, by a seventh for pure
    blue and hardly for most; as much light of the white's color is added or taken away as keeps it that of the gray.
    """
    cones = _BRADFORD @ (np.array(D50) / 65536) / (_BRADFORD @ np.array(WHITE))
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD
    weights = matrix[1] / matrix[1].sum()
    channels = np.linalg.inv(matrix) @ adapted[:, (0, 2)]  # what X and Z add to linear red, green and blue
    channels -= weights @ channels
    return tuple((x, z, 0.0) for x, z in channels.tolist()), tuple(weights.tolist())
