"""How large and how quick the page of a report of 1,000 runs is, in headless Chromium; used by `bench.py page`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from math import exp, sin
from pathlib import Path
from random import Random
from statistics import median, quantiles

EVALUATIONS = 50
CASES = {"200 settings, 5 seeds": (200, 5), "1,000 settings, 1 seed": (1000, 1)}
HEADER = "epoch,step,lr,train_loss,val_loss,train_accuracy,val_accuracy,grad_norm,seconds"
MOVES = 40  #: of a brush
#: from a movement of the pointer to the next frame's end
BRUSH = """
const [moves, done] = arguments, hit = document.querySelectorAll(".axis .hit")[1], found = [];
hit.scrollIntoView({ block: "center" });
hit.setPointerCapture = () => {};
const box = hit.getBoundingClientRect(), x = box.x + box.width / 2;
const send = (type, share) => hit.dispatchEvent(
  new PointerEvent(type, { bubbles: true, clientX: x, clientY: box.y + 10 + share * (box.height - 20), buttons: 1 }));
send("pointerdown", 0);
const next = () => {
  if (found.length === moves) return done(found);
  const begin = performance.now();
  send("pointermove", (found.length + 1) / moves);
  requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => { found.push(performance.now() - begin); setTimeout(next, 20); };
    channel.port2.postMessage(0);
  });
};
requestAnimationFrame(next);"""


def write(folder: Path, settings: int, seeds: int) -> None:
    """The folders of a sweep, as runs leave them, with curves that are made up."""
    random = Random(0)
    for number in range(settings * seeds):
        setting, seed = divmod(number, seeds)
        level, lr = 0.7 + 0.25 * sin(setting) ** 2, 10 ** (-4 + 3 * setting / settings)
        own = [
            f"optimizer={['sgd', 'momentum', 'adam', 'rmsprop'][setting % 4]}", f"lr={lr:.6g}",
            f"optimizer.weight_decay={[0, 1e-4, 1e-3][setting % 3]}", f"batch_size={[32, 64][setting % 2]}",
            f"seed={seed}",
        ]  # fmt: skip
        (folder / str(number) / ".hydra").mkdir(parents=True)
        (folder / str(number) / ".hydra" / "overrides.yaml").write_text("".join(f"- {each}\n" for each in own))
        (folder / str(number) / "config.yaml").write_text(f"seed: {seed}\n")
        lines = [HEADER]
        for epoch in range(EVALUATIONS):
            accuracy = level * (1 - exp(-epoch / 8)) + random.gauss(0, 0.01)
            others = [
                1.5 - accuracy,
                1.5 - accuracy + random.gauss(0, 0.02),
                accuracy + 0.01,
                accuracy,
                random.random(),
            ]
            lines.append(",".join(map(str, [epoch, 20 * epoch, lr, *others, epoch / 10])))
        (folder / str(number) / "metrics.csv").write_text("\n".join([*lines, ""]))
        found = {"best_val_loss": 1 - level, "best_val_accuracy": level + random.gauss(0, 0.01)}
        found |= {"last_val_accuracy": level, "test_accuracy": level + random.gauss(0, 0.01)}
        summary = {"status": "finished", "seed": seed, "epochs": EVALUATIONS - 1, "seconds": 1.5, "error": None} | found
        (folder / str(number) / "summary.json").write_text(json.dumps(summary))


def measured(folder: Path) -> dict[str, float]:
    """Megabytes of the page, seconds of `dlrun report`, seconds until the page can be used, milliseconds of a brush."""
    from selenium import webdriver

    begin = time.perf_counter()
    dlrun = str(Path(sys.executable).with_name("dlrun"))
    subprocess.run([dlrun, "report", str(folder)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--window-size=1280,900",
        *["--no-sandbox"] * (not os.geteuid()),
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        usable = []
        for _ in range(3):  # the first one starts the browser's own parts, too
            driver.get((folder / "report.html").as_uri())
            usable.append(driver.execute_script("return performance.getEntriesByName('usable')[0].startTime") / 1000)
        brush = driver.execute_async_script(BRUSH, MOVES)
    finally:
        driver.quit()
    return {
        "MB": (folder / "report.html").stat().st_size / 1e6,
        "s, `dlrun report`": seconds,
        "s, until the page can be used": median(usable),
        "ms, from a movement of a brush to the next frame": median(brush),
        "ms, the slowest of twenty": quantiles(brush, n=20)[-1],
    }
