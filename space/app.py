"""The page: one photograph in, its colorization at full size out, before and after under one slider.

The weights are those that CHROMAGAN_MODEL names (a folder, OWNER/NAME or OWNER/NAME@COMMIT), else the ones that come
with the installed package, else those that README.md beside this file names under `preload_from_hub`. Without the
package the code comes from the model's own repository, and only at a commit: a branch may change under the page.
"""

import importlib
import importlib.util
import os
import re
import secrets
import signal
import sys
import tempfile
from pathlib import Path

try:
    import spaces  # has to come before anything that may touch CUDA; only ZeroGPU Spaces have it
except ImportError:
    spaces = None

import gradio as gr
import torch
import transformers
from huggingface_hub import metadata_load
from PIL import Image

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent if (HERE.parent / "modeling_chromagan").is_dir() else None
if CHECKOUT:
    sys.path.insert(0, str(CHECKOUT))
installed = importlib.util.find_spec("modeling_chromagan") is not None
package = importlib.import_module("modeling_chromagan") if installed else None

MAX_MEGABYTES = 100  # a 16-bit gray picture of MAX_PIXELS, uncompressed, fits
MAX_PIXELS = 40_000_000
MAX_WAITING = 16  # visitors in the queue; the next one is told to come back later
MINUTES_KEPT = 15  # how long an uploaded picture and its result stay on the server's disk
PREVIEW_SIDE = 1600  # pixels of the long side of what the slider shows; the download has them all
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

# Everything of visitors lies in one folder of this process, which goes with it; set before Gradio looks.
cache = tempfile.TemporaryDirectory(
    prefix="chromagan-", dir=os.environ.get("GRADIO_TEMP_DIR"), ignore_cleanup_errors=True
)
os.environ["GRADIO_TEMP_DIR"] = cache.name


def find_model() -> tuple[str, str | None]:
    """Folder or Hub id of the weights, and the revision of the latter (`None`: the newest).

    Ends the program with one line if there are none, or if code from the Hub would run that no commit pins.
    """
    named = os.environ.get("CHROMAGAN_MODEL")
    if named:
        setting, (model, _, revision) = f"CHROMAGAN_MODEL={named}", named.partition("@")
        if Path(named).is_dir():
            return named, None
    elif package and (package.PACKAGED_WEIGHTS / "config.json").is_file():
        return str(package.PACKAGED_WEIGHTS), None
    else:
        entries = (metadata_load(HERE / "README.md") or {}).get("preload_from_hub", [])
        if not entries:
            sys.exit(
                f"no weights: set CHROMAGAN_MODEL, or name a model under preload_from_hub in {HERE / 'README.md'}"
            )
        setting = f"preload_from_hub: {entries[0]}"
        model, revision = entries[0].split()[0], entries[0].split()[-1]
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model):
        sys.exit(f"{setting}: neither a folder nor a Hub id; accepted: a folder, OWNER/NAME@COMMIT")
    if not package and not re.fullmatch(r"[0-9a-f]{40}", revision):
        sys.exit(
            f"{setting}: runs code of that repository; accepted: OWNER/NAME and a commit of 40 hexadecimal digits"
        )
    return model, revision or None


def load_colorizer() -> transformers.Pipeline:
    """The pipeline that the page runs, in float32; ends the program with one line if it cannot be loaded."""
    model, revision = find_model()
    if package:
        models = importlib.import_module("modeling_chromagan.sources.models")
        try:
            return models.load_pipeline(models.ModelSource(model, f"the model {model}", revision), DEVICE)
        except models.ModelError as error:
            sys.exit(str(error))
    try:
        colorizer = transformers.pipeline(
            "image-to-image",
            model=model,
            revision=revision,
            dtype=torch.float32,
            device=DEVICE,
            trust_remote_code=True,
            model_kwargs={"class_head": False},
        )
    except (OSError, ValueError) as error:
        sys.exit(f"the model {model} cannot be loaded: {str(error).strip().splitlines()[0]}")
    colorizer.model.fold_batch_norms()
    return colorizer


if "CPU_CORES" in os.environ:  # set on Spaces, where torch counts the cores of the whole machine
    torch.set_num_threads(max(1, int(float(os.environ["CPU_CORES"]))))
colorizer = load_colorizer()
colorizer.image_processor.max_pixels = MAX_PIXELS


def run_network(original, **settings) -> Image.Image:
    """The part of the work that a GPU speeds up."""
    return colorizer(original, **settings)


if spaces is not None:
    run_network = spaces.GPU(run_network)


def colorize(
    path: str | None, working_size: float, saturation: float, find_margins: bool
) -> tuple[str, tuple[str, str]]:
    """Colorizes a photograph at its full size; its luminance stays as it is.

    Args:
        path: the picture file: JPEG, PNG (8 or 16 bits), TIFF, WebP, BMP, GIF or AVIF.
        working_size: pixels of the short side of what the network sees.
        saturation: strength of the colors, 0 (gray) to 2; 1 is as predicted.
        find_margins: whether the margins of a scan are left out of what the network sees and stay neutral.

    Returns:
        The full-size result and reduced pictures before and after: PNG files.
    """
    if path is None:
        raise gr.Error("Choose a picture first.", print_exception=False)
    name = Path(path).name
    try:
        original = colorizer.image_processor.load(path, name=name)
    except ValueError as error:  # ImageLoadError, whose class is another one where the code comes from the Hub
        raise gr.Error(str(error), duration=None, print_exception=False) from None
    borders = "auto" if find_margins else "keep"
    result = run_network(original, size=int(working_size), saturation=saturation, borders=borders)
    before, after = previews(original, result)
    colorized, *shown = save_pictures({"colorized": result, "before": before, "after": after}, Path(name).stem)
    return colorized, tuple(shown)


def save_pictures(pictures: dict[str, Image.Image], stem: str) -> list[str]:
    """Writes STEM-NAME.png for each picture into Gradio's cache, where `delete_cache` reaches it; returns the paths.

    The folder's name is random: whoever has the address of a file can fetch it, and Gradio, were it given the
    pictures themselves, would write the same ones to the same file again while another visitor is fetching it.
    """
    folder, save_image = Path(cache.name) / secrets.token_hex(16), sys.modules[type(colorizer).__module__].save_image
    paths = [folder / f"{stem}-{name}.png" for name in pictures]
    for path, picture in zip(paths, pictures.values(), strict=True):
        save_image(picture, path)
    return [str(path) for path in paths]


def previews(original, result: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The picture before, in 8-bit gray, and after, both reduced to what a screen shows."""
    before, after = original.as_shown(result.mode), result.copy()
    for picture in (before, after):
        picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return before, after


def find_examples() -> list[str]:
    """The pictures in `examples` beside this file, else at the root of the checkout."""
    for folder in (HERE / "examples", CHECKOUT and CHECKOUT / "examples"):
        if folder and folder.is_dir():
            return [str(path) for path in sorted(folder.iterdir()) if path.suffix in (".jpg", ".jpeg", ".png")]
    return []


EXAMPLES = find_examples()
gr.set_static_paths(EXAMPLES)  # served from where they are: not copied, not deleted

with gr.Blocks(title="ChromaGAN", analytics_enabled=False, delete_cache=(60, MINUTES_KEPT * 60)) as demo:
    gr.Markdown(
        "# ChromaGAN: color for black-and-white photographs\n"
        "Light and shade stay as the photograph has them, at its full size. The colors are invented: plausible "
        "ones, not those that were there."
    )
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            picture = gr.File(label="Photograph", file_types=["image"], height=170)
            # The loader gets the file as it came. gr.File's own step would refuse some with a traceback in the log and
            # leave an empty file behind with every call; gr.Image opens pictures itself, with the same traceback.
            picture.preprocess = lambda payload: payload and payload.path
            working_size = gr.Slider(
                160,
                512,
                value=colorizer.image_processor.size["shortest_edge"],
                step=32,  # the network pads sides to multiples of it
                label="Working size",
                info="Pixels of the short side of what the network sees. Smaller suits one large subject, larger a "
                "scene; another size gives other colors.",
            )
            saturation = gr.Slider(
                0,
                2,
                value=colorizer.image_processor.saturation,
                step=0.05,
                label="Saturation",
                info="Strength of the colors. 0 is gray, 1 is what the network predicts.",
            )
            find_margins = gr.Checkbox(
                True, label="Keep margins neutral", info="Film rebates, mounts and paper around a scan stay gray."
            )
            start = gr.Button("Colorize", variant="primary")
        with gr.Column(scale=5, min_width=320):
            comparison = gr.ImageSlider(
                label="Before and after", interactive=False, buttons=["fullscreen"], max_height=640
            )
            with gr.Row(visible=False) as offer:
                download = gr.DownloadButton("Download at full size (PNG)")
    if EXAMPLES:
        examples = gr.Dataset(
            label="Examples", components=[gr.Image(visible=False)], samples=[[path] for path in EXAMPLES]
        )
    gr.Markdown(
        f"JPEG, PNG, TIFF, WebP, BMP, GIF and AVIF up to {MAX_MEGABYTES} MB and {MAX_PIXELS // 1_000_000} "
        "megapixels, 16-bit scans included. No picture is kept: yours and its result are deleted from the server "
        f"after about {MINUTES_KEPT} minutes."
    )

    # Shown and hidden is the row around the download, not the download itself: a component that an event returns (as
    # gr.Row(...) or gr.update(...)) is copied for the session, and files given to a copy are never deleted.
    def show_nothing() -> tuple[None, None, gr.Row]:
        return None, None, gr.Row(visible=False)

    shown = [download, comparison, offer]
    at_once = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}

    def colorize_after(event, **options):
        colorized = event(
            colorize, [picture, working_size, saturation, find_margins], shown[:2], concurrency_id="model", **options
        )
        colorized.success(lambda: gr.Row(visible=True), None, offer, **at_once)
        colorized.failure(show_nothing, None, shown, **at_once)

    colorize_after(start.click, api_name="colorize")
    colorize_after(picture.upload, api_visibility="private")
    picture.clear(show_nothing, None, shown, **at_once)
    if EXAMPLES:
        chosen = examples.click(lambda sample: sample[0], examples, picture, **at_once)
        colorize_after(chosen.then, api_visibility="private")

demo.queue(max_size=MAX_WAITING, default_concurrency_limit=1)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or `cache` would outlive the process
    print(f"weights: {colorizer.model.name_or_path} on {DEVICE}", flush=True)
    demo.launch(max_file_size=f"{MAX_MEGABYTES}mb", run_history=False, footer_links=["api", "gradio", "settings"])
