"""What tests do in a page, and what they see of it."""

import base64
import os
import pathlib

import numpy as np
import pytest

from tests.web.restoring_test import encoded
from ttl_jax.data.files import decoding

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
SIZES = {"desktop": (1280, 900), "phone": (360, 740)}
DARK, BRIGHT = 60, 195  # levels of a plain photograph, and of its inverse


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
