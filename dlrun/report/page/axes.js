// Parallel axes: a line per setting; a drag along an axis keeps those that cross it there.
const TOP = 44, BOTTOM = 34, ROOM = 96; // of an axis, in pixels
const MOST_BESIDE = 5; // axes that stand beside the curves
const axesPlot = document.querySelector("#axes .plot");
let across = []; // where each axis stands
let axisHeight = 0;

function level(place) { return TOP + (1 - place) * axisHeight; }

function layAxes() { // what does not change with the settings shown
  const n = data.axes.length;
  axesPlot.style.minWidth = `${n * ROOM}px`;
  const svg = axesPlot.querySelector("svg"), width = axesPlot.clientWidth, height = axesPlot.clientHeight;
  const focused = [...svg.children].indexOf(document.activeElement);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  axisHeight = height - TOP - BOTTOM;
  const step = (width - 24) / n, pen = axesPlot.querySelector("canvas").getContext("2d");
  across = data.axes.map((_, at) => 12 + step * at + Math.min(step / 2, 40));
  pen.save();
  pen.setTransform(1, 0, 0, 1, 0, 0);
  data.axes.forEach((axis, at) => {
    const x = across[at], label = fit(axis.name, "600 12px system-ui, sans-serif");
    function fit(text, font = "12px system-ui, sans-serif", room = step - 16) { pen.font = font; return fitted(pen, text, room); }
    const group = made(svg, "g", { class: "axis", tabindex: 0, role: "slider", "aria-orientation": "vertical",
      "aria-valuemin": 0, "aria-valuemax": 1, "data-axis": at });
    made(group, "title", {}, axis.name);
    made(group, "rect", { class: "hit", x: x - 14, y: TOP - 8, width: 28, height: axisHeight + 16, rx: 4 });
    made(group, "line", { x1: x, x2: x, y1: TOP, y2: TOP + axisHeight });
    made(group, "rect", { class: "brush", x: x - 8, width: 16, rx: 3 });
    const start = Math.max(0, x - Math.min(step / 2, 40));
    made(group, "text", { class: "name", x: start, y: 16 }, label);
    const hint = [axis.scale === "log" ? "log" : "", axis.note].filter(Boolean).join(", ");
    made(group, "text", { class: "hint", x: start, y: height - 8 }, fit(hint, "11px system-ui, sans-serif", step - 8));
    let last = Infinity;
    for (const [place, text] of axis.ticks) {
      const y = level(place);
      if (last - y < 15) continue;
      last = y;
      made(group, "line", { x1: x - 4, x2: x + 4, y1: y, y2: y });
      const told = made(group, "text", { x: x + 9, y: y + 4 }, fit(text, undefined, step - 26));
      made(told, "title", {}, text);
    }
    grip(group, at);
  });
  pen.restore();
  if (focused >= 0) svg.children[focused].focus();
}

function drawAxes() {
  if (!data.axes.length) return;
  const { pen } = canvasOf(axesPlot);
  const trace = at => data.axes.forEach((axis, i) => pen[i ? "lineTo" : "moveTo"](across[i], level(axis.at[at])));
  pen.strokeStyle = ink("ghost");
  pen.lineWidth = 1;
  pen.beginPath();
  data.settings.forEach(({ id }, at) => { if (!isShown(id)) trace(at); });
  pen.globalAlpha = 0.6;
  pen.stroke();
  pen.globalAlpha = kept.size > 100 ? 0.3 : 0.45;
  pen.strokeStyle = ink("quiet");
  pen.beginPath();
  data.settings.forEach(({ id }, at) => { if (isShown(id) && !slots.has(id)) trace(at); });
  pen.stroke();
  pen.globalAlpha = 1;
  for (const only of [false, true]) data.settings.forEach(({ id }, at) => {
    if (!slots.has(id) && id !== state.hot || (id === state.hot) !== only) return;
    pen.strokeStyle = colour(id) || ink("ink");
    pen.lineWidth = only ? 5 : 2.5;
    pen.setLineDash(isDashed(id) ? [6, 4] : []);
    pen.beginPath();
    trace(at);
    pen.stroke();
  });
  pen.setLineDash([]);
  axesPlot.querySelectorAll(".axis").forEach((group, at) => {
    const [low, high] = state.brushes.get(at) ?? [0, 1], brush = group.querySelector(".brush");
    brush.style.display = state.brushes.has(at) ? "" : "none";
    brush.setAttribute("y", level(high));
    brush.setAttribute("height", Math.max(2, level(low) - level(high)));
    const axis = data.axes[at], told = inside(axis, low, high);
    group.setAttribute("aria-label", `${axis.name}${axis.scale === "log" ? ", logarithmic" : ""}${axis.note && `, ${axis.note}`}`);
    group.setAttribute("aria-valuenow", (low + high) / 2);
    group.setAttribute("aria-valuetext", !state.brushes.has(at) ? "all" : told.length ? `${told[0]} to ${told.at(-1)}` : "nothing");
  });
}

function inside(axis, low, high) { // the values of settings on a part of an axis, from below
  return axis.at.map((place, at) => [place, axis.texts[at]]).filter(([place]) => low <= place && place <= high)
    .sort((a, b) => a[0] - b[0]).map(pair => pair[1]);
}

function brush(at, part) {
  if (part) state.brushes.set(at, part); else state.brushes.delete(at);
  changed();
}

function grip(group, at) { // a drag makes a brush, or moves the one that it begins in; a click lets go
  const hit = group.querySelector(".hit");
  let from = null, moved = null;
  const placeOf = event => Math.min(1.02, Math.max(-0.02, 1 - (event.clientY - axesPlot.getBoundingClientRect().top - TOP) / axisHeight));
  for (const part of [hit, group.querySelector(".brush")]) {
    part.addEventListener("pointerdown", event => {
      from = placeOf(event);
      const part = state.brushes.get(at);
      moved = part && part[0] <= from && from <= part[1] ? part : null;
      dragging = true;
      hit.setPointerCapture(event.pointerId);
      group.focus({ preventScroll: true });
      event.preventDefault();
    });
  }
  hit.addEventListener("pointermove", event => {
    if (from === null) return;
    const to = placeOf(event);
    if (moved) brush(at, moved.map(end => end + to - from));
    else if (Math.abs(to - from) * axisHeight > 3) brush(at, [Math.min(from, to), Math.max(from, to)]);
  });
  for (const end of ["pointerup", "pointercancel"]) hit.addEventListener(end, event => {
    dragging = false;
    if (Math.abs(placeOf(event) - from) * axisHeight <= 3) state.brushes.delete(at);
    from = null;
    changed();
  });
  group.addEventListener("keydown", event => { // from value to value of those that settings have
    const way = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (event.key === "Escape") brush(at, null);
    if (!way) return;
    event.preventDefault();
    const places = [...new Set(data.axes[at].at)].sort((a, b) => a - b), part = state.brushes.get(at);
    if (!part) { const end = way > 0 ? places[0] : places.at(-1); return brush(at, [end - 0.005, end + 0.005]); }
    const within = places.filter(place => part[0] <= place && place <= part[1]);
    const edge = within.length ? (way > 0 ? within.at(-1) : within[0]) : way > 0 ? part[1] : part[0];
    const next = places[places.indexOf(edge) + way] ?? edge;
    if (!event.shiftKey) brush(at, [next - 0.005, next + 0.005]);
    else brush(at, [Math.min(part[0], next - 0.005), Math.max(part[1], next + 0.005)]);
  });
}

function pointAxes(event) { // at the line under the pointer
  const box = axesPlot.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  const right = across.findIndex(each => each > x), i = Math.max(1, right < 0 ? across.length - 1 : right);
  if (event.buttons || across.length < 2) return;
  const share = Math.min(1, Math.max(0, (x - across[i - 1]) / (across[i] - across[i - 1])));
  let nearest = null, least = 14;
  data.settings.forEach(({ id }, at) => {
    if (!isShown(id)) return;
    const off = Math.abs(level((1 - share) * data.axes[i - 1].at[at] + share * data.axes[i].at[at]) - y);
    if (off < least) [nearest, least] = [at, off];
  });
  point(nearest === null ? null : data.settings[nearest].id);
  tell(axesPlot, x, y, nearest === null ? [] : [...data.axes.map(axis => `${axis.name}: ${axis.texts[nearest]}`), seeds(data.settings[nearest])]);
}

function seeds({ n, fate }) { return `n = ${n}${fate && `; ${fate}`}`; }

if (data.axes.length) {
  $("axes").hidden = false;
  $("axes").classList.toggle("full", data.axes.length > MOST_BESIDE);
  axesPlot.addEventListener("pointermove", pointAxes);
  axesPlot.addEventListener("pointerleave", () => { point(null); tell(axesPlot, 0, 0, []); });
  drawing.push(drawAxes);
}
