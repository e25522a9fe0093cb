// Tables: sorted by a click on a column's head; the rows of settings that are not kept are away.
const mains = [...document.querySelectorAll("table.settings")]; // of several datasets, one for each
const rowTexts = new Map(); // of each setting, what its row says
const rowsOf = new Map(); // of each setting, its rows in all tables
for (const row of document.querySelectorAll("tr[data-setting]")) {
  const id = Number(row.dataset.setting);
  rowsOf.set(id, [...(rowsOf.get(id) ?? []), row]);
  if (row.closest("table.settings")) rowTexts.set(id, `${byId.get(id)?.label ?? ""} ${row.textContent}`.toLowerCase());
}

// A second click sorts the other way round; rows without a value stay below.
document.querySelectorAll("th").forEach(head => {
  const text = head.textContent;
  head.textContent = "";
  const button = made(head, "button", { type: "button" }, text);
  button.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending", at = head.cellIndex;
    const body = head.closest("table").tBodies[0];
    const value = row => { const cell = row.cells[at]; return cell.dataset.key ?? cell.textContent; };
    const compare = (a, b) => {
      const [x, y] = [a[0], b[0]];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y, "en", { numeric: true }) : x - y;
      return down ? -order : order;
    };
    head.closest("tr").querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...[...body.rows].map(row => [value(row), row]).sort(compare).map(pair => pair[1]));
  });
});

function toggle(id) {
  if (!state.off.delete(id)) state.off.add(id);
  changed();
}

const boxes = new Map(); // of each setting, whether it is drawn
const alls = []; // of each table, the box of all its settings, and these
if (data.settings.length > 1 && (data.axes.length || data.curves.length)) {
  for (const [at, table] of mains.entries()) {
    const head = document.createElement("th"), all = made(head, "input", { type: "checkbox", "aria-label": "draw all", id: `all${at || ""}` });
    const ids = [...table.tBodies[0].rows].map(row => Number(row.dataset.setting));
    head.className = "check";
    table.tHead.rows[0].prepend(head);
    all.checked = true;
    all.addEventListener("change", () => {
      for (const id of ids) if (kept.has(id)) if (all.checked) state.off.delete(id); else state.off.add(id);
      changed();
    });
    alls.push([all, ids]);
    for (const row of table.tBodies[0].rows) {
      const id = Number(row.dataset.setting), cell = row.insertCell(0);
      cell.className = "check";
      const box = made(cell, "input", { type: "checkbox", tabindex: -1, "aria-label": `draw ${byId.get(id).label}` });
      box.checked = true;
      box.addEventListener("change", () => toggle(id));
      boxes.set(id, box);
    }
  }
}

const past = new Map(); // of each setting, how its rows looked
function drawRows() {
  for (const { id } of data.settings) {
    const out = !kept.has(id), off = state.off.has(id), hot = state.hot === id, tint = colour(id);
    const look = `${out} ${off} ${hot} ${tint}`;
    if (past.get(id) === look) continue;
    past.set(id, look);
    for (const row of rowsOf.get(id) ?? []) row.className = `${out ? "out " : ""}${off ? "off " : ""}${hot ? "hot" : ""}`;
    const box = boxes.get(id);
    if (box) { box.checked = !off; box.style.accentColor = tint || ink("quiet"); }
  }
  const shown = [...kept].filter(isShown).length, n = data.settings.length;
  for (const [all, ids] of alls) {
    const own = ids.filter(id => kept.has(id)), drawn = own.filter(isShown).length;
    all.checked = drawn > 0;
    all.indeterminate = drawn > 0 && drawn < own.length;
  }
  $("count").textContent = shown === n ? `${n.toLocaleString("en")} setting${n === 1 ? "" : "s"}`
    : `${shown.toLocaleString("en")} of ${n.toLocaleString("en")} settings kept`;
  $("reset").disabled = shown === n;
}

function rowOf(event) { return event.target.closest("tr[data-setting]"); }
for (const each of document.querySelectorAll("table")) {
  each.addEventListener("pointerover", event => point(rowOf(event) ? Number(rowOf(event).dataset.setting) : null));
  each.addEventListener("pointerleave", () => point(null));
  const first = each.tBodies[0].rows[0];
  if (!first) continue;
  for (const row of each.tBodies[0].rows) row.tabIndex = row === first ? 0 : -1;
  each.addEventListener("focusin", event => { // one row at a time can be reached by Tab
    const row = rowOf(event);
    if (!row) return;
    each.querySelectorAll("tbody tr[tabindex='0']").forEach(other => { other.tabIndex = -1; });
    row.tabIndex = 0;
    point(Number(row.dataset.setting));
  });
  each.addEventListener("focusout", () => point(null));
  each.addEventListener("keydown", event => {
    const row = event.target.closest("tbody tr");
    if (!row || event.target !== row) return;
    const rows = [...each.tBodies[0].rows].filter(other => !other.classList.contains("out")), at = rows.indexOf(row);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to !== undefined) { event.preventDefault(); rows[to]?.focus(); }
    if (event.key === " " || event.key === "Enter") { event.preventDefault(); if (row.dataset.setting) toggle(Number(row.dataset.setting)); }
  });
}

const MANY = 100, REST = 80; // rows whose layout takes longer than a frame: they wait until a brush rests, milliseconds
let rest;
drawing.push(() => {
  clearTimeout(rest);
  if (dragging && data.settings.length > MANY) rest = setTimeout(drawRows, REST);
  else drawRows();
});
