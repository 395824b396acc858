"""The page that `bitlog2 export --web` writes, opened from the disk in headless Chromium."""
import base64
import json
import math

import pytest
from PIL import Image

from conftest import DEMO, REFERENCE

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
    page.evaluate("document.getElementById('camera').disabled = false")
    give(page, PICTURES[0])
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        outline = page.evaluate("""() => {
          const element = document.activeElement;
          const shown = element.id === "file" ? document.querySelector("label[for=file]") : element;
          return getComputedStyle(shown).outlineStyle;
        }""")
        assert outline != "none", f"nothing shows that {reached[-1]} has the focus"
    assert reached == ["file", "camera", "block", "head"]
    page.focus("#block")
    block = int(page.input_value("#block"))
    assert block == int(page.get_attribute("#block", "max"))  # the last block, at first
    page.keyboard.press("ArrowLeft")
    assert int(page.inner_text("#block-number")) == block - 1
    page.focus("#head")
    before = page.evaluate("document.getElementById('quantized').toDataURL()")
    page.keyboard.press("ArrowDown")
    assert page.input_value("#head") == "1"
    assert page.evaluate("document.getElementById('quantized').toDataURL()") != before
    page.focus("#file")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    page.evaluate("delete document.body.dataset.logits")
    chooser.value.set_files(PICTURES[1])
    page.wait_for_selector("body[data-logits]", state="attached")


@pytest.mark.skipif(REFERENCE is None, reason="no reference data (BITLOG2_REFERENCE_DIR, ../shared)")
def test_page_classifies_photographs_by_deit_tiny(bitlog2, open_page, screenshots, tmp_path):
    data = REFERENCE / "data"
    file = tmp_path / "deit_tiny.safetensors"
    bitlog2("quantize", "--weights", data / "deit_tiny_patch16_224.safetensors", "--dataset",
            data / "imagenet-500", "-o", file)
    bitlog2("export", "--web", tmp_path / "page", "--quantized", file)
    photograph = sorted((data / "imagenet-500" / "val").rglob("*.JPEG"))[0]
    # As a PNG: a browser's JPEG decoder may differ by a grey level.
    picture = tmp_path / "photograph.png"
    Image.open(photograph).convert("RGB").save(picture)
    page = open_page((tmp_path / "page" / "index.html").as_uri(), width=390)
    logits = give(page, picture)
    answer = json.loads(bitlog2("predict", "--quantized", file, "--json", "--top", 1000,
                                picture))[0]["predictions"]
    assert len(answer) == len(logits) == 1000
    assert page.inner_text("#best") == answer[0]["class"]
    for each in answer:
        difference = LOGIT_SCALE * math.log(each["probability"] / answer[0]["probability"])
        assert abs(difference - (logits[each["index"]] - logits[answer[0]["index"]])) < 0.01
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=screenshots / "page-deit-tiny-390.png", full_page=True)


def test_library_classifies_by_itself(page_folder, open_page, quantized):
    """A page of one's own can use bitlog2.mjs, which refuses damaged files."""
    page = open_page((page_folder / "index.html").as_uri())
    found = page.evaluate("""async ([library, plain, simd128, relaxed, file]) => {
      const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      const { Bitlog2Error, Network, loadRuntime } = await import(
        URL.createObjectURL(new Blob([library], { type: "text/javascript" })));
      const image = new ImageData(40, 30);
      image.data.forEach((_, i) => { image.data[i] = i * 7 % 256; });
      const logits = [];
      const all = { plain: bytes(plain), simd128: bytes(simd128), relaxed: bytes(relaxed) };
      for (const modules of [all, { ...all, relaxed: null }, { plain: all.plain }]) {
        const runtime = await loadRuntime(modules);
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
        await Network.open(damaged, await loadRuntime(all));
      } catch (error) {
        told = `${error instanceof Bitlog2Error} ${error.message}`;
      }
      return { logits, told, large, grown };
    }""", [(page_folder / "bitlog2.mjs").read_text(), *map(base64_of, (
        page_folder / "bitlog2.wasm", page_folder / "bitlog2_simd128.wasm",
        page_folder / "bitlog2_relaxed.wasm", quantized))])
    logits = found["logits"][0]
    assert len(logits) == 10 and len(set(logits)) > 1
    assert found["logits"] == [logits, ["wasm_relaxed"], logits, logits, ["wasm_simd128"], logits,
                               logits, ["portable"], logits]
    assert found["large"].startswith("true ") and "too large" in found["large"]
    assert found["grown"] < 1 << 20
    assert found["told"].startswith("true ") and "checksum" in found["told"]


POOL = """async ([library, poolLibrary, module, file]) => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const addressOf = (text) => URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const address = addressOf(library);
  const { Bitlog2Error, Network } = await import(address);
  const { Pool } = await import(addressOf(poolLibrary.replaceAll("./bitlog2.mjs", address)));
  const runtime = await WebAssembly.compile(bytes(module));
  const picture = (seed) => {
    const image = new ImageData(40, 30);
    image.data.forEach((_, i) => { image.data[i] = i * seed % 256; });
    return image;
  };
  const told = async (promise) => {
    try {
      await promise;
      return "nothing";
    } catch (error) {
      return `${error instanceof Bitlog2Error} ${error.message}`;
    }
  };
  STEPS
}"""


@pytest.fixture
def in_pool_page(page_folder, open_page, quantized):
    """Runs steps in a page that was opened from the disk."""
    page = open_page((page_folder / "index.html").as_uri())

    def run(steps):
        return page.evaluate(POOL.replace("STEPS", steps), [
            (page_folder / "bitlog2.mjs").read_text(),
            (page_folder / "bitlog2_pool.mjs").read_text(),
            base64_of(page_folder / "bitlog2_relaxed.wasm"), base64_of(quantized)])

    return run


def test_pool_gives_the_networks_logits(in_pool_page):
    found = in_pool_page("""
      const network = await Network.open(bytes(file), runtime);
      const pool = await Pool.open(bytes(file), runtime, { workers: 3 });
      const seeds = [7, 11, 13, 17, 19, 23, 29];
      const answers = await Promise.all(seeds.map((seed) => pool.classify(picture(seed), { top: 2 })));
      const embedding = await pool.embed(picture(7));
      const { workers, imageSize, classCount, kernels } = pool;
      pool.terminate();
      return { answers: answers.map(({ logits, classes }) => [Array.from(logits), classes]),
               wanted: seeds.map((seed) => network.classify(picture(seed), { top: 2 }))
                 .map(({ logits, classes }) => [Array.from(logits), classes]),
               embeddings: [Array.from(embedding), Array.from(network.embed(picture(7)))],
               pool: [workers, imageSize, classCount, kernels],
               network: [3, network.imageSize, network.classCount, "wasm_relaxed"] };""")
    assert found["answers"] == found["wanted"]
    assert len({tuple(logits) for logits, _ in found["answers"]}) == 7
    assert found["embeddings"][0] == found["embeddings"][1]
    assert found["pool"] == found["network"]


def test_pool_runs_images_at_the_same_time(in_pool_page):
    """Two workers have an image each before one has an answer, and the third image waits."""
    started = in_pool_page("""
      const messages = [];
      const Real = Worker;
      globalThis.Worker = class extends Real {
        postMessage(message) {
          super.postMessage(message);
          messages.push(message.method);
        }
      };
      const pool = await Pool.open(bytes(file), runtime, { workers: 2 });
      const answers = [7, 11, 13].map((seed) => pool.classify(picture(seed)));
      await null;
      const started = messages.filter((method) => method === "classify").length;
      await Promise.all(answers);
      const all = messages.filter((method) => method === "classify").length;
      pool.terminate();
      return [started, all];""")
    assert started == [2, 3]


def test_pool_tells_errors(in_pool_page):
    found = in_pool_page("""
      const pool = await Pool.open(bytes(file), runtime, { workers: 2 });
      const answers = [7, 0, 11, 13].map((seed) => (
        told(pool.classify(seed ? picture(seed) : { width: 40000, height: 40000, data: [] }))));
      const damaged = bytes(file);
      damaged[damaged.length - 1] ^= 1;
      return { answers: await Promise.all(answers),
               after: (await pool.classify(picture(7))).logits.length,
               damaged: await told(Pool.open(damaged, runtime, { workers: 2 })),
               none: await told(Pool.open(bytes(file), runtime, { workers: 0 })) };""")
    assert [answer == "nothing" for answer in found["answers"]] == [True, False, True, True]
    assert found["answers"][1].startswith("true ") and "too large" in found["answers"][1]
    assert found["after"] == 10
    assert found["damaged"].startswith("true ") and "checksum" in found["damaged"]
    assert found["none"] == "true a pool has at least 1 worker, not 0"


def test_pool_ends(in_pool_page):
    found = in_pool_page("""
      const pool = await Pool.open(bytes(file), runtime, { workers: 1 });
      const answers = [7, 11].map((seed) => told(pool.classify(picture(seed))));
      pool.terminate();
      return [...await Promise.all(answers), await told(pool.classify(picture(13))), pool.workers];""")
    assert found == 3 * ["true the pool was terminated"] + [0]


def test_pool_tells_that_a_worker_does_not_start(in_pool_page):
    found = in_pool_page("""
      const Real = Worker;
      globalThis.Worker = class extends Real {
        constructor() {
          super("data:text/javascript,self.onmessage = () => { throw new Error('out of order'); }");
        }
      };
      return await told(Pool.open(bytes(file), runtime, { workers: 2 }));""")
    assert found.startswith("true a worker failed: ") and "out of order" in found


def test_pool_tells_that_workers_are_forbidden(in_pool_page):
    """As a content security policy forbids them: the constructor throws."""
    found = in_pool_page("""
      let started = 0;
      let ended = 0;
      const Real = Worker;
      globalThis.Worker = class extends Real {
        constructor(address) {
          if (started === 2) throw new DOMException("workers are forbidden", "SecurityError");
          super(address);
          ++started;
        }
        terminate() {
          super.terminate();
          ++ended;
        }
      };
      try {
        await Pool.open(bytes(file), runtime, { workers: 3 });
      } catch (error) {
        return [error.message, started, ended];
      }
      return [];""")
    assert found == ["workers are forbidden", 2, 2]
