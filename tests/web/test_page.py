"""The page that `bitlog2 export --web` writes, opened from the disk in headless Chromium."""
import base64
import json
import math

import pytest

from conftest import DEMO

PICTURES = sorted((DEMO / "images").glob("*.png"))
LOGIT_SCALE = 65536  # the page's logits are integers


def base64_of(path):
    return base64.b64encode(path.read_bytes()).decode()


def give(page, path):
    """Chooses a file, and waits for its answer."""
    page.evaluate("delete document.body.dataset.logits")
    page.set_input_files("#file", path)
    page.wait_for_selector("body[data-logits]", state="attached")
    return [int(text) for text in page.evaluate("document.body.dataset.logits").split()]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_logits_are_the_programs(bitlog2, quantized, page_folder, open_page, picture):
    page = open_page((page_folder / "index.html").as_uri())
    logits = give(page, picture)
    answer = json.loads(bitlog2("predict", "--quantized", quantized, "--json", "--top", len(logits),
                                picture))[0]["predictions"]
    assert len(answer) == len(logits) == 10
    best = answer[0]
    assert page.inner_text("#best") == best["class"]
    for each in answer:
        difference = LOGIT_SCALE * math.log(each["probability"] / best["probability"])
        assert abs(difference - (logits[each["index"]] - logits[best["index"]])) < 0.01
    shown = page.locator("#classes li").all_inner_texts()
    assert [row.split("\n")[0] for row in shown] == [each["class"] for each in answer[:5]]


def test_attention_is_shown(page_folder, open_page):
    page = open_page((page_folder / "index.html").as_uri())
    assert page.is_hidden("#attention")
    give(page, PICTURES[0])
    assert page.is_visible("#attention")
    blocks = int(page.get_attribute("#block", "max"))
    assert blocks > 1 and page.locator("#head option").count() > 1
    pictures = set()
    for block in range(1, blocks + 1):
        page.fill("#block", str(block))
        assert page.inner_text("#block-number") == str(block)
        exact, quantized = (int(page.inner_text(f"#{kind}-levels").split()[0])
                            for kind in ("exact", "quantized"))
        assert exact > quantized and quantized <= 16
        pictures.add(page.evaluate("document.getElementById('quantized').toDataURL()"))
    assert len(pictures) == blocks
    before = page.evaluate("document.getElementById('quantized').toDataURL()")
    page.select_option("#head", index=1)
    assert page.evaluate("document.getElementById('quantized').toDataURL()") != before


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_page_fits(page_folder, open_page, screenshots, width, scheme):
    page = open_page((page_folder / "index.html").as_uri(), width, scheme)
    give(page, PICTURES[0])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=screenshots / f"page-{width}-{scheme}.png", full_page=True)


def test_what_is_no_image_is_told(page_folder, open_page):
    page = open_page((page_folder / "index.html").as_uri())
    page.set_input_files("#file", page_folder / "bitlog2.wasm")
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error") == "bitlog2.wasm is no image that this browser can read."
    give(page, PICTURES[0])
    assert page.is_hidden("#error")


def test_keyboard_reaches_everything(page_folder, open_page):
    page = open_page((page_folder / "index.html").as_uri())
    reached = []
    for _ in range(2):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached[0] == "file"


def test_library_classifies_by_itself(page_folder, open_page, quantized):
    """A page of one's own can use bitlog2.mjs, which refuses damaged files."""
    page = open_page((page_folder / "index.html").as_uri())
    found = page.evaluate("""async ([library, plain, simd128, file]) => {
      const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      const { Bitlog2Error, Network, loadRuntime } = await import(
        URL.createObjectURL(new Blob([library], { type: "text/javascript" })));
      const image = new ImageData(40, 30);
      image.data.forEach((_, i) => { image.data[i] = i * 7 % 256; });
      const logits = [];
      for (const runtime of [await loadRuntime({ plain: bytes(plain), simd128: bytes(simd128) }),
                             await WebAssembly.compile(bytes(plain))]) {
        const network = await Network.open(bytes(file), runtime);
        logits.push(Array.from(network.classify(image).logits), [network.kernels]);
        logits.push(Array.from(network.embed(image), (value) => value * 65536));
      }
      // What is refused leaves the network as it was.
      const network = await Network.open(bytes(file), await WebAssembly.compile(bytes(plain)));
      const before = network.memoryBytes;
      let large = "";
      try {
        network.crop({ width: 40000, height: 40000, data: [] });
      } catch (error) {
        large = `${error instanceof Bitlog2Error} ${error.message}`;
      }
      for (let i = 0; i < 3; ++i) network.classify(image);
      const grown = network.memoryBytes - before;
      const damaged = bytes(file);
      damaged[damaged.length - 1] ^= 1;
      let told = "";
      try {
        await Network.open(damaged, await loadRuntime({ plain: bytes(plain), simd128: bytes(simd128) }));
      } catch (error) {
        told = `${error instanceof Bitlog2Error} ${error.message}`;
      }
      return { logits, told, large, grown };
    }""", [(page_folder / "bitlog2.mjs").read_text(), *map(base64_of, (
        page_folder / "bitlog2.wasm", page_folder / "bitlog2_simd128.wasm", quantized))])
    fast, fast_name, fast_values, plain, plain_name, plain_values = found["logits"]
    assert len(fast) == 10 and fast == plain == fast_values == plain_values
    assert [fast_name, plain_name] == [["wasm_simd128"], ["portable"]]
    assert found["large"].startswith("true ") and "too large" in found["large"]
    assert found["grown"] < 1 << 20
    assert found["told"].startswith("true ") and "checksum" in found["told"]
