"""The pages in a Chromium, through Playwright; skipped where there is none.

`launch/browser_test.sh` installs what these tests need and runs them. With TTL_SCREENSHOTS,
a folder, they leave pictures of the pages there.
"""

import contextlib
import functools
import http.server
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
from tests.web import pages, servers
from tests.web.restoring_test import Inverter, encoded
from ttl_jax.data.files import decoding
from ttl_jax.inference import before_after
from ttl_jax.lite import onnx_restorer
from ttl_jax.web import site

playwright = pytest.importorskip("playwright.sync_api")
REFUSED = "Failed to load resource: the server responded with a status of "


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


@pytest.fixture(params=pages.SIZES)
def size(request):
    return request.param


@pytest.fixture
def page(browser, size):
    width, height = pages.SIZES[size]
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
        pages.check(page, size, "empty")
        pages.choose_by_keys(page, sources)
        for name in ("a.jpg", "b.png"):
            restored = decoding.read_image(pages.save_by_keys(page, name))
            expected = decoding.read_image(tmp_path / "out" / name)
            difference = restored.array.astype(int) - expected.array
            assert np.abs(difference).max() <= 1
        pages.check(page, size, "done")
        with Image.open(pages.save(page, "a")[1]) as photograph:
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
        pages.choose_by_keys(page, [source])
        restored = decoding.read_rgb8(pages.save_by_keys(page, "a.png", timeout))
        pages.check(page, size, "site")
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


@pytest.mark.slow  # loads 33 MB
@pytest.mark.parametrize("size", ["desktop"])
def test_a_page_without_a_server_stops_computing_what_is_removed(
    page, tmp_path, runtime
):
    metadata = dict(ttl_jax.lite.load().metadata, window=192, margin=16)
    site.write(tmp_path / "site", onnx_restorer.PACKED.read_bytes(), metadata, runtime)
    with static_server(tmp_path / "site") as host:
        page.goto(f"http://{host}/?engine=wasm")
        page.evaluate(
            "(self.answers = []) && worker.addEventListener("
            "'message', ({ data }) => data.number && answers.push(data.error ?? 'done'))"
        )
        large = pages.plain(1600, 1600)  # 81 windows
        pages.drop(page, one=large, two=pages.plain(64, 64))
        page.locator("[data-state=working]").wait_for()
        page.get_by_role("button", name="Remove one.png").press("Enter")
        pages.wait_for_results(page)
    assert page.locator(".card h2").all_inner_texts() == ["two.png"]
    assert page.evaluate("answers") == ["Cancelled.", "done"]


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
        pages.drop(page, one=pages.plain())
        page.locator("[data-state=error]").wait_for()
    assert message in page.locator(".message").inner_text()
    page.faults.clear()  # one for the missing file


def test_photographs_are_dropped_and_pasted(page, size, inverter):
    page.goto(inverter)
    image = pictures.noise(300, 500, 3)
    pages.drop(page, one=encoded(image), two=pages.plain())
    handle = pages.transfer(page, {"three.png": pages.plain()})
    page.evaluate(
        "(clipboardData) => document.dispatchEvent("
        "new ClipboardEvent('paste', { clipboardData }))",
        handle,
    )
    pages.wait_for_results(page, 3)
    for name in ("one", "two", "three"):
        assert pages.save(page, name)[0] == f"{name}_derained.png"
    restored = np.asarray(Image.open(pages.save(page, "one")[1]))
    np.testing.assert_array_equal(restored, Inverter().restore(image))
    page.get_by_role("button", name="Remove two.png").press("Enter")
    assert page.locator(".card h2").all_inner_texts() == ["one.png", "three.png"]
    pages.check(page, size, "several")


def compare_by_all_means(page, figure):
    """Moves a slider by keys, mouse and finger, and looks at the pictures."""
    slider = figure.get_by_role("slider")
    assert pages.levels(page, figure, (0.3, 0.7)) == pytest.approx(
        [pages.DARK, pages.BRIGHT], abs=4
    )
    slider.press("Home")
    assert pages.levels(page, figure, (0.3, 0.7)) == pytest.approx(
        [pages.BRIGHT] * 2, abs=4
    )
    slider.press("End")
    assert pages.levels(page, figure, (0.3, 0.7)) == pytest.approx(
        [pages.DARK] * 2, abs=4
    )
    slider.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "99 % before"
    box = figure.locator("div").bounding_box()
    x, y = (lambda share: box["x"] + share * box["width"]), box["y"] + 30
    page.mouse.move(x(0.5), y)
    page.mouse.down()
    page.mouse.move(x(0.2), y, steps=3)
    page.mouse.up()
    seen = pages.levels(page, figure, (0.16, 0.24))
    assert seen == pytest.approx([pages.DARK, pages.BRIGHT], abs=4)
    if page.evaluate("navigator.maxTouchPoints"):
        page.touchscreen.tap(x(0.8), y)
        seen = pages.levels(page, figure, (0.76, 0.84))
        assert seen == pytest.approx([pages.DARK, pages.BRIGHT], abs=4)


def test_the_slider_compares(page, inverter):
    page.goto(inverter)
    pages.drop(page, one=pages.plain())
    pages.wait_for_results(page)
    compare_by_all_means(page, page.locator(".comparison"))


def test_a_written_comparison_needs_nothing_else(page, size, tmp_path):
    sides = [
        np.full((240, 320, 3), level, np.uint8) for level in (pages.DARK, pages.BRIGHT)
    ]
    before_after.write("html", str(tmp_path / "a.png"), *sides)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    path = tmp_path / "a.png.compare.html"
    page.goto(path.as_uri())
    compare_by_all_means(page, page.locator(".comparison"))
    pages.check(page, size, "comparison")
    assert {url for url in requests if not url.startswith("data:")} == {path.as_uri()}


def test_the_strength_is_set_by_keys(page, inverter):
    page.goto(inverter)
    pages.drop(page, one=pages.plain())
    pages.wait_for_results(page)
    strength = page.get_by_label("Strength")
    strength.press("Home")
    pages.wait_for_results(page)
    assert page.get_by_text("0 %", exact=True).is_visible()
    assert (decoding.read_rgb8(pages.save(page, "one")[1]) == pages.DARK).all()


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
    pages.drop(page, one=pages.plain())
    page.get_by_text("The server is busy.").locator("visible=true").first.wait_for()
    pages.wait_for_results(page)
    assert answers == [503, 200]
    page.faults.remove(f"{REFUSED}503 (Service Unavailable)")


@pytest.mark.parametrize("size", ["desktop"])
def test_a_removed_photograph_is_no_longer_waited_for(page, inverter):
    page.goto(inverter)
    held = []
    hold_first = lambda route: route.continue_() if held else held.append(route)
    page.route("**/api/derain", hold_first)
    with page.expect_request("**/api/derain"):
        pages.drop(page, one=pages.plain(), two=pages.plain())
    with page.expect_event("requestfailed"):
        page.get_by_role("button", name="Remove one.png").press("Enter")
    pages.wait_for_results(page)
    assert page.locator(".card h2").all_inner_texts() == ["two.png"]


def test_a_wrong_file_gives_one_line_and_the_rest_goes_on(page, size, inverter):
    page.goto(inverter)
    pages.drop(page, text=b"no photograph", one=pages.plain())
    pages.wait_for_results(page)
    wrong = page.locator(".card").first
    assert wrong.locator(".message").inner_text().startswith("The photograph cannot")
    assert not wrong.get_by_role("link").is_visible()
    pages.check(page, size, "wrong")
    (fault,) = page.faults
    assert fault.startswith(f"{REFUSED}422")
    page.faults.clear()


def test_without_an_answer_the_page_can_try_again(page, size, inverter):
    page.goto(inverter)
    page.route("**/api/derain", lambda route: route.abort())
    pages.drop(page, one=pages.plain())
    again = page.get_by_role("button", name="Try one.png again")
    again.wait_for()
    pages.check(page, size, "failed")
    page.unroute("**/api/derain")
    again.press("Enter")
    pages.wait_for_results(page)
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
    pages.check(page, size, "study")
    handles = page.locator("#results .handle")
    handles.nth(1).press("1")
    handles.nth(0).press("2")
    assert ranking(page) == ["B", "A"]
    page.keyboard.press("z")
    assert page.locator("#save").is_disabled()
    handles.nth(0).press("1")
    assert ranking(page) == ["A", "B"]
    pages.check(page, size, "study_ranked")
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
    pages.check(page, size, "study_end")
    page.reload()  # Back still works
    page.get_by_role("heading", name=re.compile("Photograph 2 of 2.*Thank")).wait_for()
    page.locator("#back").press("Enter")
    page.get_by_role("heading", name="Photograph 1 of 2", exact=True).wait_for()


@pytest.mark.parametrize("size", ["desktop"])
def test_what_a_rater_does_while_a_ranking_is_saved_is_not_taken_for_saved(page, study):
    page.goto(study)
    handles = page.locator("#results .handle")
    handles.nth(0).press("1")
    handles.nth(1).press("2")
    held = []
    page.route("**/ranking", lambda route: held.append(route))

    def save_during(act):
        with page.expect_request("**/ranking"):
            page.locator("#save").press("Enter")
        act()
        with page.expect_response("**/ranking"):
            held.pop().continue_()

    save_during(lambda: handles.nth(1).press("1"))
    page.get_by_text("Saved without your last change").wait_for()
    assert ranking(page) == ["B", "A"]
    page.reload()
    page.get_by_text("Photograph 2 of 2").wait_for()
    handles.nth(0).press("1")
    handles.nth(1).press("2")
    save_during(lambda: page.locator("#back").press("Enter"))
    page.get_by_text("Photograph 2 is saved.").wait_for()
    assert page.locator("#title").inner_text() == "Photograph 1 of 2"
    assert ranking(page) == ["A", "B"]


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
