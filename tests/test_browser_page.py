"""The page in the browser, driven as a visitor drives it, in headless Chromium: colors, privacy, use offline."""

import contextlib
import functools
import http.server
import importlib.util
import io
import json
import os
import re
import shutil
import socketserver
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT
from filelock import FileLock
from huggingface_hub import metadata_load
from peak_memory import peak_memory
from PIL import Image

from modeling_chromagan import PACKAGED_WEIGHTS
from modeling_chromagan.image_loading import load_image
from modeling_chromagan.sources.models import load_pipeline

SOURCE = ROOT / "space" / "browser"
EXAMPLES = ROOT / "examples"
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--force-color-profile=srgb"),
)
# What Chromium asks its makers by itself, whatever page is open: also without HTTPS, where that is refused.
OF_CHROMIUM = re.compile(rb"[A-Z]+ (http://)?[\w.-]+\.(google|googleapis|gstatic|gvt1)\.com[:/]")
PATIENCE = 180_000  # milliseconds: other tests compute beside


@pytest.fixture(scope="session")
def builder() -> ModuleType:
    specification = importlib.util.spec_from_file_location("browser_build", SOURCE / "build.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def built(builder, request, tmp_path_factory) -> Path:
    """The page around the packaged weights, built once by whichever process comes first."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm, which fetches the page's libraries")
    pytest.importorskip("onnxscript", reason="the extra onnx, which exports the network, is not installed")
    graph = request.getfixturevalue("packaged_graphs")["float16"]
    temporary = tmp_path_factory.getbasetemp()
    folder = (temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary) / "browser-page"
    with FileLock(folder.with_suffix(".lock")), pytest.MonkeyPatch.context() as patch:
        # Building with an export of its own is in tests/test_hub_upload.py.
        patch.setattr(builder, "export", lambda model, made: Path(shutil.copy(graph, made)).name)
        if not folder.exists():
            builder.build(str(PACKAGED_WEIGHTS), folder)
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium")
    return found


@contextlib.contextmanager
def serving(server: socketserver.ThreadingTCPServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def chromium_context(chromium: str, *more_options: str):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=[*OPTIONS, *more_options], timeout=PATIENCE)
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(PATIENCE)
        yield context
        browser.close()


@pytest.fixture
def context(chromium):
    with chromium_context(chromium) as context:
        yield context


@pytest.fixture
def address(builder, built) -> Iterator[str]:
    with serving(builder.make_server(built, 0)) as address:
        yield address


def visit(context, address: str):
    """A new tab with the page, ready; what goes wrong in it fails the test."""
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page raises {error}"))
    page.goto(address)
    page.wait_for_selector("html[data-ready]", state="attached")
    return page


def colorize(page, *paths: Path) -> None:
    """Chooses files and waits until all of them are finished."""
    before = page.locator("#pictures li.done, #pictures li.failed").count()
    page.set_input_files("#files", paths)
    wait_for(page, lambda: page.locator("#pictures li.done, #pictures li.failed").count() == before + len(paths))


def wait_for(page, condition: Callable[[], bool]) -> None:
    """Polls from here: the page's policy forbids evaluating strings in it."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < deadline, page.inner_text("main")
        page.wait_for_timeout(50)


def download(page, button: str = "#download") -> tuple[str, bytes]:
    """Name and content of what a button saves."""
    wait_for(page, lambda: page.is_enabled(button))
    with page.expect_download() as waiting:
        page.click(button)
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def downloaded_picture(page) -> np.ndarray:
    with Image.open(io.BytesIO(download(page)[1])) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def set_slider(page, slider: str, value: float) -> None:
    page.locator(slider).evaluate(
        "(input, value) => { input.value = value; for (const kind of ['input', 'change'])"
        " input.dispatchEvent(new Event(kind, { bubbles: true })); }",
        value,
    )


@pytest.fixture(scope="session")
def pipeline():
    return load_pipeline(str(PACKAGED_WEIGHTS), borders="keep")


def differences(pipeline, path: Path, colored: np.ndarray) -> np.ndarray:
    """Between the page's colors and those of the package, (H, W, 3), in levels of 255."""
    expected = np.asarray(pipeline(path).convert("RGB")).astype(int)
    assert colored.shape == expected.shape
    assert np.ptp(expected, axis=2).mean() > 5, "nothing was colored"
    return np.abs(colored - expected)


@pytest.mark.slow
def test_photographs_get_the_colors_that_the_package_gives_them(address, context, pipeline):
    page = visit(context, address)
    assert re.search(r"a download of \d\d MB", page.inner_text("#size"))
    for name in ("saratoga-1900-1915.jpg", "LC-USF34-058042.jpg"):  # stored as colors, and as gray
        colorize(page, EXAMPLES / name)
        assert differences(pipeline, EXAMPLES / name, downloaded_picture(page)).max() <= 2
        page.click("#pictures li .remove")
    assert page.is_hidden("#loading")

    # Browsers apply the profile of a gray picture in 8 bits, the package in 16: one gray level, a little more of blue.
    name = "LC-USF33-012448.jpg"
    colorize(page, EXAMPLES / name)
    off = differences(pipeline, EXAMPLES / name, downloaded_picture(page))
    assert (off > 2).mean() < 1e-3
    assert off.max() <= 5

    page.check("input[value='image/jpeg']")
    file_name, content = download(page)
    assert file_name == f"{Path(name).stem}-color.jpg"
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "JPEG"


@pytest.mark.slow
def test_every_gray_value_is_kept(address, context, tmp_path):
    levels = np.arange(256, dtype=np.uint8)
    gray = np.concatenate(
        [np.tile(levels, (120, 1)), np.asarray(Image.open(EXAMPLES / "LC-USF34-058042.jpg"))[:, :256]]
    )
    Image.fromarray(gray).save(tmp_path / "gray.png")
    page = visit(context, address)
    colorize(page, tmp_path / "gray.png")
    set_slider(page, "#saturation", 2)
    colored = downloaded_picture(page)
    assert np.ptp(colored, axis=2).mean() > 3, "nothing was colored"
    linear = np.where(colored <= 0.04045 * 255, colored / 255 / 12.92, ((colored / 255 + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.212671, 0.715160, 0.072169])
    coded = np.where(luminance <= 0.0031308, luminance * 12.92, 1.055 * luminance ** (1 / 2.4) - 0.055)
    assert np.array_equal(np.rint(coded * 255), gray)


@contextlib.contextmanager
def recording_proxy() -> Iterator[tuple[str, list[bytes]]]:
    """The address of a proxy that answers nobody, and what pages asked it for."""
    asked: list[bytes] = []

    class Recorder(socketserver.StreamRequestHandler):
        def handle(self) -> None:  # of each connection on its own: some are opened ahead, and say nothing
            with contextlib.suppress(OSError):
                line = self.rfile.readline(200)
                if line and not OF_CHROMIUM.match(line):
                    asked.append(line)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Recorder)
    server.daemon_threads = True
    with serving(server) as address:
        yield address.removeprefix("http://").rstrip("/"), asked


@pytest.mark.slow
def test_no_request_leaves_the_origin(address, chromium):
    with recording_proxy() as (proxy, asked), chromium_context(chromium, f"--proxy-server={proxy}") as context:
        requested: list[str] = []
        context.on("request", lambda request: requested.append(request.url))
        page = visit(context, address)
        colorize(page, EXAMPLES / "saratoga-1900-1915.jpg")
        download(page)
        assert any(url.endswith(".onnx") for url in requested), "this test does not see what the workers load"
        assert [url for url in requested if not url.startswith((address, f"blob:{address}"))] == []
        assert asked == [], "something was asked of another host"

        # By the policy, not by good will alone: whatever a script of the page tries comes to nothing.
        tried = "(f) => { new Image().src = f; return fetch(f).then(() => 'sent', () => 'refused'); }"
        assert page.evaluate(tried, "http://example.org/photograph") == "refused"
        page.wait_for_timeout(500)
        assert asked == []

        with pytest.raises(Exception, match="ERR_"):
            context.new_page().goto("http://example.org/")
        assert asked[0].startswith(b"GET http://example.org/"), "the proxy would not have seen it"


@pytest.mark.slow
def test_after_the_first_visit_it_works_without_a_server(builder, built, context):
    """Also where that visit's connection is slow: the service worker, which keeps the network, has time to come."""
    asked, answered = threading.Event(), threading.Event()

    class SlowHandler(builder.PageHandler):
        def do_GET(self) -> None:
            if self.path == "/example.jpg":  # for the service worker
                asked.set()
                answered.wait(PATIENCE / 1000)
            super().do_GET()

    handler = functools.partial(SlowHandler, directory=str(built))
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as address:
        page = context.new_page()
        page.clock.install(time=0)
        page.clock.pause_at(1)
        page.goto(address)
        wait_for(page, asked.is_set)
        page.set_input_files("#files", EXAMPLES / "saratoga-1900-1915.jpg")
        page.clock.run_for("00:30")
        page.wait_for_timeout(200)
        assert page.get_attribute("#pictures li", "class") == "waiting"
        answered.set()
        page.clock.resume()
        wait_for(page, lambda: page.locator("#pictures li.done").count() == 1)
        first = downloaded_picture(page)
        page.close()
    page = visit(context, address)
    assert "works without a connection" in page.inner_text("#size")
    assert "download" not in page.inner_text("#size")
    assert page.evaluate("crossOriginIsolated"), "threads are lost without a connection"
    page.click("#example")
    wait_for(page, lambda: page.locator("#pictures li.done").count() == 1)
    assert np.array_equal(downloaded_picture(page), first)


class PlainHandler(http.server.SimpleHTTPRequestHandler):
    """A web server that knows nothing of isolation, and remembers what it was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.slow
def test_only_what_changed_is_downloaded_again_and_any_web_server_does(builder, built, context, tmp_path):
    folder = tmp_path / "page"
    shutil.copytree(built, folder)
    handler = type("Handler", (PlainHandler,), {"asked": [], "extensions_map": builder.PageHandler.extensions_map})
    plain = functools.partial(handler, directory=str(folder))
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), plain)) as address:
        page = visit(context, address)
        colorize(page, EXAMPLES / "saratoga-1900-1915.jpg")
        page.close()
        page = visit(context, address)
        assert page.evaluate("crossOriginIsolated"), "the service worker does not send the headers"
        page.close()

        text = (folder / "index.html").read_text()
        (folder / "index.html").write_text(text.replace("<h1>Colors", "<h1>More colors"))
        settings = json.loads((folder / "settings.json").read_text())
        builder.write_lists(folder, settings["model"], {name: settings[name] for name in ("size", "saturation")})
        handler.asked.clear()
        page = visit(context, address)
        wait_for(page, lambda: page.inner_text("h1").startswith("More colors"))
        page.wait_for_selector("html[data-ready]", state="attached")
        assert "works without a connection" in page.inner_text("#size"), "the network was thrown away"
        colorize(page, EXAMPLES / "saratoga-1900-1915.jpg")
        assert {"/service_worker.js", "/files.js"} <= set(handler.asked)
        again = {path.lstrip("/") or "index.html" for path in handler.asked} - {"service_worker.js", "files.js"}
        assert again == {"index.html"}


@pytest.mark.slow
def test_a_file_that_is_no_picture_gets_a_sentence_and_the_others_go_on(address, context, tmp_path):
    whole = (EXAMPLES / "saratoga-1900-1915.jpg").read_bytes()
    sentences = {
        "broken.jpg": (whole[:600], "broken.jpg is damaged or not complete."),
        "empty.png": (b"", "empty.png is empty."),
        "letter.jpg": (b"Dear Sir or Madam", "letter.jpg is no picture that this browser reads."),
        "scan.tif": (
            b"II*\0\x08\0\0\0",
            "scan.tif is a TIFF, which this browser does not read: save it as PNG or JPEG",
        ),
        "phone.heic": (b"\0\0\0\x18ftypheic", "phone.heic is a HEIC picture, which this browser does not read"),
    }
    for name, (content, _) in sentences.items():
        (tmp_path / name).write_bytes(content)
    page = visit(context, address)
    colorize(page, *(tmp_path / name for name in sentences), EXAMPLES / "LC-USF33-012448.jpg")
    items = page.locator("#pictures li").all()
    said = page.inner_text("#message").splitlines()
    for item, line, (name, (_, sentence)) in zip(items[:-1], said, sentences.items(), strict=True):
        assert "failed" in item.get_attribute("class"), name
        assert line.startswith(sentence)
    assert "done" in items[-1].get_attribute("class")
    assert page.is_enabled("#download"), "the picture that went well is not shown"


@pytest.mark.slow
def test_a_turned_photograph_comes_out_upright(address, context, tmp_path, pipeline):
    with Image.open(EXAMPLES / "LC-USF33-012448.jpg") as picture:
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save(tmp_path / "turned.jpg", exif=exif, quality=95, icc_profile=None)
    page = visit(context, address)
    colorize(page, tmp_path / "turned.jpg")
    colored = downloaded_picture(page)
    assert colored.shape[:2] == (640, 447)
    assert differences(pipeline, tmp_path / "turned.jpg", colored).max() <= 2


@pytest.mark.slow
def test_opacity_is_kept(address, context, tmp_path):
    with Image.open(EXAMPLES / "detroit-1915.jpg") as picture:
        photograph = picture.convert("RGB").resize((400, 220))
    photograph.putalpha(Image.linear_gradient("L").resize(photograph.size))
    photograph.save(tmp_path / "alpha.png")
    page = visit(context, address)
    colorize(page, tmp_path / "alpha.png")
    with Image.open(io.BytesIO(download(page)[1])) as colored:
        assert colored.mode == "RGBA"
        assert np.array_equal(np.asarray(colored)[..., 3], load_image(tmp_path / "alpha.png").alpha)


@pytest.mark.slow
def test_two_photographs_come_as_one_zip(address, context, tmp_path):
    shutil.copy(EXAMPLES / "saratoga-1900-1915.jpg", tmp_path / "street.jpg")
    Image.open(EXAMPLES / "LC-USF33-012448.jpg").save(tmp_path / "street.png")
    page = visit(context, address)
    colorize(page, tmp_path / "street.jpg", tmp_path / "street.png")
    name, content = download(page, "#download-all")
    assert name == "photographs-in-color.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        sizes = {name: Image.open(archive.open(name)).size for name in archive.namelist()}
    assert sizes == {"street-color.png": (880, 613), "street-color-2.png": (640, 447)}


@pytest.mark.slow
def test_saturation_changes_the_colors_without_the_network(address, context):
    page = visit(context, address)
    colorize(page, EXAMPLES / "saratoga-1900-1915.jpg")
    states: list[str] = []
    page.expose_function("recordState", lambda state: states.append(state))
    page.evaluate(
        "new MutationObserver(() => recordState(document.querySelector('#pictures li').className))"
        ".observe(document.querySelector('#pictures'), { subtree: true, attributes: true, childList: true })"
    )

    def shown_colorfulness() -> float:
        return page.locator("#after").evaluate(
            """(canvas) => {
              const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              let sum = 0;
              for (let i = 0; i < data.length; i += 4) {
                sum += Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]);
              }
              return sum / (data.length / 4);
            }"""
        )

    wait_for(page, lambda: shown_colorfulness() > 3)
    spreads = {1.25: shown_colorfulness()}
    set_slider(page, "#saturation", 0)
    wait_for(page, lambda: shown_colorfulness() == 0)
    assert np.ptp(downloaded_picture(page), axis=2).max() == 0
    set_slider(page, "#saturation", 2)
    wait_for(page, lambda: shown_colorfulness() > spreads[1.25])
    assert page.inner_text("#saturation-value") == "\N{MULTIPLICATION SIGN} 2.00"
    assert set(states) <= {"done"}, "it was colorized again"


@pytest.mark.slow
def test_it_is_used_by_keyboard_and_every_control_has_a_name(address, context):
    page = visit(context, address)
    tree = context.new_cdp_session(page)
    controls = {"button", "slider", "radio", "link", "checkbox", "textbox", "image", "progressbar", "spinbutton"}

    def check_names() -> None:
        nodes = tree.send("Accessibility.getFullAXTree")["nodes"]
        nodes = [node for node in nodes if not node["ignored"] and node["role"]["value"].lower() in controls]
        assert len(nodes) >= 3
        assert [node for node in nodes if not node.get("name", {}).get("value", "").strip()] == []

    check_names()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    page.focus("#example")
    page.keyboard.press("Enter")
    wait_for(page, lambda: page.locator("#pictures li.done").count() == 1)
    wait_for(page, lambda: page.is_visible("#comparison"))
    check_names()
    page.focus("#divider")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#divider", "aria-valuetext") == "51 % before, 49 % in color"
    assert "is in color" in page.text_content("#news")
    page.locator(".remove").focus()
    page.keyboard.press("Enter")
    assert page.is_visible("#welcome")
    assert page.evaluate("document.activeElement.id") == "files"
    assert "not history" in page.inner_text("header")


@pytest.mark.slow
def test_twelve_megapixels_finish(address, context, tmp_path):
    import psutil

    random = np.random.default_rng(0)
    with Image.open(EXAMPLES / "nipomo-1936.jpg") as picture:
        large = np.asarray(picture.convert("L").resize((3000, 4000), Image.Resampling.BICUBIC)).astype(int)
    grain = random.integers(-6, 7, large.shape)
    Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8)).convert("RGB").save(
        tmp_path / "large.jpg", quality=92
    )
    page = visit(context, address)
    colorize(page, EXAMPLES / "LC-USF33-012448.jpg")  # so that the network is there, as from the second picture on
    page.check("input[value='image/jpeg']")
    page.locator("#pictures li .remove").click()
    began = time.monotonic()
    colorize(page, tmp_path / "large.jpg")
    colored = time.monotonic()
    content = download(page)[1]
    saved = time.monotonic()
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (3000, 4000)
    processes = psutil.Process().children(recursive=True)
    renderers = [process for process in processes if "--type=renderer" in process.cmdline()]
    peak = max(peak_memory(process.pid) for process in renderers)
    print(
        f"12 megapixels: colored after {colored - began:.1f} s, saved after {saved - began:.1f} s, {peak / 1e6:.0f} MB"
    )
    assert saved - began < 120
    assert peak < 1.5e9


def test_the_builder_refuses_in_one_line(builder, tmp_path, monkeypatch, capsys, model_folder):
    def refusal(*arguments: str) -> str:
        assert builder.main([str(argument) for argument in arguments]) != 0
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("Dear Sir or Madam")
    assert "holds something else" in refusal(model_folder, "-o", tmp_path / "full")
    assert "holds no page" in refusal("-o", tmp_path / "full", "--serve")
    assert "there is no such folder" in refusal(tmp_path / "nowhere", "-o", tmp_path / "page")
    processor = json.loads((model_folder / "preprocessor_config.json").read_text())
    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    (other / "preprocessor_config.json").write_text(json.dumps(processor | {"resample": 3}))
    assert "accepted for the page: 2 (bilinear)" in refusal(other, "-o", tmp_path / "page")
    monkeypatch.setattr(builder.shutil, "which", lambda name: None)
    assert "npm is missing" in refusal(model_folder, "-o", tmp_path / "page")
    assert not (tmp_path / "page").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter.txt"]


def test_what_is_vendored_is_pinned():
    wanted = json.loads((SOURCE / "package.json").read_text())["dependencies"]
    assert set(wanted) == {"client-zip", "onnxruntime-web"}
    packages = json.loads((SOURCE / "package-lock.json").read_text())["packages"]
    for name, version in wanted.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), f"{name} {version} is no exact version"
        assert packages[f"node_modules/{name}"]["version"] == version
        assert f"{name} {version}" in (SOURCE / "LICENSES.txt").read_text()
    locked = [package for path, package in packages.items() if path]
    assert all(package["integrity"].startswith("sha512-") for package in locked)
    assert not any("resolved" in package for package in locked), "addresses of a registry"


def test_the_page_names_no_other_host_and_lists_all_of_its_modules(builder):
    for path in SOURCE.iterdir():
        if path.suffix in (".js", ".html", ".css", ".webmanifest"):
            text = path.read_text(encoding="utf-8")
            assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9-]+\.[a-z]", text), path.name
    assert {path.name for path in SOURCE.glob("*.js")} == {
        name for name in (*builder.PAGE, builder.SERVICE_WORKER) if name.endswith(".js")
    }
    assert "'unsafe" not in (SOURCE / "index.html").read_text()


def test_the_settings_of_the_static_space():
    settings = metadata_load(SOURCE / "README.md")
    assert settings["sdk"] == "static"
    assert (SOURCE / settings["app_file"]).is_file()
    assert settings["license"] == "apache-2.0"
    assert len(settings["short_description"]) <= 60
    assert settings["custom_headers"] == {
        "cross-origin-embedder-policy": "require-corp",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "cross-origin",
    }
