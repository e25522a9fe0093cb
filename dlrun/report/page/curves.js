// Curves: of settings their means and bands, which the report has computed, and of single runs what they were.
const curvesPlot = document.querySelector("#curves .plot");
const MARGIN = { left: 64, right: 14, top: 12, bottom: 40 };
const DOTS = 40; // values of a line that are shown as dots, too
const unpacked = []; // by curve: {settings: Map of id -> {mean, low, high}, runs: [values]}
let view = null; // of what is drawn: how values become places
let cursor = null; // where the keys have led: {id, at}

function decoded(text) { // three of each number's four bytes
  const bytes = atob(text), out = new Uint8Array(bytes.length / 3 * 4);
  for (let i = 0, j = 0; i < bytes.length; j++) if (j % 4) out[j] = bytes.charCodeAt(i++);
  return new Float32Array(out.buffer);
}

function drawnPlaces(length) { // of evaluations: every k-th, and the last
  const places = [];
  for (let at = 0; at < length; at += data.stride) places.push(at);
  if (length && places.at(-1) !== length - 1) places.push(length - 1);
  return places;
}

const times = new Map();
function timesOf({ grid, length }) {
  const key = `${grid} ${length} ${state.unit}`;
  if (!times.has(key)) times.set(key, drawnPlaces(length).map(at => data.grids[grid][state.unit][at]));
  return times.get(key);
}

function curveOf() { // what is drawn of the metric chosen
  if (unpacked[state.curve]) return unpacked[state.curve];
  const of = { settings: new Map(), runs: [] };
  let from = decoded(data.curves[state.curve].settings), at = 0;
  const next = item => from.subarray(at, at += drawnPlaces(item.length).length);
  for (const setting of data.settings) {
    if (setting.grid === null) continue;
    const mean = next(setting);
    of.settings.set(setting.id, setting.banded ? { mean, low: next(setting), high: next(setting) } : { mean });
  }
  [from, at] = [decoded(data.curves[state.curve].runs), 0];
  for (const run of data.runs) of.runs.push(run.own ? next(run) : of.settings.get(run.setting).mean);
  return unpacked[state.curve] = of;
}

function extent() { // of what is shown: of means and bands, of single runs only where there is nothing else
  const { settings, runs } = curveOf(), shown = data.settings.filter(({ id }) => isShown(id));
  const some = shown.some(({ id }) => settings.has(id)) ? shown : data.settings;
  let right = 0, left = Infinity, low = Infinity, high = -Infinity;
  for (const setting of some) if (settings.has(setting.id)) {
    const at = timesOf(setting);
    left = Math.min(left, at[0]);
    right = Math.max(right, at.at(-1));
  }
  const half = state.late ? right / 2 : left;
  const take = (at, values) => values.forEach((value, i) => {
    if (at[i] < half || !Number.isFinite(value) || state.log && value <= 0) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
  });
  for (const setting of some) {
    const own = settings.get(setting.id), coloured = slots.has(setting.id);
    if (own) take(timesOf(setting), own.mean);
    if (own?.low && state.bands && coloured) { take(timesOf(setting), own.low); take(timesOf(setting), own.high); }
  }
  if (low > high) data.runs.forEach((run, at) => {
    if (isShown(run.setting)) { right = Math.max(right, timesOf(run).at(-1)); left = Math.min(left, timesOf(run)[0]); take(timesOf(run), runs[at]); }
  });
  if (low > high) [low, high] = state.log ? [0.1, 1] : [0, 1];
  const floor = data.curves[state.curve].floor;
  if (floor !== null) low = Math.max(low, floor);
  return { left: Number.isFinite(half) ? half : 0, right, low, high };
}

function viewOf(width, height) {
  let { left, right, low, high } = extent();
  const to = state.log ? Math.log10 : value => value;
  [low, high] = [to(low), to(high)];
  const more = (high - low || Math.abs(high) || 1) * 0.04;
  [low, high] = [low - more, high + more];
  if (left === right) [left, right] = [left - 1, right + 1];
  const w = width - MARGIN.left - MARGIN.right, h = height - MARGIN.top - MARGIN.bottom;
  return {
    left, right, low, high, width, height,
    x: time => MARGIN.left + (time - left) / (right - left) * w,
    y: value => state.log && value <= 0 ? NaN : MARGIN.top + (high - to(value)) / (high - low) * h,
    time: x => left + (x - MARGIN.left) / w * (right - left),
    value: y => { const at = high - (y - MARGIN.top) / h * (high - low); return state.log ? 10 ** at : at; },
  };
}

function ticks(low, high, count) { // round numbers on a linear axis
  const raw = (high - low) / count, ten = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find(each => each * ten >= raw) * ten, found = [];
  for (let at = Math.ceil(low / step); at * step <= high; at++) found.push(at * step);
  return found;
}

function logTicks(low, high) { // exponents in, values out
  const found = [], every = Math.ceil((high - low) / 6);
  for (let power = Math.floor(low); power <= high; power += every)
    for (const digit of high - low < 2.5 ? [1, 2, 5] : [1]) found.push(digit * 10 ** power);
  return found.filter(value => Math.log10(value) >= low && Math.log10(value) <= high);
}

function brief(value, digits = 4) { // as the tables have it
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : String(value);
  const size = Math.abs(value);
  return size && (size < 1e-4 || size >= 1e6) ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)));
}

function tickText(value) {
  const size = Math.abs(value);
  return size && (size < 1e-3 || size >= 1e7) ? String(value.toExponential(0)) : Number(value.toPrecision(6)).toLocaleString("en");
}

function trace(pen, at, values) { // with gaps where a value is not finite
  let begun = false;
  for (let i = 0; i < at.length; i++) {
    const y = view.y(values[i]);
    if (Number.isFinite(y)) pen[begun ? "lineTo" : "moveTo"](view.x(at[i]), y);
    begun = Number.isFinite(y);
  }
}

function dots(pen, at, values, size) {
  for (let i = 0; i < at.length; i++) {
    const y = view.y(values[i]);
    const lone = !Number.isFinite(values[i - 1]) && !Number.isFinite(values[i + 1]);
    if (Number.isFinite(y) && (lone || at.length <= DOTS)) { pen.beginPath(); pen.arc(view.x(at[i]), y, size, 0, 7); pen.fill(); }
  }
}

function ghosts(pen, { settings }) { // all that are not shown, as one path
  pen.strokeStyle = ink("ghost");
  pen.lineWidth = 1;
  pen.globalAlpha = 0.6;
  pen.beginPath();
  const some = data.settings.filter(({ id }) => !isShown(id) && settings.has(id));
  for (const setting of some.slice(0, 100)) trace(pen, timesOf(setting), settings.get(setting.id).mean);
  pen.stroke();
  pen.globalAlpha = 1;
}

function drawCurves() {
  if (!data.curves.length) return;
  const { pen, width, height } = canvasOf(curvesPlot), of = curveOf();
  view = viewOf(width, height);
  drawFrame(pen);
  pen.save();
  pen.beginPath();
  pen.rect(MARGIN.left, MARGIN.top - 4, width - MARGIN.left - MARGIN.right + 8, height - MARGIN.top - MARGIN.bottom + 8);
  pen.clip();
  ghosts(pen, of);
  const shown = data.settings.filter(({ id }) => isShown(id));
  const plain = shown.filter(({ id }) => !slots.has(id) && id !== state.hot && of.settings.has(id));
  pen.strokeStyle = ink("quiet");
  pen.globalAlpha = plain.length > 100 ? 0.3 : 0.45;
  pen.lineWidth = 1;
  pen.beginPath();
  for (const setting of plain) trace(pen, timesOf(setting), of.settings.get(setting.id).mean);
  pen.stroke();
  pen.globalAlpha = 1;
  if (state.single) drawRuns(pen, of);
  const coloured = shown.filter(({ id }) => slots.has(id) || id === state.hot).sort((a, b) => (a.id === state.hot) - (b.id === state.hot) || b.id - a.id);
  for (const setting of coloured) drawSetting(pen, setting, of.settings.get(setting.id), coloured.length);
  if (cursor && isShown(cursor.id)) drawCursor(pen, of);
  pen.restore();
  if (state.frame) {
    const { left, right, low, high } = state.frame;
    pen.fillStyle = ink("brush");
    pen.strokeStyle = ink("accent");
    const box = [view.x(left), view.y(high), view.x(right) - view.x(left), view.y(low) - view.y(high)];
    pen.fillRect(...box);
    pen.strokeRect(...box);
  }
}

function drawSetting(pen, setting, own, count) {
  if (!own) return;
  const { id } = setting, hot = id === state.hot, at = timesOf(setting);
  pen.fillStyle = pen.strokeStyle = colour(id) || ink("ink");
  if (own.low && state.bands) {
    pen.globalAlpha = hot ? 0.3 : count <= 3 ? 0.18 : 0.1;
    let part = [];
    for (let i = 0; i <= at.length; i++) { // a band ends at a gap
      if (i < at.length && Number.isFinite(view.y(own.low[i])) && Number.isFinite(view.y(own.high[i]))) { part.push(i); continue; }
      pen.beginPath();
      part.forEach((j, k) => pen[k ? "lineTo" : "moveTo"](view.x(at[j]), view.y(own.high[j])));
      part.reverse().forEach(j => pen.lineTo(view.x(at[j]), view.y(own.low[j])));
      pen.fill();
      part = [];
    }
  }
  pen.globalAlpha = state.hot !== null && !hot ? 0.55 : 1;
  pen.lineWidth = hot ? 4.5 : 2.5;
  pen.setLineDash(isDashed(id) ? [7, 4] : []);
  pen.beginPath();
  trace(pen, at, own.mean);
  pen.stroke();
  pen.setLineDash([]);
  dots(pen, at, own.mean, hot ? 4 : 3);
  pen.globalAlpha = 1;
}

function drawRuns(pen, of) {
  data.runs.forEach((run, i) => {
    if (!isShown(run.setting)) return;
    const at = timesOf(run), values = of.runs[i], whole = finished(run), hot = run.setting === state.hot;
    pen.strokeStyle = pen.fillStyle = colour(run.setting) || ink("quiet");
    pen.globalAlpha = hot ? 1 : data.runs.length > 100 ? 0.35 : 0.65;
    pen.lineWidth = 1;
    pen.setLineDash(whole ? [] : [4, 3]);
    pen.beginPath();
    trace(pen, at, values);
    pen.stroke();
    pen.setLineDash([]);
    if (!whole) {
      const last = lastFinite(values);
      if (last < 0) return;
      const x = view.x(at[last]), y = Math.min(view.height - MARGIN.bottom, Math.max(MARGIN.top, view.y(values[last])));
      pen.globalAlpha = 1;
      pen.lineWidth = 2;
      pen.beginPath();
      for (const [a, b] of [[-4, -4], [-4, 4]]) { pen.moveTo(x + a, y + b); pen.lineTo(x - a, y - b); }
      pen.stroke();
    }
    pen.globalAlpha = 1;
  });
}

function finished({ status }) { return status === "finished" || status === "stopped_early"; }
function lastFinite(values) {
  for (let i = values.length - 1; i >= 0; i--) if (Number.isFinite(view.y(values[i]))) return i;
  return -1;
}

function drawFrame(pen) {
  const { width, height } = view, bottom = height - MARGIN.bottom, right = width - MARGIN.right;
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = ink("ink");
  pen.strokeStyle = ink("line");
  pen.lineWidth = 1;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  const values = state.log ? logTicks(view.low, view.high) : ticks(view.low, view.high, 6);
  for (const value of values) {
    const y = Math.round(view.y(value)) + 0.5;
    pen.beginPath();
    pen.moveTo(MARGIN.left, y);
    pen.lineTo(right, y);
    pen.stroke();
    pen.fillText(tickText(value), MARGIN.left - 8, y);
  }
  pen.textAlign = "center";
  pen.textBaseline = "top";
  const count = Math.max(2, Math.min(8, width / 90));
  for (const time of ticks(view.left, view.right, count).filter(time => Number.isInteger(time) || state.unit === "epoch" && view.right - view.left < 2)) {
    const x = Math.round(view.x(time)) + 0.5;
    pen.beginPath();
    pen.moveTo(x, bottom);
    pen.lineTo(x, bottom + 4);
    pen.stroke();
    pen.fillText(tickText(time), x, bottom + 7);
  }
  pen.fillText(state.unit, (MARGIN.left + right) / 2, bottom + 23);
  pen.save();
  pen.translate(12, (MARGIN.top + bottom) / 2);
  pen.rotate(-Math.PI / 2);
  const { name, floor } = data.curves[state.curve];
  pen.fillText(fitted(pen, `${name}${state.log ? " (log)" : ""}${floor !== null ? ` (cut at ${floor})` : ""}`, bottom), 0, -6);
  pen.restore();
}

function drawCursor(pen, of) {
  const setting = byId.get(cursor.id), own = of.settings.get(cursor.id);
  if (!own) return;
  const x = view.x(timesOf(setting)[cursor.at]), y = view.y(own.mean[cursor.at]);
  pen.strokeStyle = ink("ink");
  pen.lineWidth = 2;
  pen.beginPath();
  pen.arc(x, y, 7, 0, 7);
  pen.stroke();
}

function passes(setting, { left, right, low, high }) { // whether a setting's curve goes through the frame
  const own = curveOf().settings.get(setting.id);
  if (!own || !view) return false;
  const at = timesOf(setting), inFrame = value => low <= value && value <= high;
  for (let i = 0; i < at.length; i++) {
    if (left <= at[i] && at[i] <= right && inFrame(own.mean[i])) return true;
    if (i + 1 === at.length || at[i + 1] < left || at[i] > right) continue;
    const [a, b] = [left, right].map(end => { // between two values, where the line meets the frame's sides
      const share = Math.min(1, Math.max(0, (end - at[i]) / (at[i + 1] - at[i])));
      return view.value((1 - share) * view.y(own.mean[i]) + share * view.y(own.mean[i + 1]));
    });
    if (Math.min(a, b) <= high && Math.max(a, b) >= low) return true;
  }
  return false;
}

function describe(id, at, run = null) { // the values of a line at one of its times
  const setting = byId.get(id), of = curveOf(), item = run === null ? setting : data.runs[run];
  const own = of.settings.get(id), values = run === null ? own.mean : of.runs[run];
  const head = run === null ? setting.label : `${setting.label}, run ${item.name}, seed ${item.seed}${finished(item) ? "" : `, ${item.status.replace("_", " ")}`}`;
  const { name } = data.curves[state.curve];
  const lines = [head, `${state.unit} ${brief(timesOf(item)[at])}: ${name} ${brief(values[at])}`];
  if (run === null && own.low) lines.push(`${data.spread}: ${brief(own.low[at])} – ${brief(own.high[at])}`);
  if (run === null) lines.push(seeds(setting));
  return lines;
}

function nearestAt(at, time) {
  let best = 0;
  for (let i = 1; i < at.length; i++) if (Math.abs(at[i] - time) < Math.abs(at[best] - time)) best = i;
  return best;
}

let dragged = null; // where a frame begins
function pointCurves(event) {
  const box = curvesPlot.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  if (dragged) {
    if (Math.hypot(x - dragged.x, y - dragged.y) < 4) return;
    const [left, right] = [dragged.x, x].sort((a, b) => a - b).map(view.time);
    const [low, high] = [dragged.y, y].sort((a, b) => b - a).map(view.value);
    state.frame = { left, right, low, high };
    return changed();
  }
  const { settings, runs } = curveOf(), time = view.time(x);
  let best = null, least = 40;
  const look = (id, item, values, run) => {
    const i = nearestAt(timesOf(item), time), place = view.y(values[i]);
    const off = Math.abs(place - y) + Math.max(0, Math.abs(view.x(timesOf(item)[i]) - x) - 20) + (slots.has(id) ? 0 : 8);
    if (off < least) [best, least] = [{ id, at: i, run }, off];
  };
  for (const setting of data.settings) if (isShown(setting.id) && settings.has(setting.id)) look(setting.id, setting, settings.get(setting.id).mean, null);
  if (state.single) data.runs.forEach((run, i) => { if (isShown(run.setting)) look(run.setting, run, runs[i], i); });
  point(best?.id ?? null);
  tell(curvesPlot, x, y, best ? describe(best.id, best.at, best.run) : []);
}

function walk(event) { // by keys: along a curve, or to the next
  if (event.key === "Escape") { state.frame = cursor = null; point(null); tell(curvesPlot, 0, 0, []); return changed(); }
  const along = { ArrowRight: 1, ArrowLeft: -1 }[event.key] ?? 0, next = { ArrowDown: 1, ArrowUp: -1 }[event.key] ?? 0;
  if (!along && !next) return;
  event.preventDefault();
  const { settings } = curveOf(), ids = data.settings.map(({ id }) => id).filter(id => isShown(id) && settings.has(id));
  if (!ids.length) return;
  const old = cursor && ids.includes(cursor.id) ? cursor : { id: ids[0], at: settings.get(ids[0]).mean.length - 1 };
  const place = cursor ? (ids.indexOf(old.id) + next + ids.length) % ids.length : 0, id = ids[place];
  const end = settings.get(id).mean.length - 1;
  const at = next ? nearestAt(timesOf(byId.get(id)), timesOf(byId.get(old.id))[old.at]) : old.at + (cursor ? along : 0);
  cursor = { id, at: Math.min(end, Math.max(0, at)) };
  state.hot = id;
  changed();
  tell(curvesPlot, view.x(timesOf(byId.get(id))[cursor.at]), view.y(settings.get(id).mean[cursor.at]), describe(id, cursor.at));
}

function drawLegend() {
  const list = $("legend"), { settings } = curveOf();
  list.replaceChildren();
  for (const [id] of [...slots].sort((a, b) => a[0] - b[0])) {
    const item = made(list, "li", { class: id === state.hot ? "hot" : "", "data-setting": id });
    const line = made(item, "i", isDashed(id) ? { class: "dashed" } : {});
    line.style.borderColor = colour(id);
    made(item, "span", {}, `${byId.get(id).label} (${seeds(byId.get(id))}${settings.has(id) ? "" : "; no curve"})`);
  }
  const more = [...kept].filter(isShown).length - slots.size;
  if (more > 0) made(list, "li", {}, `and ${more.toLocaleString("en")} more in grey, without bands`);
}

if (data.curves.length) {
  $("curves").hidden = false;
  $("curves").classList.toggle("full", data.axes.length > MOST_BESIDE || !data.axes.length);
  const canvas = curvesPlot.querySelector("canvas");
  data.curves.forEach(({ name }, at) => made($("metric"), "option", { value: at }, name));
  $("unit").value = state.unit;
  $("log").checked = state.log;
  $("metric").addEventListener("change", () => {
    state.curve = Number($("metric").value);
    state.frame = cursor = null;
    $("log").checked = state.log = data.curves[state.curve].log;
    changed();
  });
  $("unit").addEventListener("change", () => { state.unit = $("unit").value; state.frame = null; changed(); });
  for (const id of ["bands", "single", "log", "late"]) $(id).addEventListener("change", () => { state[id] = $(id).checked; changed(); });
  canvas.addEventListener("pointerdown", event => {
    const box = curvesPlot.getBoundingClientRect();
    dragged = { x: event.clientX - box.left, y: event.clientY - box.top };
    canvas.setPointerCapture(event.pointerId);
    dragging = true;
    state.frame = null;
    tell(curvesPlot, 0, 0, []);
    changed();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { dragged = null; dragging = false; changed(); });
  canvas.addEventListener("pointermove", pointCurves);
  canvas.addEventListener("pointerleave", () => { point(null); tell(curvesPlot, 0, 0, []); });
  canvas.addEventListener("blur", () => { cursor = null; point(null); tell(curvesPlot, 0, 0, []); });
  canvas.addEventListener("keydown", walk);
  drawing.push(drawCurves, drawLegend);
}
