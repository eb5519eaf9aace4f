"""The pages in a Chromium, through Playwright; skipped where there is none."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests import pictures
from tests.web import servers
from tests.web.restoring_test import Inverter, encoded

playwright = pytest.importorskip("playwright.sync_api")
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(params=SIZES)
def page(request):
    width, height = SIZES[request.param]
    system = shutil.which("chromium") or shutil.which("chromium-browser")
    with playwright.sync_playwright() as tools:
        try:
            browser = tools.chromium.launch(executable_path=system)
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        page = browser.new_page(viewport={"width": width, "height": height})
        faults = []
        page.on(
            "console", lambda line: line.type == "error" and faults.append(line.text)
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        yield page
        browser.close()
        assert not faults


def fits_its_width(page):
    root = "document.documentElement"
    return page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")


def test_photographs_in_pixels_out(page):
    image = pictures.noise(300, 500, 3)
    with servers.start_inverter() as run:
        page.goto(run.stdout.readline().strip())
        upload = {"name": "a.png", "mimeType": "image/png", "buffer": encoded(image)}
        page.set_input_files("#files", [upload])
        page.get_by_text("Done.").first.wait_for()
        with page.expect_download() as download:
            page.get_by_role("link").press("Enter")
        assert download.value.suggested_filename == "a_derained.png"
        restored = np.asarray(Image.open(download.value.path()))
        np.testing.assert_array_equal(restored, Inverter().restore(image))
        slider = page.locator(".comparison input")
        slider.press("Home")
        style = page.locator(".comparison img").nth(1).get_attribute("style")
        assert "inset(0" in style and "50%" not in style
        assert fits_its_width(page)


def test_a_rater_ranks_by_keys_undoes_and_comes_back(page, tmp_path):
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
        page.goto(link)
        handles = page.locator("#results .handle")
        handles.nth(1).press("1")
        handles.nth(0).press("2")
        assert page.locator("#ranking").inner_text().split() == ["1:", "B", "2:", "A"]
        page.keyboard.press("z")
        assert page.locator("#save").is_disabled()
        handles.nth(0).press("1")
        page.keyboard.press("+")
        shapes = page.evaluate(
            "[...document.querySelectorAll('.view img')].map((i) => i.style.transform)"
        )
        assert len(set(shapes)) == 1 and "1.25" in shapes[0]
        assert fits_its_width(page)
        page.locator("#save").press("Enter")
        page.get_by_text("Photograph 2 of 2").wait_for()
        page.reload()
        page.get_by_text("Photograph 2 of 2").wait_for()
        page.locator("#back").click()
        assert page.locator("#ranking").inner_text().split() == ["1:", "A", "2:", "B"]
        first = page.locator("#ranking .handle").nth(1)
        first.drag_to(page.locator("#ranking .handle").nth(0))
        assert page.locator("#ranking").inner_text().split() == ["1:", "B", "2:", "A"]
