"""Builds the page that colorizes in the visitor's own browser, and serves it.

    python space/browser/build.py MODEL -o FOLDER            # everything that a static web server needs
    python space/browser/build.py MODEL -o FOLDER --serve    # the same, then at http://127.0.0.1:8000
    python space/browser/build.py -o FOLDER --serve          # a folder that was built before

MODEL is a folder or a Hub id. Needs npm, which fetches the two libraries of package-lock.json, and the extra `onnx`.
"""

import argparse
import functools
import hashlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))  # of this checkout, installed or not

from modeling_chromagan import __version__
from modeling_chromagan.durable_files import write_text
from modeling_chromagan.errors import SettingError, UserError, one_line

PAGE = (
    *("index.html", "style.css", "icon.svg", "app.webmanifest", "README.md", "LICENSES.txt"),
    *("page.js", "backend.js", "colorizer.js", "comparison.js", "queue_view.js", "downloads.js", "offline.js"),
    *("calls.js", "network_worker.js", "picture_worker.js"),
    *("decoding.js", "resizing.js", "color.js", "composition.js"),
)
SERVICE_WORKER = "service_worker.js"
EXAMPLE = ROOT / "examples" / "saratoga-1900-1915.jpg"
ONNXRUNTIME = "onnxruntime-web/dist"
# Of each backend: what the page imports, what that loads, and the program itself.
RUNTIMES = {
    "wasm": ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": (
        "ort.webgpu.min.mjs",
        "ort-wasm-simd-threaded.asyncify.mjs",
        "ort-wasm-simd-threaded.asyncify.wasm",
    ),
}
BILINEAR = 2
TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".onnx": "application/octet-stream",
    ".md": "text/markdown; charset=utf-8",
}


def build(model: str, folder: Path) -> None:
    """Writes the whole page to `folder`, which is new, empty, or one that was built before.

    Raises:
        UserError: in one line, if the model, npm or the folder is not as it should be; the folder stays as it was.
    """
    check_folder(folder)
    npm = shutil.which("npm")
    if npm is None:
        raise SettingError("npm is missing; it comes with Node.js, and fetches what package-lock.json names")
    processor = load_settings(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        made = Path(temporary, "page")
        (made / "vendor").mkdir(parents=True)
        for name in (*PAGE, SERVICE_WORKER):
            shutil.copyfile(HERE / name, made / name)
        shutil.copyfile(EXAMPLE, made / "example.jpg")
        copy_libraries(npm, Path(temporary, "libraries"), made / "vendor")
        network = export(model, made)
        write_lists(made, network, processor)
        old = Path(temporary, "old")
        if folder.exists():
            folder.rename(old)
        made.rename(folder)


def check_folder(folder: Path) -> None:
    """Raises SettingError for a folder that holds something else."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / "settings.json").is_file()):
        raise SettingError(f"-o {folder} holds something else; accepted: a new or empty folder, or one built before")


def load_settings(model: str) -> dict:
    """What the page needs of the image processor.

    Raises:
        UserError: naming the model, or a setting that the page does not have.
    """
    from modeling_chromagan.sources.models import load_image_processor

    processor = load_image_processor(model)
    if processor.resample != BILINEAR or not processor.do_resize:
        raise SettingError(
            f"{model}: its processor has resample {processor.resample} and do_resize {processor.do_resize}; accepted "
            f"for the page: {BILINEAR} (bilinear) and True"
        )
    return {"size": dict(processor.size), "saturation": processor.saturation}


def copy_libraries(npm: str, work: Path, vendor: Path) -> None:
    """Has npm fetch the libraries of the lock file into `work`, and copies what the page uses.

    Raises:
        UserError: if npm cannot.
    """
    work.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(HERE / name, work / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    run = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if run.returncode:
        lines = [line.removeprefix("npm error").strip() for line in run.stderr.splitlines()]
        raise UserError(f"npm ci failed: {one_line(' '.join(filter(None, lines)), 300) or run.returncode}")
    modules = work / "node_modules"
    for name in {name for files in RUNTIMES.values() for name in files}:
        shutil.copyfile(modules / ONNXRUNTIME / name, vendor / name)
    shutil.copyfile(modules / "client-zip" / "index.js", vendor / "client-zip.js")


def export(model: str, folder: Path) -> str:
    """Writes the network to `folder` and gives the name of its file."""
    import transformers

    from modeling_chromagan.publishing.onnx_export import export_onnx

    transformers.logging.disable_progress_bar()
    return export_onnx(model, folder, float16=True).name


def write_lists(folder: Path, network: str, processor: dict) -> None:
    """Writes settings.json, which the page reads, and files.js, by which the service worker keeps the files."""
    runtimes = {
        backend: dict(zip(("module", "loader", "binary"), (f"vendor/{name}" for name in names), strict=True))
        for backend, names in RUNTIMES.items()
    }
    late = {network, *(path for runtime in runtimes.values() for path in runtime.values())}
    settings = {
        **processor,
        "version": __version__,
        "example": EXAMPLE.name,
        "model": network,
        "runtimes": runtimes,
        "files": {path: describe(folder / path) for path in sorted(late)},
    }
    write_text(folder / "settings.json", json.dumps(settings, indent=1) + "\n")
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = {
        path: {"sha256": describe(folder / path)["sha256"], "isLarge": path in late}
        for path in paths
        if path not in (SERVICE_WORKER, "README.md")
    }
    listed = json.dumps({"FILES": files, "HEADERS": headers(folder)}, indent=1)
    write_text(folder / "files.js", f"self.CHROMAGAN = {listed};\n")


def describe(path: Path) -> dict:
    return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def headers(folder: Path) -> dict[str, str]:
    """What the page's files are sent with: isolation, without which WebAssembly has one thread, and the policy."""
    text = (folder / "index.html").read_text(encoding="utf-8")
    policy = re.search(r'"Content-Security-Policy"\s+content="([^"]+)"', text)
    if policy is None:
        raise UserError(f"{folder / 'index.html'} has no Content-Security-Policy")
    return {
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Content-Security-Policy": policy[1],
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


class PageHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a built folder with the headers that a static Space sends too."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | TYPES
    protocol_version = "HTTP/1.1"

    def end_headers(self) -> None:
        for name, value in headers(Path(self.directory)).items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing: whoever serves a page wants to know its address, not every file."""


def make_server(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """A server of a built folder on this machine alone; port 0 finds a free one.

    Raises:
        UserError: if the folder holds no page, or the port is taken.
    """
    if not (folder / "settings.json").is_file():
        raise SettingError(f"-o {folder} holds no page; accepted: a folder that this command has built")
    try:
        return http.server.ThreadingHTTPServer(
            ("127.0.0.1", port), functools.partial(PageHandler, directory=str(folder))
        )
    except OSError as error:
        raise UserError(f"--serve {port}: {error.strerror or error}") from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="build.py", description="Build the page that colorizes in the visitor's own browser.", allow_abbrev=False
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a folder or a Hub id; left out with --serve alone")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FOLDER", help="where the page goes")
    parser.add_argument("--serve", nargs="?", type=int, const=8000, metavar="PORT", help="serve it (default: 8000)")
    options = parser.parse_args(arguments)
    if options.model is None and options.serve is None:
        parser.error("MODEL is missing; without one, --serve serves a folder that was built before")
    folder = options.output.absolute()
    try:
        if options.model is not None:
            build(options.model, folder)
            print(f"{options.output}: {sum(path.stat().st_size for path in folder.rglob('*')) / 1e6:.1f} MB")
        if options.serve is not None:
            with make_server(folder, options.serve) as server:
                print(f"http://127.0.0.1:{server.server_port} (Ctrl+C ends it)", flush=True)
                server.serve_forever()
    except (UserError, OSError) as error:
        print(f"build.py: error: {one_line(error)}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
