"use strict";
// What is shown, by what the reader did; who draws asks here, and is told in `changed` when it is another.
const $ = id => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const byId = new Map(data.settings.map(setting => [setting.id, setting]));
const state = {
  off: new Set(), // settings taken out by hand
  brushes: new Map(), // by axis, the part [low, high] that is kept
  frame: null, // of the curves, in their own unit: {left, right, low, high}
  words: [], // that a setting's row in the table has to have
  hot: null, // the setting pointed at
  curve: 0, unit: data.unit, bands: true, single: false, log: data.curves.length > 0 && data.curves[0].log, late: false,
};
let kept = new Set(data.settings.map(setting => setting.id)); // those shown
const slots = new Map(); // the colour of each: it keeps it for as long as it is shown
const drawing = []; // functions that draw
let waiting = false;
let dragging = false; // while a brush or frame is drawn

function changed() { // at most once before the screen is painted
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function draw() {
  kept = new Set(data.settings.filter((setting, at) => isKept(setting, at)).map(setting => setting.id));
  for (const id of slots.keys()) if (!isShown(id)) slots.delete(id);
  const free = data.colours.light.map((_, at) => at).filter(at => ![...slots.values()].includes(at));
  for (const { id } of data.settings) if (free.length && isShown(id) && !slots.has(id)) slots.set(id, free.shift());
  for (const each of drawing) each();
}

function isShown(id) { return kept.has(id) && !state.off.has(id); }

function isKept(setting, at) {
  for (const [axis, [low, high]] of state.brushes) {
    const place = data.axes[axis].at[at];
    if (place < low || place > high) return false;
  }
  const told = rowTexts.get(setting.id) ?? setting.label.toLowerCase();
  return state.words.every(word => told.includes(word)) && (!state.frame || passes(setting, state.frame));
}

function point(id) { // at a setting
  if (state.hot === id) return;
  state.hot = id;
  changed();
}

function dark() { return getComputedStyle(document.documentElement).colorScheme === "dark"; }
function ink(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); }

function colour(id) { // "" beyond the eighth
  return slots.has(id) ? data.colours[dark() ? "dark" : "light"][slots.get(id)] : "";
}
function isDashed(id) { return slots.get(id) === data.colours.light.length - 1; } // grey, which a projector shows as black

function made(parent, name, attributes = {}, text = "") { // an element; what a run's folder says is text, never HTML
  const element = document.createElementNS(parent.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  parent.append(element);
  return element;
}

function canvasOf(plot) { // a canvas as fine as the screen, or the printer, and its pen, whose unit is a CSS pixel
  const canvas = plot.querySelector("canvas"), scale = printing ? 3 : Math.max(1, devicePixelRatio);
  const width = plot.clientWidth, height = plot.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.lineJoin = "round";
  return { pen, width, height };
}

function fitted(pen, text, width) { // cut off where it does not fit
  if (pen.measureText(text).width <= width) return text;
  let n = text.length;
  while (n > 1 && pen.measureText(`${text.slice(0, n)}…`).width > width) n--;
  return `${text.slice(0, n)}…`;
}

function tell(plot, x, y, lines) { // beside the pointer
  const tip = plot.querySelector(".tip");
  tip.hidden = !lines.length;
  if (!lines.length) return;
  tip.replaceChildren();
  for (const line of lines) made(tip, "div", {}, line);
  const left = x + 14 + tip.offsetWidth > plot.clientWidth ? x - 14 - tip.offsetWidth : x + 14;
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${Math.max(0, Math.min(y - 10, plot.clientHeight - tip.offsetHeight))}px`;
}
let printing = false;
