"""Picture in, color picture out: the `image-to-image` pipeline of a ChromaGAN folder or repository."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import Pipeline
from transformers.dynamic_module_utils import custom_object_save
from transformers.modeling_outputs import ImageSuperResolutionOutput
from transformers.utils import logging

from .durable_files import filling
from .image_processing_chromagan import ChromaGANImageProcessor, name_in_list
from .image_saving import save_image
from .layers import reflect_to_multiple
from .modeling_chromagan import ChromaGANGenerator
from .processor_settings import check_names, check_settings

logger = logging.get_logger(__name__)

TASK = "image-to-image"

# To fill batches, pictures are read ahead until one of these is reached; then all that was read is colorized.
AHEAD_BATCHES = 4
AHEAD_PIXELS = 100_000_000  # of the originals, which wait at one or two bytes a pixel


class ChromaGANPipeline(Pipeline):
    r"""
    Colorizes photographs at their full size.

    ```python
    pipe = pipeline("image-to-image", model="ORG/NAME", trust_remote_code=True)
    pipe("photograph.tif").save("photograph.png")
    ```

    Args:
        model: a `ChromaGANGenerator`, on any device, in any float type; it is put in evaluation mode.
        image_processor: a `ChromaGANImageProcessor`; by default one of the model's encoding.
        size, borders, saturation: used in every call, instead of the image processor's own.
        kwargs: `device`, `batch_size` and whatever else `transformers.Pipeline` takes.

    Raises:
        ValueError: for a wrong setting, or if model and image processor use different color encodings.
    """

    _load_processor = False
    _load_image_processor = True
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(
        self,
        model: ChromaGANGenerator,
        image_processor: ChromaGANImageProcessor | None = None,
        task: str = TASK,
        **kwargs: Any,
    ):
        if image_processor is None:
            image_processor = ChromaGANImageProcessor(encoding=model.config.encoding)
        if image_processor.encoding != model.config.encoding:
            raise ValueError(
                f"encoding of the image processor is {image_processor.encoding!r}; "
                f"accepted: {model.config.encoding!r}, the model's"
            )
        check_batch_size(kwargs.get("batch_size"))
        kwargs.pop("local_files_only", None)  # `transformers.pipeline` hands its own argument on
        super().__init__(model, image_processor=image_processor, task=task, **kwargs)
        self.model.eval()

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike, *, dtype: torch.dtype = torch.float32, device: Any = None, **kwargs: Any
    ) -> "ChromaGANPipeline":
        """Generator and image processor of a folder or Hub id, ready to colorize.

        Args:
            folder: what `save_pretrained` wrote, or a Hub id.
            dtype: of the weights in memory, whatever the file's; float32 is right for CPUs.
            device: as in `transformers.Pipeline`.
            kwargs: handed on to both loaders, such as `revision`.

        Raises:
            OSError: if there is no such model.
        """
        model = ChromaGANGenerator.from_pretrained(folder, dtype=dtype, **kwargs)
        return cls(model, ChromaGANImageProcessor.from_pretrained(folder, **kwargs), device=device)

    def __call__(
        self, inputs: Any, batch_size: int | None = None, **kwargs: Any
    ) -> Image.Image | list[Image.Image] | Iterator[Image.Image]:
        """Colorizes one picture or several.

        Args:
            inputs: a path, bytes, PIL picture, array, tensor or `LoadedImage`; a list of them; or a generator or data
                set of them, which is worked off as its results are taken.
            batch_size: most pictures that go through the network at a time. Only pictures of the same padded network
                size share a batch, so the result does not depend on it (in float32 within 1 of 255).
            size: pixels of the short side of what the network sees, or the image processor's `size`.
            borders: `"auto"` or `"keep"`.
            saturation: 1 for the colors as predicted, 0 (gray) to 2 (twice the chroma, within sRGB).

        Returns:
            A picture of the input's size, RGB or (where the input has alpha) RGBA; for several, in the order of the
            inputs, a list, or an iterator for a generator or data set.

        Raises:
            ImageLoadError: naming the picture that could not be read, and why.
            ValueError: naming a wrong setting.
        """
        if isinstance(inputs, list | tuple):
            inputs = list(inputs)
            if not inputs:  # the base class looks at the first of them
                return []
        check_batch_size(batch_size)
        return super().__call__(inputs, batch_size=batch_size, **kwargs)

    def _sanitize_parameters(
        self, size: Any = None, borders: Any = None, saturation: Any = None, **unknown: Any
    ) -> tuple[dict, dict, dict]:
        check_names(unknown, ("size", "borders", "saturation", "batch_size"))
        given = {"size": size, "borders": borders, "saturation": saturation}
        given = {name: value for name, value in given.items() if value is not None}
        check_settings(**given)
        postprocess_params = {name: given.pop(name) for name in ("saturation",) if name in given}
        return given, {}, postprocess_params

    def preprocess(self, image: Any, name: str | None = None, **settings: Any) -> dict[str, Any]:
        prepared = self.image_processor.prepare(image, name=name, **settings)
        pixel_values = prepared.pixel_values[None].to(self.model.dtype)  # (1, 1, h, w)
        # As the generator itself does; done here, pictures of one padded size can share a batch.
        pixel_values = reflect_to_multiple(pixel_values, self.model.network.size_multiple)
        return {"pixel_values": pixel_values, "originals": [prepared]}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        reconstruction = self.model(pixel_values=model_inputs["pixel_values"]).reconstruction
        return {"reconstruction": reconstruction.float(), "originals": model_inputs["originals"]}

    def postprocess(self, model_outputs: dict[str, Any], **settings: Any) -> Image.Image:
        (original,) = model_outputs["originals"]
        height, width = original.pixel_values.shape[-2:]
        outputs = ImageSuperResolutionOutput(reconstruction=model_outputs["reconstruction"][..., :height, :width])
        return self.image_processor.post_process_colorization(outputs, [original], **settings)[0]

    def get_iterator(
        self,
        inputs: Any,
        num_workers: int,
        batch_size: int,
        preprocess_params: Mapping[str, Any],
        forward_params: Mapping[str, Any],
        postprocess_params: Mapping[str, Any],
    ) -> Iterator[Image.Image]:
        """Colorizes the pictures of `inputs` one after the other, reading ahead only as far as batches need it."""
        if num_workers:
            logger.warning_once(f"num_workers={num_workers} is ignored: pictures are read one after the other")
        count = len(inputs) if isinstance(inputs, Sized) else None
        items = inputs if isinstance(inputs, Iterable) else (inputs[i] for i in range(len(inputs)))
        ahead = AHEAD_BATCHES * batch_size if batch_size > 1 else 1
        window, pixels = [], 0
        for i, item in enumerate(items):
            model_inputs = self.preprocess(item, name=name_in_list(item, i, count), **preprocess_params)
            pixels += model_inputs["originals"][0].original.gray.size
            window.append(model_inputs)
            del item, model_inputs  # or the picture would live on while the next one is read
            if len(window) >= ahead or pixels >= AHEAD_PIXELS:
                yield from self.run_in_batches(window, batch_size, forward_params, postprocess_params)
                pixels = 0
        yield from self.run_in_batches(window, batch_size, forward_params, postprocess_params)

    def run_in_batches(
        self,
        prepared: list[dict[str, Any]],
        batch_size: int,
        forward_params: Mapping[str, Any],
        postprocess_params: Mapping[str, Any],
    ) -> Iterator[Image.Image]:
        """Runs prepared pictures in batches of equal network size; gives results in their order and empties the list.

        Never padded to the largest: the global features are pooled over the whole picture and would see the padding.
        """
        groups = defaultdict(list)
        for position, model_inputs in enumerate(prepared):
            groups[model_inputs["pixel_values"].shape].append(position)
        reconstructions: dict[int, torch.Tensor] = {}
        for positions in groups.values():
            for start in range(0, len(positions), batch_size):
                chunk = positions[start : start + batch_size]
                batch = {
                    "pixel_values": torch.cat([prepared[position]["pixel_values"] for position in chunk]),
                    "originals": [prepared[position]["originals"][0] for position in chunk],
                }
                outputs = self.forward(batch, **forward_params)
                reconstructions |= zip(chunk, outputs["reconstruction"].split(1), strict=True)
        for position in range(len(prepared)):
            model_outputs = {
                "reconstruction": reconstructions.pop(position),
                "originals": prepared.pop(0)["originals"],
            }
            yield self.postprocess(model_outputs, **postprocess_params)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Writes weights, settings and code: what `pipeline(model=save_directory, trust_remote_code=True)` needs.

        The task is written here rather than registered with transformers, which removed its own `image-to-image` in
        version 5 and finds ours in a folder's config.json only.
        """
        module = type(self).__module__.rpartition(".")[2]
        self.model.config.custom_pipelines = {
            TASK: {"impl": f"{module}.{type(self).__name__}", "pt": ["AutoModelForImageToImage"], "type": "image"}
        }
        super().save_pretrained(save_directory, **kwargs)
        with filling(Path(save_directory)) as partial:
            custom_object_save(self, partial)


def check_batch_size(batch_size: int | None) -> None:
    """Raises ValueError for anything but `None` and whole numbers from 1 upwards."""
    if batch_size is not None and (isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size is {batch_size!r}; accepted: a whole number from 1 upwards")


__all__ = ["ChromaGANPipeline", "save_image"]  # the latter so that it travels with saved models
