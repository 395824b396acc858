"""The program, the pages that it exports, and the browser that opens them."""
import os
import pathlib
import subprocess

import pytest
from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEMO = ROOT / "models" / "demo"


def find_reference():
    given = os.environ.get("BITLOG2_REFERENCE_DIR")
    folder = pathlib.Path(given) if given else ROOT.parent / "shared"
    return folder if (folder / "data" / "imagenet-500").is_dir() else None


REFERENCE = find_reference()


def pytest_addoption(parser):
    parser.addoption("--bitlog2", required=True)
    parser.addoption("--screenshots", required=True)


class Program:
    def __init__(self, path):
        self.path = path

    def __call__(self, *arguments):
        return subprocess.run([self.path, *map(str, arguments)], check=True, capture_output=True,
                              text=True).stdout


@pytest.fixture(scope="session")
def bitlog2(request):
    return Program(request.config.getoption("--bitlog2"))


@pytest.fixture(scope="session")
def screenshots(request):
    return pathlib.Path(request.config.getoption("--screenshots"))


@pytest.fixture(scope="session")
def quantized(bitlog2, tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "demo.safetensors"
    bitlog2("quantize", "--weights", DEMO / "fashion_vit.safetensors", "--dataset",
            DEMO / "fashion_mnist.safetensors", "-o", path)
    return path


@pytest.fixture(scope="session")
def page_folder(bitlog2, quantized, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "demo"
    bitlog2("export", "--web", folder, "--quantized", quantized)
    return folder


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium",
                                             args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens a page with a width and a colour scheme. Errors and requests in it fail the test."""
    contexts = []
    complaints = []

    def open_at(address, width=1400, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text)
                if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(f"fetches {request.url}")
                if not request.url.startswith((address, "data:", "blob:")) else None)
        page.goto(address)
        page.wait_for_selector("body[data-ready]", timeout=60000)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert complaints == []
