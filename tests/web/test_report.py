"""The page that `bitlog2 report` writes, opened from the disk in headless Chromium."""
import json
import math

import pytest

from conftest import DEMO


@pytest.fixture(scope="module")
def report(bitlog2, tmp_path_factory):
    """The page's address and its numbers."""
    folder = tmp_path_factory.mktemp("report")
    bitlog2("report", "--weights", DEMO / "fashion_vit.safetensors", "--dataset",
            DEMO / "fashion_mnist.safetensors", "--recipe", "best", "--sample", 200, "-o",
            folder / "report.html", "--json", folder / "report.json")
    return (folder / "report.html").as_uri(), json.loads((folder / "report.json").read_text())


def cells(page, table):
    rows = page.locator(f"{table} tbody tr")
    return [rows.nth(i).locator("td").all_inner_texts() for i in range(rows.count())]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_page_fits(report, open_page, screenshots, width, scheme):
    page = open_page(report[0], width, scheme)
    page.locator("#quantizers > details summary").nth(0).click()
    page.locator("#quantizers details details summary").nth(0).click()
    page.locator("#quantizers svg").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.evaluate("""[...document.querySelectorAll("svg text")].map((text) => (
      parseFloat(getComputedStyle(text).fontSize) * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b)))""")
    assert len(sizes) > 20 and min(sizes) >= 10  # pixels on the screen
    assert page.evaluate("""[...document.querySelectorAll("#engines, #costs span")].filter((element) => (
      element.scrollWidth > element.parentElement.clientWidth)).length""") == 0
    assert page.evaluate("""[...document.querySelectorAll("svg text")].filter((text) => {
      const [inner, outer] = [text.getBoundingClientRect(), text.closest("svg").getBoundingClientRect()];
      return inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.bottom > outer.bottom + 1;
    }).map((text) => text.textContent)""") == []
    page.screenshot(path=screenshots / f"report-{width}-{scheme}.png", full_page=True)


def test_tables_have_the_numbers(report, open_page):
    address, numbers = report
    page = open_page(address)
    exact, integer = numbers["engines"]
    _, *columns = zip(*cells(page, "#engines"))
    assert [list(column) for column in columns] == [
        [f"{engine['top1']:.2f}", f"{engine['top5']:.2f}", f"{engine['loss']:.3f}",
         f"{engine['bytes'] / 1e6:.2f} MB", memory, f"{1e3 * engine['seconds']:.2f}", engine["isa"]]
        for engine, memory in ((exact, "–"), (integer, f"{integer['arena_bytes'] / 1e6:.2f} MB"))]
    assert exact["images"] == 200
    page.locator("summary", has_text="As a table").click()
    assert cells(page, "#layer-table") == [
        [row["layer"], *(f"{row[key]:.1f}" for key in (
            "integer_to_fp32_db", "simulated_to_fp32_db", "integer_to_simulated_db")),
         f"{row['integer_to_fp32_cosine']:.5f}"] for row in numbers["layers"]]
    shown = page.locator("#costs span").all_inner_texts()
    assert shown[::3] == [row["layer"] for row in numbers["costs"]]
    whole = sum(row["seconds"] for row in numbers["costs"])
    assert shown[2::3] == [f"{1e3 * row['seconds']:.3f} ms, {100 * row['seconds'] / whole:.1f} %"
                           for row in numbers["costs"]]


def test_lines_are_drawn_where_the_numbers_are(report, open_page):
    address, numbers = report
    page = open_page(address)
    for line, key in (("first", "integer_to_fp32_db"), ("second", "simulated_to_fp32_db")):
        points = [tuple(map(float, point.split(","))) for point in
                  page.get_attribute(f"#layers polyline.{line}", "points").split()]
        assert len(points) == len(numbers["layers"]) > 2
        assert all(a[0] < b[0] for a, b in zip(points, points[1:]))
        zero, unit = page.evaluate("""() => {
          const at = (text) => parseFloat([...document.querySelectorAll("#layers text")]
            .find((each) => each.textContent === text).getAttribute("y"));
          return [at("0"), (at("0") - at("10")) / 10];
        }""")
        for (_, y), row in zip(points, numbers["layers"]):
            assert abs((zero - 4 - y) / unit - row[key]) < 0.01  # a label is 4 below its line


def test_sizes_are_what_the_page_says(report, bitlog2, tmp_path):
    exact, integer = report[1]["engines"]
    with (DEMO / "fashion_vit.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
    assert exact["bytes"] == 4 * sum(map(math.prod, shapes))
    file = tmp_path / "demo.safetensors"
    made = json.loads(bitlog2(
        "quantize", "--weights", DEMO / "fashion_vit.safetensors", "--dataset",
        DEMO / "fashion_mnist.safetensors", "--recipe", "best", "-o", file, "--json=-"))
    assert integer["bytes"] == file.stat().st_size
    assert integer["arena_bytes"] == made["arena_bytes"]


def test_changed_answers_are_shown(report, open_page):
    address, numbers = report
    page = open_page(address)
    assert page.inner_text("#changed-about").startswith(f"{numbers['changed_count']} of 200")
    cards = page.locator("#changed .card")
    assert len(numbers["changed"]) == numbers["changed_count"]
    assert cards.count() == min(24, numbers["changed_count"]) > 0
    answer = "{class}, {percent:.1f} %"
    page.evaluate("document.getElementById('changed-more').hidden = false")
    page.locator("#changed-more summary").click()
    assert [row[1:] for row in cells(page, "#changed-table")] == [
        [each["label_class"], *(answer.format(**each[engine], percent=100 * each[engine]["probability"])
                                for engine in ("float32", "integer"))]
        for each in numbers["changed"]]
    first = numbers["changed"][0]
    assert first["float32"]["index"] != first["integer"]["index"]
    text = cards.nth(0).inner_text()
    for engine in ("float32", "integer"):
        assert f"{first[engine]['class']}, {100 * first[engine]['probability']:.1f} %" in text


def test_attention_and_its_schemes(report, open_page):
    address, numbers = report
    page = open_page(address)
    attention = numbers["attention"]
    assert len(attention["schemes"]) == 7
    assert "class token" in page.inner_text("#attention-about")
    captions = page.locator("#maps figcaption").all_inner_texts()
    assert captions[2:] == [f"{scheme['name']}, {scheme['decibels']:.1f} dB"
                            for scheme in attention["schemes"]]
    assert sum(attention["log2"]["counts"]) == len(attention["probabilities"])
    for scheme in attention["schemes"]:
        assert len(scheme["levels"]) <= 17
        page.get_by_role("button", name=scheme["name"], exact=True).click()
        assert page.locator("#histogram line.level").count() == sum(
            level > 0 for level in scheme["levels"])
        assert page.locator("#histogram line.edge").count() == len(scheme["levels"]) - 1
        assert all(scheme["weights"][i] == scheme["levels"][-1 - code]
                   for i, code in enumerate(scheme["codes"]))
    assert page.locator("#codes canvas").count() == 7


def test_quantizers_open_on_click(report, open_page):
    address, numbers = report
    page = open_page(address)
    groups = page.locator("#quantizers > details")
    inner = page.locator("#quantizers details details")
    assert inner.count() == len(numbers["quantizers"])
    groups.nth(0).locator("summary").nth(0).click()
    first = groups.nth(0).locator("details").nth(0)
    first.locator("summary").click()
    first.locator("svg").wait_for()
    assert all(sum(each["values"]["counts"]) > 0 for each in numbers["quantizers"].values())
    maps = inner.filter(has_text="matmul2.quantizer_A")
    maps.nth(0).locator("summary").click()
    (name, first_map), *_ = [each for each in numbers["quantizers"].items() if "map_levels" in each[1]]
    assert name in maps.nth(0).inner_text()
    assert maps.nth(0).locator("svg line.level").count() > 0 and len(first_map["map_levels"]) <= 17


def test_page_prints(report, open_page):
    page = open_page(report[0])
    paper = page.pdf(format="A4")
    assert paper.startswith(b"%PDF") and paper.count(b"/Type /Page\n") >= 2
