"""The pages in a Chromium, through Playwright; skipped where there is none.

`launch/browser_test.sh` installs what these tests need and runs them. With TTL_SCREENSHOTS,
a folder, they leave pictures of the pages there.
"""

import base64
import contextlib
import functools
import http.server
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import ttl_jax.lite
from tests import pictures
from tests.web import servers
from tests.web.restoring_test import Inverter, encoded
from ttl_jax.data.files import decoding
from ttl_jax.inference import before_after
from ttl_jax.lite import onnx_restorer
from ttl_jax.web import site

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
SIZES = {"desktop": (1280, 900), "phone": (360, 740)}
REFUSED = "Failed to load resource: the server responded with a status of "
DARK, BRIGHT = 60, 195  # levels of a plain photograph, and of its inverse


@pytest.fixture(scope="module")
def browser():
    system = shutil.which("chromium") or shutil.which("chromium-browser")
    with playwright.sync_playwright() as tools:
        try:
            # Without a graphics card, this flag lets Chromium emulate one.
            flags = ["--enable-unsafe-webgpu"]
            browser = tools.chromium.launch(executable_path=system, args=flags)
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def size(request):
    return request.param


@pytest.fixture
def page(browser, size):
    width, height = SIZES[size]
    touch = {"is_mobile": True, "has_touch": True} if size == "phone" else {}
    page = browser.new_page(viewport={"width": width, "height": height}, **touch)
    faults = []
    page.on("console", lambda line: line.type == "error" and faults.append(line.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.faults = faults
    yield page
    page.close()
    assert not faults


@pytest.fixture(scope="module")
def inverter():
    with servers.start_inverter() as run:
        yield servers.read_address(run)


def check(page, size, name):
    """Checks width and accessibility, in both colour schemes; keeps a picture."""
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = axe.Axe().run(page)
        assert not found.violations_count, found.generate_report()
        if folder := os.environ.get("TTL_SCREENSHOTS"):
            path = pathlib.Path(folder, f"{name}_{size}_{scheme}.png")
            page.screenshot(path=path, full_page=True)


def plain(height=240, width=320):
    return encoded(np.full((height, width, 3), DARK, np.uint8))


def transfer(page, files):
    """A DataTransfer with files, given by name."""
    texts = {name: base64.b64encode(data).decode() for name, data in files.items()}
    return page.evaluate_handle(
        """(files) => {
          const transfer = new DataTransfer();
          for (const [name, text] of Object.entries(files)) {
            const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            transfer.items.add(new File([bytes], name));
          }
          return transfer;
        }""",
        texts,
    )


def drop(page, **files):
    handle = transfer(page, {f"{name}.png": data for name, data in files.items()})
    page.dispatch_event("#drop", "drop", {"dataTransfer": handle})


def wait_for_results(page, number=1):
    page.locator("[data-state=done]").nth(number - 1).wait_for()


def save(page, name):
    """Presses the download link of a photograph; returns its suggested name and path."""
    with page.expect_download() as download:
        page.get_by_role("link", name=f"Download {name}").press("Enter")
    return download.value.suggested_filename, download.value.path()


def levels(page, figure, shares):
    """Levels of what a comparison shows, at shares of its width."""
    shot = decoding.decode_rgb8(figure.locator("div").screenshot(), "screenshot")
    height, width = shot.shape[:2]
    return [int(shot[height * 3 // 4, int(share * width), 1]) for share in shares]


def open_chooser(page):
    """The dialog that Enter opens; a browser that has just started may lose the key."""
    for _ in range(4):
        try:
            with page.expect_file_chooser(timeout=10_000) as chooser:
                page.keyboard.press("Enter")
            return chooser.value
        except playwright.TimeoutError:
            continue
    raise AssertionError("Enter opens no dialog.")


def choose_by_keys(page, files):
    page.bring_to_front()  # keys are lost until the page has the focus
    page.wait_for_function("document.hasFocus()")
    page.keyboard.press("Tab")
    page.wait_for_function("document.activeElement.type === 'file'")
    open_chooser(page).set_files(files)


def save_by_keys(page, name, timeout=120):
    """Waits for a result, in seconds; goes to its link by Tab; returns the saved path."""
    link = page.get_by_label(f"Download {name.replace('.', '_derained.')}")
    link.wait_for(timeout=1000 * timeout)
    for _ in range(9):
        page.keyboard.press("Tab")
        if link.evaluate("(link) => link === document.activeElement"):
            break
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    return download.value.path()


def test_photographs_in_and_pixels_of_the_command_line_out(page, size, tmp_path):
    """By the keyboard alone, with the shipped weights."""
    exif = Image.Exif()
    exif[0x010E] = "holiday"
    image = Image.fromarray(pictures.texture(0, 120, 160))
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    image.save(tmp_path / "b.png")
    sources = [tmp_path / "a.jpg", tmp_path / "b.png"]
    module = [sys.executable, "-m", "ttl_jax.derain", *sources, "-o", tmp_path / "out"]
    subprocess.run(module, cwd=servers.ROOT, check=True, capture_output=True)
    with servers.started("-m", "ttl_jax.serve", "--port=0") as run:
        page.goto(servers.read_address(run))
        check(page, size, "empty")
        choose_by_keys(page, sources)
        for name in ("a.jpg", "b.png"):
            restored = decoding.read_image(save_by_keys(page, name))
            expected = decoding.read_image(tmp_path / "out" / name)
            difference = restored.array.astype(int) - expected.array
            assert np.abs(difference).max() <= 1
        check(page, size, "done")
        with Image.open(save(page, "a")[1]) as photograph:
            assert photograph.getexif()[0x010E] == "holiday"


@pytest.fixture(scope="module")
def runtime():
    try:
        return site.load_runtime(None)
    except ValueError as error:
        pytest.skip(str(error))


class StrictHandler(http.server.SimpleHTTPRequestHandler):
    """Sends the page's policy with each file, so that the worker obeys it too."""

    def log_message(self, format, *args):
        del format, args

    def end_headers(self):
        self.send_header("content-security-policy", site._POLICY)
        super().end_headers()


@contextlib.contextmanager
def static_server(folder):
    handler = functools.partial(StrictHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def check_site(page, size, folder, query, timeout=120):
    """Restores a photograph by the page in a folder; returns its note on the engine."""
    source = folder.parent / "a.png"
    image = pictures.texture(0, 60, 60)
    Image.fromarray(image).save(source)
    hosts = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    with static_server(folder) as host:
        page.goto(f"http://{host}/{query}")
        choose_by_keys(page, [source])
        restored = decoding.read_rgb8(save_by_keys(page, "a.png", timeout))
        check(page, size, "site")
    expected = ttl_jax.lite.load(folder / "derain.onnx").restore(image)
    assert np.abs(expected.astype(int) - image).max() > 1
    assert np.abs(restored.astype(int) - expected).max() <= 1
    assert hosts - {""} == {host}
    return page.locator("header p").nth(1).inner_text()


@pytest.mark.slow  # loads 33 MB
def test_a_page_without_a_server_restores_in_the_browser(page, size, tmp_path, runtime):
    packed = onnx_restorer.PACKED.read_bytes()
    metadata = ttl_jax.lite.load().metadata
    site.write(tmp_path / "site", packed, metadata, runtime)
    note = check_site(page, size, tmp_path / "site", "")
    assert note.startswith("Engine: WebAssembly")


@pytest.mark.slow  # loads 33 MB, and emulates a graphics card
@pytest.mark.parametrize("size", ["desktop"])
def test_a_page_without_a_server_restores_by_webgpu(page, size, tmp_path, runtime):
    pytest.importorskip("onnx")
    from tests.inference import exporting_test
    from ttl_jax.inference import exporting

    exporting_test.save_run(tmp_path / "run")
    made = exporting.make(str(tmp_path / "run"), ".onnx", side=64)
    site.write(tmp_path / "site", made.content, made.metadata, runtime)
    note = check_site(page, size, tmp_path / "site", "?engine=webgpu", timeout=1800)
    if "no WebGPU" in note:
        pytest.skip("this Chromium does not emulate a graphics card")
    assert note == "Engine: WebGPU, on the graphics card."


@pytest.mark.parametrize("size", ["desktop"])
@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("worker.js", "The engine stopped."),
        ("derain.onnx", "derain.onnx cannot be loaded: status 404"),
    ],
)
def test_a_page_without_a_server_reports_a_missing_file(
    page, tmp_path, missing, message
):
    settings = {"window": 64, "margin": 16, "grid": 16}
    site.write(tmp_path / "site", b"", settings, dict.fromkeys(site.RUNTIME, b""))
    (tmp_path / "site" / missing).unlink()
    with static_server(tmp_path / "site") as host:
        page.goto(f"http://{host}/")
        drop(page, one=plain())
        page.locator("[data-state=error]").wait_for()
    assert message in page.locator(".message").inner_text()
    page.faults.clear()  # one for the missing file


def test_photographs_are_dropped_and_pasted(page, size, inverter):
    page.goto(inverter)
    image = pictures.noise(300, 500, 3)
    drop(page, one=encoded(image), two=plain())
    handle = transfer(page, {"three.png": plain()})
    page.evaluate(
        "(clipboardData) => document.dispatchEvent("
        "new ClipboardEvent('paste', { clipboardData }))",
        handle,
    )
    wait_for_results(page, 3)
    for name in ("one", "two", "three"):
        assert save(page, name)[0] == f"{name}_derained.png"
    restored = np.asarray(Image.open(save(page, "one")[1]))
    np.testing.assert_array_equal(restored, Inverter().restore(image))
    page.get_by_role("button", name="Remove two.png").press("Enter")
    assert page.locator(".card h2").all_inner_texts() == ["one.png", "three.png"]
    check(page, size, "several")


def compare_by_all_means(page, figure):
    """Moves a slider by keys, mouse and finger, and looks at the pictures."""
    slider = figure.get_by_role("slider")
    assert levels(page, figure, (0.3, 0.7)) == pytest.approx([DARK, BRIGHT], abs=4)
    slider.press("Home")
    assert levels(page, figure, (0.3, 0.7)) == pytest.approx([BRIGHT] * 2, abs=4)
    slider.press("End")
    assert levels(page, figure, (0.3, 0.7)) == pytest.approx([DARK] * 2, abs=4)
    slider.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "99 % before"
    box = figure.locator("div").bounding_box()
    x, y = (lambda share: box["x"] + share * box["width"]), box["y"] + 30
    page.mouse.move(x(0.5), y)
    page.mouse.down()
    page.mouse.move(x(0.2), y, steps=3)
    page.mouse.up()
    seen = levels(page, figure, (0.16, 0.24))
    assert seen == pytest.approx([DARK, BRIGHT], abs=4)
    if page.evaluate("navigator.maxTouchPoints"):
        page.touchscreen.tap(x(0.8), y)
        seen = levels(page, figure, (0.76, 0.84))
        assert seen == pytest.approx([DARK, BRIGHT], abs=4)


def test_the_slider_compares(page, inverter):
    page.goto(inverter)
    drop(page, one=plain())
    wait_for_results(page)
    compare_by_all_means(page, page.locator(".comparison"))


def test_a_written_comparison_needs_nothing_else(page, size, tmp_path):
    sides = [np.full((240, 320, 3), level, np.uint8) for level in (DARK, BRIGHT)]
    before_after.write("html", str(tmp_path / "a.png"), *sides)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    path = tmp_path / "a.compare.html"
    page.goto(path.as_uri())
    compare_by_all_means(page, page.locator(".comparison"))
    check(page, size, "comparison")
    assert {url for url in requests if not url.startswith("data:")} == {path.as_uri()}


def test_the_strength_is_set_by_keys(page, inverter):
    page.goto(inverter)
    drop(page, one=plain())
    wait_for_results(page)
    strength = page.get_by_label("Strength")
    strength.press("Home")
    wait_for_results(page)
    assert page.get_by_text("0 %", exact=True).is_visible()
    assert (decoding.read_rgb8(save(page, "one")[1]) == DARK).all()


def test_a_full_queue_is_waited_for(page, size, inverter):
    page.goto(inverter)
    answers = []

    def refuse_once(route):
        answers.append(503 if not answers else 200)
        if answers[-1] == 503:
            route.fulfill(status=503, headers={"retry-after": "1"}, json={"error": ""})
        else:
            route.continue_()

    page.route("**/api/derain", refuse_once)
    drop(page, one=plain())
    page.get_by_text("The server is busy.").locator("visible=true").first.wait_for()
    wait_for_results(page)
    assert answers == [503, 200]
    page.faults.remove(f"{REFUSED}503 (Service Unavailable)")


def test_a_wrong_file_gives_one_line_and_the_rest_goes_on(page, size, inverter):
    page.goto(inverter)
    drop(page, text=b"no photograph", one=plain())
    wait_for_results(page)
    wrong = page.locator(".card").first
    assert wrong.locator(".message").inner_text().startswith("The photograph cannot")
    assert not wrong.get_by_role("link").is_visible()
    check(page, size, "wrong")
    (fault,) = page.faults
    assert fault.startswith(f"{REFUSED}422")
    page.faults.clear()


def test_without_an_answer_the_page_can_try_again(page, size, inverter):
    page.goto(inverter)
    page.route("**/api/derain", lambda route: route.abort())
    drop(page, one=plain())
    again = page.get_by_role("button", name="Try one.png again")
    again.wait_for()
    check(page, size, "failed")
    page.unroute("**/api/derain")
    again.press("Enter")
    wait_for_results(page)
    page.faults.clear()  # one for the request that was aborted


@pytest.fixture
def study(tmp_path):
    """A study of two methods and two photographs; yields the link of its rater."""
    for i, name in enumerate(("input", "one", "two")):
        for photograph in ("a", "b"):
            path = tmp_path / name / f"{photograph}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (400, 300), (80 * i,) * 3).save(path)
    results = [f"--results={name}={tmp_path / name}" for name in ("one", "two")]
    study = [f"--input={tmp_path / 'input'}", f"--output={tmp_path / 'study.db'}"]
    more = ["--port=0", "--raters=1"]
    with servers.started("-m", "ttl_jax.study", *results, *study, *more) as run:
        (link,) = servers.read_links(run)
        yield link


def ranking(page):
    return page.locator("#ranking .handle").all_inner_texts()


def test_a_rater_ranks_by_keys_undoes_and_comes_back(page, size, study):
    page.goto(study)
    page.get_by_text("Photograph 1 of 2").wait_for()
    check(page, size, "study")
    handles = page.locator("#results .handle")
    handles.nth(1).press("1")
    handles.nth(0).press("2")
    assert ranking(page) == ["B", "A"]
    page.keyboard.press("z")
    assert page.locator("#save").is_disabled()
    handles.nth(0).press("1")
    assert ranking(page) == ["A", "B"]
    check(page, size, "study_ranked")
    page.locator("#save").press("Enter")
    page.get_by_text("Photograph 2 of 2").wait_for()
    page.reload()
    page.get_by_text("Photograph 2 of 2").wait_for()
    page.locator("#back").press("Enter")
    assert ranking(page) == ["A", "B"]
    page.locator("#save").press("Enter")
    page.get_by_text("Photograph 2 of 2").wait_for()
    for rank in ("1", "2"):
        handles.nth(int(rank) - 1).press(rank)
    page.locator("#save").press("Enter")
    page.get_by_role("heading", name=re.compile("Thank you")).wait_for()
    check(page, size, "study_end")


def test_a_rater_ranks_by_dragging_and_tapping(page, study):
    page.goto(study)
    handles = page.locator("#results .handle")
    handles.nth(1).drag_to(page.locator("#ranking li").nth(0))
    assert ranking(page) == ["B"]
    handles.nth(0).click()
    assert ranking(page) == ["B", "A"]
    second, first = (page.locator("#ranking .handle").nth(i) for i in (1, 0))
    second.drag_to(first)
    assert ranking(page) == ["A", "B"]
    second.drag_to(page.locator("#title"))  # outside of the ranking nothing changes
    assert ranking(page) == ["A", "B"]
    assert not page.locator(".ghost").count()


def test_all_pictures_are_zoomed_together(page, study):
    page.goto(study)
    page.locator(".view img").nth(2).wait_for()

    def transforms():
        script = "(all) => all.map((image) => image.style.transform)"
        (one,) = set(page.locator(".view img").evaluate_all(script))
        return one

    page.keyboard.press("+")
    assert "scale(1.25)" in transforms()
    page.locator(".view").nth(1).hover()
    page.mouse.wheel(0, -100)
    zoomed = transforms()
    assert "scale(1.5625)" in zoomed
    page.mouse.down()
    page.mouse.move(0, 0)
    page.mouse.up()
    assert transforms() != zoomed
    page.keyboard.press("0")
    assert "scale(1)" in transforms()
