"""Color arithmetic on tensors: sRGB <-> CIE Lab <-> network units.

Constants are scikit-image's, so that figures agree with its `rgb2lab`: its six-digit sRGB matrix (the standard's
four-digit one misses by 0.02 Lab units), the inverse computed from it, and the D65 white 0.95047, 1, 1.08883.
Everything is channels-first, differentiable with finite gradients everywhere, and uses elementwise arithmetic only:
matrix products would drop to half precision under autocast and to TF32 on GPUs.
"""

import functools

import numpy as np
import torch

RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
XYZ_TO_RGB = tuple(tuple(row) for row in np.linalg.inv(RGB_TO_XYZ).tolist())
WHITE = (0.95047, 1.0, 1.08883)
LUMINANCE_WEIGHTS = RGB_TO_XYZ[1]
# For `add_chroma`. The matrix' own white differs from WHITE in the fifth digit; gray is exempt from that tint.
SRGB_MIXING = tuple(
    (row[0], row[2], sum(of_row * of_white for of_row, of_white in zip(row, WHITE, strict=True)) - 1.0)
    for row in XYZ_TO_RGB
)

# The joints between the line and the power of the two curves. The slope of each line is the one that meets the power
# at the joint, so that every curve and its inverse agree: 1 / 12.92 and 7.787 to five digits.
SRGB_CODED_JOINT = 0.04045
SRGB_LINEAR_JOINT = ((SRGB_CODED_JOINT + 0.055) / 1.055) ** 2.4
SRGB_SLOPE = SRGB_CODED_JOINT / SRGB_LINEAR_JOINT
LAB_JOINT = 0.008856
LAB_ROOT_JOINT = LAB_JOINT ** (1.0 / 3.0)
LAB_SLOPE = (LAB_ROOT_JOINT - 16.0 / 116.0) / LAB_JOINT

AB_SCALE = 50.0  # Lab units of a or b that networks, critics and losses count as 1

# The encodings between Lab and network units: (value - shift) / scale, for the lightness and for a and b; beside them
# the ends of the outputs that give these.
_ENCODINGS = {
    "unit8": {
        "lightness": (0.0, 100.0),
        "ab": (-128.0, 255.0),
        "outputs": (0.0, 1.0),
    },  # OpenCV's 8-bit Lab divided by 255
    "symmetric": {"lightness": (50.0, 50.0), "ab": (0.0, 110.0), "outputs": (-1.0, 1.0)},
}
COLOR_ENCODINGS = tuple(_ENCODINGS)


def rgb_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """Convert sRGB to CIE Lab (D65).

    `rgb` is (..., 3, H, W) in 0..1; the result has its shape and dtype, L in 0..100, a and b about -110..110.
    Half types are computed in float32. Raises ValueError if there is no axis of three channels before H and W.
    """
    require_three_channels(rgb, "rgb")
    return _linear_to_lab(srgb_to_linear(_at_least_float32(rgb))).to(rgb.dtype)


def rgb8_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """`rgb_to_lab` of 8-bit pictures, (..., 3, H, W) uint8, to the bit and faster: float32 of that shape.

    Raises ValueError for another shape or type.
    """
    if rgb.dtype != torch.uint8 or rgb.ndim < 3 or rgb.shape[-3] != 3:
        raise ValueError(f"rgb is {rgb.dtype} of shape {tuple(rgb.shape)}; accepted: torch.uint8, (..., 3, H, W)")
    linear = srgb_to_linear(torch.arange(256, device=rgb.device) / 255)  # of the 256 values that there are
    return _linear_to_lab(linear.index_select(0, rgb.flatten().int()).view(rgb.shape))


def _linear_to_lab(linear: torch.Tensor) -> torch.Tensor:
    red, green, blue = linear.unbind(-3)
    root_x, root_y, root_z = (
        # Dividing the weights by the white saves a pass over the picture.
        lab_root((red * (row[0] / white)).add_(green, alpha=row[1] / white).add_(blue, alpha=row[2] / white))
        for row, white in zip(RGB_TO_XYZ, WHITE, strict=True)
    )
    return torch.stack((116.0 * root_y - 16.0, 500.0 * (root_x - root_y), 200.0 * (root_y - root_z)), dim=-3)


def lab_to_rgb(lab: torch.Tensor) -> torch.Tensor:
    """Convert CIE Lab (D65) to sRGB, the inverse of `rgb_to_lab`, without clipping.

    `lab` is (..., 3, H, W); the result has its shape and dtype, in 0..1 for colors inside sRGB and outside of it for
    others. Where a = b = 0 the three channels are equal to the bit. Half types are computed in float32.
    Raises ValueError if there is no axis of three channels before H and W.
    """
    require_three_channels(lab, "lab")
    lightness, a, b = _at_least_float32(lab).unbind(-3)
    return linear_to_srgb(torch.stack(_lab_to_linear(lightness, a, b), dim=-3)).to(lab.dtype)


def gray_to_lightness(gray: torch.Tensor) -> torch.Tensor:
    """Convert sRGB-coded gray in 0..1 (any shape) to CIE lightness L in 0..100."""
    return (116.0 * lab_root(srgb_to_linear(_at_least_float32(gray))) - 16.0).to(gray.dtype)


def lightness_to_gray(lightness: torch.Tensor) -> torch.Tensor:
    """Convert CIE lightness L in 0..100 (any shape) to sRGB-coded gray in 0..1, the inverse of `gray_to_lightness`."""
    luminance = lab_unroot((_at_least_float32(lightness) + 16.0) / 116.0)
    return linear_to_srgb(luminance).to(lightness.dtype)


def encode_luminance(lightness: torch.Tensor, encoding: str) -> torch.Tensor:
    """Bring L in 0..100 to network units: L / 100 (`unit8`) or L / 50 - 1 (`symmetric`)."""
    shift, scale = _encoding_of(encoding)["lightness"]
    return (lightness - shift) / scale


def decode_luminance(encoded: torch.Tensor, encoding: str) -> torch.Tensor:
    """Bring encoded luminance back to L in 0..100, the inverse of `encode_luminance`."""
    shift, scale = _encoding_of(encoding)["lightness"]
    return encoded * scale + shift


def encode_ab(ab: torch.Tensor, encoding: str) -> torch.Tensor:
    """Bring a and b to network units: (ab + 128) / 255 (`unit8`) or ab / 110 (`symmetric`)."""
    shift, scale = _encoding_of(encoding)["ab"]
    return (ab - shift) / scale


def decode_ab(encoded: torch.Tensor, encoding: str) -> torch.Tensor:
    """Bring encoded a and b back to Lab units, the inverse of `encode_ab`."""
    shift, scale = _encoding_of(encoding)["ab"]
    return encoded * scale + shift


def output_range(encoding: str, channels: int) -> tuple[float, float]:
    """The ends of what a generator's output takes: of encoded ab, 2 channels, or of RGB, 3."""
    return (0.0, 1.0) if channels == 3 else _encoding_of(encoding)["outputs"]


def reconstruction_to_ab(reconstruction: torch.Tensor, encoding: str) -> torch.Tensor:
    """Bring what a generator gives, of either kind, to a and b in Lab units.

    `reconstruction` is (..., 2, H, W), ab in the units of `encoding`, or (..., 3, H, W), sRGB in 0..1, of which only
    the chroma is taken: the luminance of a result is the photograph's own. The result is (..., 2, H, W) of the same
    dtype. Raises ValueError for another number of channels or another encoding.
    """
    channels = reconstruction.shape[-3] if reconstruction.ndim >= 3 else 0
    if channels not in (2, 3):
        raise ValueError(
            f"reconstruction has shape {tuple(reconstruction.shape)}; "
            "accepted: (..., 2, H, W) encoded ab or (..., 3, H, W) sRGB"
        )
    return decode_ab(reconstruction, encoding) if channels == 2 else rgb_to_lab(reconstruction)[..., 1:, :, :]


@functools.cache
def ab_bins(step: int = 10) -> torch.Tensor:
    """Centers of the squares of the ab plane that sRGB reaches, (260, 2) for the step of 10 Lab units.

    Zhang, Isola and Efros (2016, section 2.1) keep 313 of them, some of which no 8-bit sRGB color falls into. float32,
    on the CPU, sorted by a, then b.
    """
    levels = torch.linspace(0, 1, 52, dtype=torch.float64, device="cpu")
    rgb = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).view(3, -1, 1)
    a, b = (rgb_to_lab(rgb)[1:, :, 0] / step).round().long()  # (52^3,) each
    squares = torch.unique(1024 * a + b)  # sorting numbers takes a hundredth of the time of sorting pairs
    a = (squares + 512).div(1024, rounding_mode="floor")
    return torch.stack((a, squares - 1024 * a), dim=1).float() * step


def luminance_to_unit(encoded: torch.Tensor, encoding: str) -> torch.Tensor:
    """Bring encoded luminance to 0..1 (L / 100), what a generator feeds its trunk whatever the encoding."""
    shift, scale = _encoding_of(encoding)["lightness"]
    return encoded * (scale / 100.0) + shift / 100.0


def _encoding_of(encoding: str) -> dict[str, tuple[float, float]]:
    if encoding not in COLOR_ENCODINGS:
        raise ValueError(f"unknown color encoding {encoding!r}; accepted: {', '.join(COLOR_ENCODINGS)}")
    return _ENCODINGS[encoding]


def require_three_channels(tensor: torch.Tensor, name: str) -> None:
    if tensor.ndim < 3 or tensor.shape[-3] != 3 or not tensor.is_floating_point():
        raise ValueError(
            f"{name} must be a floating point tensor of shape (..., 3, H, W), "
            f"got {tensor.dtype} of shape {tuple(tensor.shape)}"
        )


def _at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


# Each curve is a power above its joint and a line below. Written as the power of the clamped argument plus the line of
# what was clamped away, both parts have finite derivatives everywhere (the power of zero has none), no `where` is
# needed (slow on CPUs), and the parts meet without a step.
# The in-place steps act on fresh temporaries whose values no gradient formula needs.


def srgb_to_linear(coded: torch.Tensor) -> torch.Tensor:
    clamped = coded.clamp(min=SRGB_CODED_JOINT)
    power = (clamped + 0.055).div_(1.055).pow(2.4)
    return power.add_(coded - clamped, alpha=1.0 / SRGB_SLOPE)


def linear_to_srgb(linear: torch.Tensor) -> torch.Tensor:
    clamped = linear.clamp(min=SRGB_LINEAR_JOINT)
    power = clamped.pow(1.0 / 2.4).mul(1.055).sub_(0.055)
    return power.add_(linear - clamped, alpha=SRGB_SLOPE)


def lab_root(ratio: torch.Tensor) -> torch.Tensor:
    clamped = ratio.clamp(min=LAB_JOINT)
    return clamped.pow(1.0 / 3.0).add_(ratio - clamped, alpha=LAB_SLOPE)


def lab_unroot(root: torch.Tensor) -> torch.Tensor:
    clamped = root.clamp(min=LAB_ROOT_JOINT)
    return (clamped * clamped * clamped).add_(root - clamped, alpha=1.0 / LAB_SLOPE)


def _lab_to_linear(lightness: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
    root = (lightness + 16.0) / 116.0
    luminance = lab_unroot(root)
    return add_chroma(root, luminance, luminance, luminance * ((a != 0) | (b != 0)), a, b, SRGB_MIXING)


def add_chroma(
    root: torch.Tensor,
    neutral: torch.Tensor,
    luminance: torch.Tensor,
    tinted: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    mixing: tuple[tuple[float, float, float], ...],
) -> tuple[torch.Tensor, ...]:
    """Linear-light red, green and blue of gray pixels that get the chroma `a`, `b`, equal to the bit where it is 0.

    `root` is f(Y) of the Lab formulas, `neutral` Y computed from it, `luminance` Y itself, `tinted` Y where there is
    chroma and 0 elsewhere, all of one shape. `mixing` says for each channel what the excess of X and of Z over those
    of gray, and Y of colored pixels, add to Y. Channels of colors outside the space lie outside 0..1.
    """
    # Written as gray plus what a and b add, so that nothing is added where they are zero.
    excess_x = lab_unroot(root.add(a, alpha=1.0 / 500.0)).sub_(neutral).mul_(WHITE[0])
    excess_z = lab_unroot(root.sub(b, alpha=1.0 / 200.0)).sub_(neutral).mul_(WHITE[2])
    channels = []
    for of_x, of_z, of_tint in mixing:
        channel = luminance.add(excess_x, alpha=of_x).add_(excess_z, alpha=of_z)
        channels.append(channel.add_(tinted, alpha=of_tint) if of_tint else channel)
    return tuple(channels)
