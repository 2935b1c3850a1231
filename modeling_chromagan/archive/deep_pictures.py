"""PNG, JPEG 2000, AVIF and HEIF pictures of more bits than Pillow reads, at their depth."""

import io

import imagecodecs
import numpy as np
from PIL import Image

from ..image_loading import raw_mode_of
from ..jpeg2000_header import jpeg2000_header
from .deep_samples import DeepSamples, full_range

CMYK, LAB, SYCC = 12, 14, 18  # enumerated color spaces of JPEG 2000, of which the last is Pillow's work
ENUMERATED_SRGB = b"\1\0\0\0\0\0\x10"  # start of a color box (ISO/IEC 15444-1, I.5.3.3)
ORIENTATION = 0x0112
END_OF_PNG = b"IEND\xaeB`\x82"


def read_deep(image: Image.Image, content: bytes, name: str, max_pixels: int) -> DeepSamples | None:
    """The picture of an opened, not yet decoded image at its depth; None where Pillow reads all that there is.

    None as well where the other decoders fail: Pillow then says what is damaged, or reads 8 bits, which is noted.

    Raises:
        ImageLoadError: naming a picture that is too large.
    """
    reader = {"PNG": _png, "JPEG2000": _jpeg2000, "AVIF": _avif, "HEIF": _heif}.get(image.format or "")
    try:
        found = reader(image, content) if reader is not None else None
    except Exception:
        return None
    if found is None or found[0].shape[1::-1] != image.size:
        return None
    samples, profile = found
    orientation = image.getexif().get(ORIENTATION, 1) if image.format in ("PNG", "AVIF") else 1
    orientation = orientation if orientation in range(1, 9) else 1
    return DeepSamples(samples, name, image.format or "", max_pixels, profile=profile, orientation=orientation)


def _png(image: Image.Image, content: bytes) -> tuple[np.ndarray, bytes] | None:
    if raw_mode_of(image) not in ("RGB;16B", "RGBA;16B", "LA;16B") or getattr(image, "is_animated", False):
        return None
    if END_OF_PNG not in content[-65536:]:  # libpng would fill what is missing with black
        return None
    samples, key = imagecodecs.png_decode(content), image.info.get("transparency")
    if key is not None and samples.shape[2] == 3:
        opacity = np.where((samples == np.array(key, np.uint16)).all(-1), 0, 65535).astype(np.uint16)
        samples = np.dstack([samples, opacity])
    return samples, image.info.get("icc_profile", b"")


def _jpeg2000(image: Image.Image, content: bytes) -> tuple[np.ndarray, bytes] | None:
    header = jpeg2000_header(io.BytesIO(content))
    (depth, *others) = set(header.depths)
    if depth <= 8 or others or len(header.depths) == 1 or header.space in (CMYK, LAB, SYCC) or not header.complete:
        return None
    if header.profile:  # which imagecodecs would apply: sRGB in its place
        color = content.index(header.profile) - 3
        content = content[:color] + ENUMERATED_SRGB + content[color + len(ENUMERATED_SRGB) :]
    return full_range(imagecodecs.jpeg2k_decode(content, numthreads=1), depth), header.profile


def _avif(image: Image.Image, content: bytes) -> tuple[np.ndarray, bytes] | None:
    flags = content[content.find(b"av1C") + 6]  # AV1 Codec ISO Media File Format Binding, 2.3.3
    if not flags & 0x40:
        return None
    samples = imagecodecs.avif_decode(content, numthreads=1)
    return full_range(samples, 12 if flags & 0x20 else 10), image.info.get("icc_profile", b"")


def _heif(image: Image.Image, content: bytes) -> tuple[np.ndarray, bytes] | None:
    """libheif turns and crops the picture itself."""
    depth = image.info.get("bit_depth", 8)
    if depth <= 8:
        return None
    import pillow_heif

    picture = pillow_heif.open_heif(content, convert_hdr_to_8bit=False, hdr_to_16bit=True)
    samples = np.asarray(picture[picture.primary_index])
    return full_range(samples >> (16 - depth), depth), image.info.get("icc_profile", b"")
