// What is above all of it, and the beginning.
$("words").addEventListener("input", () => {
  state.words = $("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  changed();
});
$("reset").addEventListener("click", () => {
  state.off.clear();
  state.brushes.clear();
  state.frame = null;
  state.words = [];
  $("words").value = "";
  changed();
});
$("said").textContent = data.said.join(" ");

function nameTheme() { $("theme").textContent = dark() ? "Light" : "Dark"; }
const laid = new Map(); // how large each plot was when it was drawn
function sizeOf(plot) { return `${plot.clientWidth} ${plot.clientHeight}`; }
function repaint() {
  past.clear();
  nameTheme();
  if (data.axes.length) layAxes();
  draw();
  for (const plot of document.querySelectorAll(".plot")) laid.set(plot, sizeOf(plot));
}
$("theme").hidden = false;
$("theme").addEventListener("click", () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; repaint(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

let theme; // which print is without
addEventListener("beforeprint", () => {
  theme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
  document.body.classList.add("printing");
  printing = true;
  repaint();
});
addEventListener("afterprint", () => {
  if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
  document.body.classList.remove("printing");
  printing = false;
  repaint();
});

$("explorer").hidden = !(data.axes.length || data.curves.length);
for (const each of document.querySelectorAll(".several")) each.hidden = data.settings.length < 2;
$("bands").parentElement.hidden = !data.settings.some(setting => setting.banded);
$("single").parentElement.hidden = !data.runs.some(run => run.own);
repaint();
const watcher = new ResizeObserver(plots => { if (plots.some(({ target }) => laid.get(target) !== sizeOf(target))) repaint(); });
for (const plot of document.querySelectorAll(".plot")) watcher.observe(plot);
performance.mark("usable");
