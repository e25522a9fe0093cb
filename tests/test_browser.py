"""The page of a report in a browser: what one can do with it, by mouse and by keys, and that it asks nothing of the
network. One headless Chromium for all tests; where there is none, or no Selenium, they are skipped."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from rich.console import Console
from test_report import write_run

from dlrun.report.report import report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver import ActionChains, ChromeOptions, ChromeService, Keys  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium, or no chromium-driver (Debian's names)"),
]
HOSTILE = "</script><img src=x onerror=pwned=1><script>pwned=1</script>"
KEY = HOSTILE.replace("=", ":")
LEVELS = {("sgd", 0.01): 0.6, ("sgd", 0.1): 0.7, ("adam", 0.01): 0.9, ("adam", 0.1): 0.8}  # the best: rank 0
SEEDS = 3


def curve(level: float, seed: int) -> tuple[float, ...]:
    return tuple(level * (1 - 0.5**epoch) + 0.01 * seed for epoch in range(6))


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two optimizers at two rates with three seeds; and a setting of a hostile name, whose runs diverged and failed."""
    folder = tmp_path_factory.mktemp("browser") / "sweep"
    for number, ((optimizer, lr), level) in enumerate(LEVELS.items()):
        for seed in range(SEEDS):
            typed = [f"optimizer={optimizer}", f"lr={lr}", f"seed={seed}"]
            write_run(folder / f"{number}{seed}", *typed, curve=curve(level, seed), accuracy=level, test=level - 0.05)
    lost = [f"optimizer={HOSTILE}", "lr=10", f"+{KEY}=1"]
    write_run(folder / "40", *lost, "seed=0", status="diverged", curve=(0.1, nan), name=HOSTILE)
    write_run(folder / f"{HOSTILE.replace('/', '|')}", *lost, "seed=1", status="failed", curve=(0.1,), error=HOSTILE)
    report([folder], console=Console(file=io.StringIO()))
    return folder / "report.html"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage"]  # /dev/shm is small in containers
    for argument in arguments + (["--no-sandbox"] if os.geteuid() == 0 else []):  # root has none
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, ChromeService(DRIVER))
    yield driver
    driver.quit()


class Page:
    """A page that was opened, and how one acts on it."""

    def __init__(self, driver: Any, path: Path, scheme: str, width: int) -> None:
        self.driver = driver
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        scheme_of = {"media": "", "features": [{"name": "prefers-color-scheme", "value": scheme}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme_of)
        driver.get(path.as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """What the script returns, once the screen has been painted."""
        painted = "new Promise(then => requestAnimationFrame(() => setTimeout(then)))"
        return self.driver.execute_script(f"await {painted}; {script}", *arguments)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def drag(self, x: float, y: float, to_x: float, to_y: float) -> None:
        """From here to there, in pixels of the window; nothing in between is a click."""
        for kind, at in (("mousePressed", (x, y)), ("mouseMoved", (to_x, to_y)), ("mouseReleased", (to_x, to_y))):
            self.mouse(kind, *at)

    def mouse(self, kind: str, x: float, y: float) -> None:
        pressed = {"button": "left", "buttons": 1, "clickCount": 1} if kind != "mouseMoved" else {"buttons": 0}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **pressed})

    def keys(self, *keys: str) -> None:
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def rows(self) -> list[int]:
        """The settings whose rows are to be seen, in their order."""
        rows = "[...document.querySelectorAll('table.settings tbody tr')].filter(row => row.offsetHeight)"
        return self.run(f"return {rows}.map(row => Number(row.dataset.setting))")

    def legend(self) -> list[str]:
        return self.run("return [...document.querySelectorAll('#legend li')].map(item => item.textContent)")

    def tip(self, plot: str) -> list[str]:
        return self.run(
            f"return [...document.querySelectorAll('#{plot} .tip:not([hidden]) div')].map(l => l.textContent)"
        )

    def picture(self, plot: str = "curves") -> str:
        return self.run(f"return document.querySelector('#{plot} canvas').toDataURL()")

    def at(self, plot: str, place: str) -> tuple[float, float]:
        """A place in a plot, a script's [x, y], in pixels of the window; the plot is scrolled into sight."""
        script = f"const plot = document.querySelector('#{plot} .plot'); plot.scrollIntoView({{block: 'center'}});"
        x, y = self.run(
            f"{script} const box = plot.getBoundingClientRect(), at = {place}; return [box.x + at[0], box.y + at[1]]"
        )
        return x, y


@pytest.fixture
def page(sweep: Path, chromium: Any, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, in light and 1280 pixels wide; afterwards: there were no errors, nothing asked of the network, and
    nothing hostile ran."""
    options = getattr(request, "param", {})
    chromium.get_log("performance")
    page = Page(chromium, sweep, options.get("scheme", "light"), options.get("width", 1280))
    yield page
    assert page.run("return typeof pwned") == "undefined" and not page.driver.get_log("browser")
    events = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked and all(url == sweep.as_uri() or url.startswith("data:image/png") for url in asked)


def test_a_head_sorts_by_click_and_by_key(page: Page) -> None:
    assert page.rows() == [0, 1, 2, 3, 4]
    button = page.find("table.settings th:nth-of-type(5) button")
    assert button.text == "val"
    button.click()
    assert page.rows() == [3, 2, 1, 0, 4]  # what has no value stays below
    assert page.run("return arguments[0].parentElement.ariaSort", button) == "ascending"
    page.keys(Keys.ENTER)
    assert page.rows() == [0, 1, 2, 3, 4]
    assert page.run("return arguments[0].parentElement.ariaSort", button) == "descending"


def test_words_keep_the_settings_that_have_them_all(page: Page) -> None:
    before = page.picture()
    page.find("#words").send_keys("ADAM 0.1")
    assert page.rows() == [1] and page.find("#count").text == "1 of 5 settings kept"
    assert page.legend() == ["optimizer=adam lr=0.1 (n = 3)"] and page.picture() != before
    runs = page.run(
        "return [...document.querySelectorAll('tr[data-setting]:not(.out)')].map(row => row.cells[0].textContent)"
    )
    assert runs[-3:] == ["30", "31", "32"]  # of the other tables, too
    page.find("#reset").click()
    assert page.rows() == [0, 1, 2, 3, 4] and page.find("#words").get_property("value") == ""
    assert page.find("#count").text == "5 settings" and page.picture() == before


def test_settings_and_what_is_drawn_of_them_are_toggled(page: Page) -> None:
    page.find("table.settings tbody tr:first-child input").click()
    assert page.rows() == [0, 1, 2, 3, 4] and not any("adam lr=0.01" in item for item in page.legend())
    assert page.find("#all").get_property("indeterminate")
    page.find("table.settings tbody tr:first-child input").click()
    assert len(page.legend()) == 5
    page.find("#all").click()
    assert page.legend() == [] and page.find("#count").text == "0 of 5 settings kept"
    page.find("#all").click()
    for name in ("bands", "single", "log", "late"):
        before = page.picture()
        page.find(f"#{name}").click()
        assert page.picture() != before, name
    page.run("$('metric').value = '1'; $('metric').dispatchEvent(new Event('change'))")
    assert page.run("return data.curves[state.curve].name") == "val_loss"


def test_pointing_shows_the_values_of_metrics_csv(page: Page) -> None:
    x, y = page.at("curves", "[view.x(3), view.y(curveOf().settings.get(1).mean[3])]")
    page.mouse("mouseMoved", x, y)
    values = [curve(0.8, seed)[3] for seed in range(SEEDS)]
    assert page.tip("curves") == [
        "optimizer=adam lr=0.1", f"epoch 3: val_accuracy {fmean(values):.4g}",
        f"lowest to highest: {min(values):.4g} – {max(values):.4g}", "n = 3",
    ]  # fmt: skip
    assert page.run("return document.querySelector('table.settings tr.hot').dataset.setting") == "1"  # and it is linked
    page.find("#single").click()
    x, y = page.at("curves", "[view.x(1), view.y(0.1)]")
    page.mouse("mouseMoved", x, y)
    page.mouse("mouseMoved", *page.at("curves", "[view.x(4), view.y(curveOf().runs[0][4])]"))
    level = curve(0.6, 0)[4]
    assert page.tip("curves") == ["optimizer=sgd lr=0.01, run 00, seed 0", f"epoch 4: val_accuracy {level:.4g}"]
    page.mouse(
        "mouseMoved",
        *page.at("axes", "[(across[0] + across[1]) / 2, (level(data.axes[0].at[3]) + level(data.axes[1].at[3])) / 2]"),
    )
    assert page.tip("axes")[:2] == ["optimizer: sgd", "lr: 0.01"] and page.tip("axes")[-1] == "n = 3"


def test_a_drag_along_an_axis_keeps_what_crosses_it_there(page: Page) -> None:
    at = [page.at("axes", f"[across[3], level(data.axes[3].at[{rank}])]") for rank in (0, 1)]
    assert page.run("return data.axes[3].name") == "val accuracy"
    (x, top), (_, bottom) = at
    page.drag(x, top - 5, x, bottom + 5)
    assert page.rows() == [0, 1] and len(page.legend()) == 2
    assert page.find(".axis[data-axis='3']").get_attribute("aria-valuetext") == "0.8000 to 0.9000"
    page.drag(x, (top + bottom) / 2, x, (top + bottom) / 2 + bottom - top)  # the brush itself is moved
    assert page.rows() == [1, 2]
    x, y = page.at("axes", "[across[1], level(data.axes[1].at[1])]")
    page.drag(x, y - 5, x, y + 5)  # both axes hold
    assert page.run("return data.axes[1].texts[1]") == "0.1" and page.rows() == [1, 2]
    x, top = page.at("axes", "[across[3], level(1)]")
    page.drag(x, top, x, top)  # a click lets go
    assert page.rows() == [1, 2] and page.run("return state.brushes.size") == 1
    page.find("#reset").click()
    assert page.rows() == [0, 1, 2, 3, 4]


def test_a_frame_in_the_curves_keeps_what_goes_through_it(page: Page) -> None:
    left, top = page.at("curves", "[view.x(4.2), view.y(0.85)]")
    right, bottom = page.at("curves", "[view.x(4.8), view.y(0.65)]")  # between two evaluations
    page.drag(left, top, right, bottom)
    assert page.rows() == [1, 2] and len(page.legend()) == 2
    page.drag(left, top, left, top)
    assert page.rows() == [0, 1, 2, 3, 4]


def test_all_can_be_done_by_keys(page: Page) -> None:
    page.find(".axis[data-axis='1']").send_keys(Keys.ARROW_UP)  # the least rate
    axis = page.find(".axis[data-axis='1']")
    assert page.rows() == [0, 3] and axis.get_attribute("aria-valuetext") == "0.01 to 0.01"
    page.keys(Keys.ARROW_UP)
    assert page.rows() == [1, 2]
    ActionChains(page.driver, duration=0).key_down(Keys.SHIFT).send_keys(Keys.ARROW_DOWN).key_up(Keys.SHIFT).perform()
    assert page.rows() == [0, 1, 2, 3]
    page.keys(Keys.ESCAPE)
    assert page.rows() == [0, 1, 2, 3, 4] and axis.get_attribute("aria-valuetext") == "all"

    page.find("#curves canvas").send_keys(Keys.ARROW_RIGHT)  # begins at the best one's end
    assert page.tip("curves")[:2] == [
        "optimizer=adam lr=0.01",
        f"epoch 5: val_accuracy {0.9 * (1 - 0.5**5) + 0.01:.4g}",
    ]
    page.keys(Keys.ARROW_LEFT, Keys.ARROW_DOWN)
    assert page.tip("curves")[:2] == ["optimizer=adam lr=0.1", f"epoch 4: val_accuracy {0.8 * (1 - 0.5**4) + 0.01:.4g}"]

    page.find("table.settings tbody tr").send_keys(Keys.ARROW_DOWN, Keys.SPACE)
    assert page.run("return document.activeElement.dataset.setting") == "1" and page.run("return [...state.off]") == [1]
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"  # it is to be seen
    page.keys(Keys.END)
    assert page.run("return document.activeElement.dataset.setting") == "4"
    page.find("#theme").send_keys(Keys.TAB)
    reached = set()
    for _ in range(70):
        script = "const e = document.activeElement; return e.id || e.dataset.axis || e.tagName"
        reached.add(page.driver.execute_script(script))
        page.keys(Keys.TAB)
    wanted = {
        "words",
        "0",
        "1",
        "2",
        "metric",
        "unit",
        "bands",
        "single",
        "log",
        "late",
        "CANVAS",
        "all",
        "BUTTON",
        "TR",
        "A",
    }
    assert wanted <= reached


def test_what_one_acts_on_has_a_name(page: Page) -> None:
    nameless = page.run("""
        const named = e => e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent;
        return [...document.querySelectorAll("button, input, select, [tabindex]:not(tr), img")]
          .filter(e => !(e.tagName === "IMG" ? e.alt : named(e)).trim()).map(e => e.outerHTML)""")
    assert nameless == []


CONTRAST = """
    const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const parts = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(v => linear(v / 255));
    const light = colour => parts(colour).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0.05);
    const ratio = (a, b) => Math.max(light(a) / light(b), light(b) / light(a));
    const style = selector => getComputedStyle(document.querySelector(selector));
    const papers = ["body", "th"].map(selector => style(selector).backgroundColor);
    return ["body", ".quiet", "a", "th button", "#count"].flatMap(selector =>
      papers.map(paper => ratio(style(selector).color, paper)))"""


@pytest.mark.parametrize("page", [{"scheme": "light"}, {"scheme": "dark"}], indirect=True)
def test_dark_and_light(page: Page) -> None:
    """Contrasts of WCAG 2.2, 1.4.3: text 4.5; the eighth colour of curves is no darker or lighter than the paper."""
    dark = page.run("return matchMedia('(prefers-color-scheme: dark)').matches")
    paper = ["rgb(255, 255, 255)", "rgb(22, 23, 26)"]
    assert page.run("return getComputedStyle(document.body).backgroundColor") == paper[dark]
    assert min(page.run(CONTRAST)) >= 4.5
    before = page.picture()
    page.find("#theme").click()
    assert page.run("return getComputedStyle(document.body).backgroundColor") == paper[not dark]
    assert min(page.run(CONTRAST)) >= 4.5 and page.picture() != before
    page.find("#theme").click()
    assert page.picture() == before


@pytest.mark.parametrize("page", [{"scheme": "dark"}], indirect=True)
def test_it_is_printed_in_light_and_without_what_paper_cannot_do(page: Page) -> None:
    width = page.run("return document.body.clientWidth")
    page.run("dispatchEvent(new Event('beforeprint'))")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert page.run("return getComputedStyle(document.body).color") == "rgb(29, 29, 31)"
    assert page.run("return document.querySelector('#curves canvas').width") == 3 * 680
    controls = "[...document.querySelectorAll('button, input, select')]"
    shown = page.run(f"return {controls}.filter(each => each.offsetHeight).map(each => each.textContent)")
    heads = page.run("return [...document.querySelectorAll('th:not(.check)')].map(e => e.textContent)")
    assert shown == heads and "val" in heads
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    page.run("dispatchEvent(new Event('afterprint'))")
    assert page.run("return document.body.clientWidth") == width


@pytest.mark.parametrize("page", [{"width": 400}], indirect=True)
def test_nothing_is_wider_than_a_telephone(page: Page) -> None:
    assert page.run("return document.documentElement.scrollWidth == document.documentElement.clientWidth")
    assert page.run("return document.querySelector('#curves .plot').clientWidth") > 350


def test_what_did_not_finish_is_told_and_drawn_to_a_cross(page: Page) -> None:
    told = page.find("#said").text
    assert "2 runs did not finish (1 diverged, 1 failed): in no mean" in told
    assert page.legend()[-1] == f"optimizer={HOSTILE} lr=10 {KEY}=1 (n = 0; 1 of 2 diverged, 1 of 2 failed; no curve)"
    page.run("state.off = new Set([0, 1, 2, 3]); changed()")
    before = page.picture()
    page.find("#single").click()
    page.mouse("mouseMoved", *page.at("curves", "[view.x(0), view.y(0.1)]"))
    assert page.picture() != before and page.tip("curves")[0].startswith(f"optimizer={HOSTILE} lr=10 {KEY}=1, run ")


def test_a_script_that_came_in_would_not_run(sweep: Path, chromium: Any) -> None:
    """Were a value not escaped, the policy would still keep it from running; the page's own script does."""
    text = sweep.read_text()
    evil = "<script>pwned = 1</script><img src=x onerror='pwned = 1'><img src=https://localhost/x>"
    (sweep.parent / "torn.html").write_text(text.replace("<header>", f"{evil}<header>"))
    page = Page(chromium, sweep.parent / "torn.html", "light", 1280)
    assert page.run("return typeof pwned") == "undefined" and len(page.legend()) == 5
    refused = [entry["message"] for entry in chromium.get_log("browser")]
    assert sum("Content Security Policy" in message for message in refused) >= 3
    chromium.get_log("performance")
