"use strict";

const element = (id) => document.getElementById(id);
const form = element("form"), query = element("query"), results = element("results");
const summary = element("summary"), problem = element("problem");
let latest = 0;
let wordsOnly = [];

/** Make an element; text never becomes markup. */
function make(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

async function ask(address) {
  const answer = await fetch(address, { headers: { Accept: "application/json" } });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ? body.error.message : answer.statusText);
  return body;
}

function showProblem(error) {
  problem.textContent = error.message;
  problem.hidden = false;
  summary.textContent = "";
}

/** Text with the marked places, which come as pairs of code points. */
function passage(hit) {
  const shown = make("p", "", { class: "passage short", dir: "auto" });
  const points = Array.from(hit.text);
  let at = 0;
  for (const [start, end] of hit.marks) {
    shown.append(points.slice(at, start).join(""), make("mark", points.slice(start, end).join("")));
    at = end;
  }
  shown.append(points.slice(at).join(""));
  return shown;
}

function placeOf(hit) {
  const parts = [hit.collection];
  if (hit.page) parts.push(`page ${hit.page}`);
  else if (hit.line_start) parts.push(hit.line_end > hit.line_start ? `lines ${hit.line_start} to ${hit.line_end}` : `line ${hit.line_start}`);
  if (hit.heading) parts.push(hit.heading);
  if (hit.cosine !== null) parts.push(`similarity ${hit.cosine.toFixed(2)}`);
  return parts.join(" · ");
}

function fileLink(hit, text) {
  if (!hit.file) return make("span", text);
  return make("a", text, { href: hit.page ? `${hit.file}#page=${hit.page}` : hit.file, target: "_blank", rel: "noopener" });
}

function result(hit) {
  const item = make("li");
  const title = make("h3", "", { id: `hit-${hit.rank}` });
  title.append(fileLink(hit, hit.name));
  const folder = make("p", "", { class: "place" });
  folder.append(make("bdi", hit.folder), make("br"), make("bdi", placeOf(hit)));
  if (!hit.available) folder.append(make("br"), make("span", "The file cannot be reached now.", { class: "away" }));
  const text = passage(hit);
  item.append(title, folder, text);
  if (!hit.file) title.setAttribute("tabindex", "-1");
  const more = make("button", "Show the whole passage", { type: "button", class: "more", "aria-expanded": "false", "aria-describedby": title.id });
  more.addEventListener("click", () => {
    const short = text.classList.toggle("short");
    more.textContent = short ? "Show the whole passage" : "Show less";
    more.setAttribute("aria-expanded", String(!short));
  });
  item.append(more);
  if (hit.also_in.length) {
    item.append(make("p", `Also in: ${hit.also_in.map((place) => place.path).join(", ")}`, { class: "more-places", dir: "auto" }));
  }
  return item;
}

/** Whole passages need no button. */
function hideNeedlessButtons() {
  for (const text of results.querySelectorAll(".passage.short")) {
    const fits = text.scrollHeight <= text.clientHeight + 1;
    const button = text.parentElement.querySelector(".more");
    if (button) button.hidden = fits;
  }
}

/** Where a model is gone, passages are found by words only, and that is said. */
function tellWordsOnly(asked) {
  const chosen = asked.getAll("collection");
  const affected = wordsOnly.filter((name) => !chosen.length || chosen.includes(name));
  if (asked.get("mode") !== "hybrid" || !affected.length) return;
  summary.textContent += `. By words only in ${affected.join(", ")}: the model is not on this machine.`;
}

async function search() {
  const words = query.value.trim();
  if (!words) return;
  const number = ++latest;
  const asked = new URLSearchParams(new FormData(form));
  asked.set("q", words);
  history.replaceState(null, "", `?${asked}`);
  document.title = `${words} – Search your files`;
  summary.textContent = "Searching …";
  problem.hidden = true;
  results.setAttribute("aria-busy", "true");
  try {
    const found = await ask(`api/search?${asked}`);
    if (number !== latest) return;
    results.replaceChildren(...found.hits.map(result));
    const count = found.hits.length;
    summary.textContent = count ? `${count} ${count === 1 ? "passage" : "passages"} in ${found.milliseconds} ms` : "Nothing found. Try other words, or another collection.";
    tellWordsOnly(asked);
    hideNeedlessButtons();
  } catch (error) {
    if (number !== latest) return;
    results.replaceChildren();
    showProblem(error);
  } finally {
    if (number === latest) results.setAttribute("aria-busy", "false");
  }
}

function cell(row, text, isNumber = false) {
  row.append(make("td", text, isNumber ? { class: "number" } : {}));
}

function showStatus(status) {
  const box = element("status-content");
  const table = make("table");
  const head = make("tr");
  for (const [name, kind] of [["Collection", ""], ["Files", "number"], ["Passages", "number"], ["To do", "number"], ["Not read", "number"], ["Model", ""]]) {
    head.append(make("th", name, { scope: "col", class: kind }));
  }
  table.append(make("caption", "What the index holds", { class: "hidden" }), head);
  for (const each of status.collections) {
    const row = make("tr");
    row.append(make("th", each.name, { scope: "row" }));
    for (const number of [each.files, each.chunks, each.pending, each.not_read]) cell(row, number.toLocaleString(), true);
    cell(row, each.model_available ? each.model : `${each.model} (not on this machine: search by words)`);
    table.append(row);
  }
  const wide = make("div", "", { class: "wide", tabindex: "0", role: "region", "aria-label": "Collections" });
  wide.append(table);
  box.replaceChildren(wide);
  for (const line of status.notes) box.append(make("p", line, { class: "away" }));
  box.append(make("p", `${status.path}, ${(status.size_bytes / 1e6).toLocaleString(undefined, { maximumFractionDigits: 1 })} MB`, { class: "hint" }));
}

function showCollections(names, chosen) {
  const box = element("collections");
  for (const name of names) {
    const label = make("label");
    const input = make("input", "", { type: "checkbox", name: "collection", value: name });
    input.checked = chosen.includes(name);
    label.append(input, ` ${name}`);
    box.append(label);
  }
  box.hidden = names.length < 2;
}

/** From result to result with the arrow keys; `/` goes to the search box. */
function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const typing = document.activeElement === query;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    query.focus();
    query.select();
    return;
  }
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  if (document.activeElement && document.activeElement.type === "radio") return;
  const links = Array.from(results.querySelectorAll("h3 a, h3[tabindex]"));
  const items = Array.from(results.children);
  const here = items.findIndex((item) => item.contains(document.activeElement));
  if (!links.length || (here < 0 && !typing)) return;
  event.preventDefault();
  const next = event.key === "ArrowDown" ? here + 1 : here - 1;
  if (next < 0) query.focus();
  else if (next < links.length) links[next].focus();
}

async function begin() {
  form.addEventListener("submit", (event) => { event.preventDefault(); search(); });
  form.addEventListener("change", (event) => { if (event.target !== query) search(); });
  document.addEventListener("keydown", onKey);
  window.addEventListener("resize", hideNeedlessButtons);
  const asked = new URLSearchParams(location.search);
  query.value = asked.get("q") || "";
  const mode = form.querySelector(`input[name=mode][value="${CSS.escape(asked.get("mode") || "hybrid")}"]`);
  if (mode) mode.checked = true;
  try {
    const status = await ask("api/status");
    showCollections(status.collections.map((each) => each.name), asked.getAll("collection"));
    showStatus(status);
    wordsOnly = status.collections.filter((each) => !each.model_available).map((each) => each.name);
    if (!status.collections.length) summary.textContent = "The index is empty. Fill it in a terminal: embed index add FOLDER";
  } catch (error) {
    showProblem(error);
  }
  if (query.value) search();
}

begin();
