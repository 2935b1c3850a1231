"""File formats of pictures: suffixes of what can be read and written, names of results."""

from pathlib import PurePath

# What Pillow reads, ...
PILLOW_SUFFIXES = frozenset(
    (
        *(
            ".jpg",
            ".jpeg",
            ".jpe",
            ".jfif",
            ".mpo",
            ".png",
            ".apng",
            ".tif",
            ".tiff",
            ".webp",
            ".bmp",
            ".gif",
            ".avif",
        ),
        *(".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf"),
    )
)
# ... what takes other libraries, ...
HEIF_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
JPEG_XL_SUFFIXES = frozenset((".jxl",))
# ... and what has to be developed first: files of sensors. They are refused, not skipped.
RAW_SUFFIXES = frozenset(
    (
        *(".3fr", ".ari", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".erf", ".fff"),
        *(".gpr", ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw"),
        *(".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
    )
)
PICTURE_SUFFIXES = PILLOW_SUFFIXES | HEIF_SUFFIXES | JPEG_XL_SUFFIXES | RAW_SUFFIXES

# The suffixes of every output format; a new name gets the first one.
SUFFIXES = {
    "png": (".png", ".apng"),
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "webp": (".webp",),
    "tiff": (".tif", ".tiff"),
    "avif": (".avif",),
    "jp2": (".jp2", ".jpx"),
}
OUTPUT_FORMATS = tuple(SUFFIXES)
FORMAT_OF_SUFFIX = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}


def output_name(name: str, output_format: str | None = None, *, keep_suffix: bool = False) -> str:
    """The file name under which the colorization of the picture `name` is stored.

    Without `output_format` (one of `OUTPUT_FORMATS`) the picture keeps its own format if that is among them, and
    becomes a PNG if not. A suffix that already names the format is left as it is. `keep_suffix` appends the new
    suffix to the whole name ("a.jpg.png"), for pictures that would otherwise share one output.
    """
    suffix = PurePath(name).suffix
    own_format = FORMAT_OF_SUFFIX.get(suffix.lower())
    output_format = output_format or own_format or "png"
    new_suffix = suffix if own_format == output_format else SUFFIXES[output_format][0]
    is_picture_suffix = suffix.lower() in PICTURE_SUFFIXES or own_format is not None
    if is_picture_suffix and not keep_suffix:
        name = name.removesuffix(suffix)
    return name + new_suffix


__all__ = [
    "FORMAT_OF_SUFFIX",
    "HEIF_SUFFIXES",
    "JPEG_XL_SUFFIXES",
    "OUTPUT_FORMATS",
    "PICTURE_SUFFIXES",
    "PILLOW_SUFFIXES",
    "RAW_SUFFIXES",
    "output_name",
]
