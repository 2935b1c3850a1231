"""The named protocols of an evaluation: which pictures, at which size, compared how. A name fixes all of it.

Figures of two protocols are never comparable. Every protocol but `legacy-tiny224` leaves out photographs that are
nearly gray, because gray is the right answer there and any network is punished for an attempt.
"""

from dataclasses import dataclass

from PIL import Image

MIN_COLORFULNESS = 12.0  # of the truth, after Hasler and Suesstrunk: below it observers call a picture not colorful


@dataclass(frozen=True)
class Protocol:
    """One way of measuring.

    Args:
        name: what `--protocol` takes.
        summary: what is done, for tables and help.
        resize: `"none"` keeps pictures, `"stretch"` brings both sides to `size`, `"crop"` does so with the largest
            centered square; both by Pillow's bilinear filter, which averages where it reduces.
        size: side in pixels of what the network sees and of the comparison; `None` is each picture's own size.
        network: `"direct"`: the network sees the compared picture as it is, and its chroma is not filtered;
            `"pipeline"`: the whole image processor at its own settings, as a user gets it, picture by picture.
        first: only so many pictures from the start of the split; `None` is all.
        min_colorfulness: less colorful truths are left out and counted; 0 leaves out none.
        peak: of the PSNR: 255, or `"truth"`, the largest value in each true picture.
        averaging: of the PSNR: over `"pictures"`, or within each batch and then over `"batches"`.
        least_mean_square: PSNR counts smaller errors (0..1, squared) as this one; 0 makes equal pictures infinite.
    """

    name: str
    summary: str
    resize: str = "none"
    size: int | None = None
    network: str = "direct"
    first: int | None = None
    min_colorfulness: float = MIN_COLORFULNESS
    peak: float | str = 255.0
    averaging: str = "pictures"
    least_mean_square: float = 0.0

    def fit(self, picture: Image.Image) -> Image.Image:
        """The picture, RGB, as it is compared.

        Raises:
            ValueError: if the protocol does not resize and the picture has another size than its own.
        """
        if self.size is None or (self.resize == "none" and picture.size == (self.size, self.size)):
            return picture
        if self.resize == "none":
            raise ValueError(f"is {picture.width}x{picture.height}; {self.name} accepts {self.size}x{self.size}")
        left, top, side_x, side_y = 0, 0, picture.width, picture.height
        if self.resize == "crop":
            side_x = side_y = min(picture.size)
            left, top = (picture.width - side_x) // 2, (picture.height - side_y) // 2
        box = (left, top, left + side_x, top + side_y)
        return picture.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("tiny64", "pictures of 64x64 as they are", size=64),
        Protocol("tiny224", "stretched to 224x224, bilinear", resize="stretch", size=224),
        Protocol(
            "val5k",
            "the first 5,000, their largest centered square at 256x256, bilinear",
            resize="crop",
            size=256,
            first=5000,
        ),
        Protocol("stretch256", "stretched to 256x256, bilinear", resize="stretch", size=256),
        Protocol("native", "full size through the image processor, as a user gets it", network="pipeline"),
        Protocol(
            "legacy-tiny224",
            "stretched to 224x224, bilinear; gray pictures too; PSNR with the peak of each truth, averaged in "
            "batches, exact pictures counting 100 dB",
            resize="stretch",
            size=224,
            min_colorfulness=0.0,
            peak="truth",
            averaging="batches",
            # Grey meets gray pictures exactly; uncapped, 2 % of the pictures would make the mean infinite. Capped at
            # 100 dB plain grey scores the 24.4 dB that belong to the figures once reported this way.
            least_mean_square=1e-10,
        ),
    )
}

__all__ = ["MIN_COLORFULNESS", "PROTOCOLS", "Protocol"]
