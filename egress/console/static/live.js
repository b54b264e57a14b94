// The Live page: new decisions as they are made, and the filter while a person types.
"use strict";

(() => {
  const LIMIT = 200; // rows in the page
  const SYMBOLS = { good: "✓", bad: "✕", warn: "!", info: "i", none: "–" };
  const field = document.getElementById("filter");
  const fault = document.getElementById("filter-error");
  const template = document.getElementById("row");
  const controls = document.getElementById("controls");
  const state = document.getElementById("state");
  const button = document.getElementById("pause");
  let source = null; // the stream of events
  let seq = null; // the number of the last record that this page knows
  let paused = false;
  let waiting = []; // rows that are not in the table yet, the oldest first
  let more = 0; // rows that the server left out
  let missed = 0; // rows that came while the page was paused
  let drawing = false;
  let retry = 1000;
  let timer = 0;

  const results = () => document.getElementById("results");
  const number = (value) => value.toLocaleString("en").replaceAll(",", "\u202f");

  function show(text) {
    if (state.textContent !== text) state.textContent = text;
  }

  function describe() {
    if (paused) show(missed ? `Paused, ${number(missed)} new` : "Paused");
    else if (!source) show("");
    else show(more ? `Live, ${number(more)} more` : "Live");
  }

  // -- rows

  function rowOf(record) {
    const row = template.content.firstElementChild.cloneNode(true);
    const cell = (name) => row.querySelector(`.${name}`);
    row.dataset.id = record.id;
    const time = row.querySelector("time");
    time.dateTime = time.title = record.time;
    time.firstElementChild.textContent = record.fraction;
    time.prepend(record.clock);
    const chip = row.querySelector(".chip");
    chip.className = `chip ${record.kind}`;
    chip.replaceChildren(chip.firstElementChild, record.verdict);
    chip.firstElementChild.textContent = SYMBOLS[record.kind];
    const link = row.querySelector("a");
    link.href = record.link;
    link.textContent = link.title = record.url;
    cell("rule").title = record.reason;
    for (const name of ["method", "rule", "status", "duration", "client"]) cell(name).textContent = record[name];
    row.classList.add("arrived");
    return row;
  }

  function draw() {
    drawing = false;
    const body = document.getElementById("rows");
    if (!body || paused) return;
    const known = new Set(Array.from(body.children, (row) => row.dataset.id));
    const fresh = waiting.slice(-LIMIT).filter((record) => !known.has(record.id));
    waiting = [];
    if (fresh.length) {
      document.getElementById("decisions").hidden = false;
      document.getElementById("nothing")?.remove();
      body.prepend(...fresh.reverse().map(rowOf));
      while (body.children.length > LIMIT) body.lastElementChild.remove();
    }
    describe();
  }

  function add(event) {
    const data = JSON.parse(event.data);
    seq = data.seq;
    more += data.more;
    waiting.push(...data.rows);
    if (waiting.length > LIMIT) waiting.splice(0, waiting.length - LIMIT);
    if (paused) {
      missed += data.rows.length + data.more;
      describe();
    } else if (!drawing) {
      // A browser draws nothing in a hidden tab: all rows since then are one batch.
      drawing = true;
      requestAnimationFrame(draw);
    }
  }

  // -- the stream

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function open() {
    close();
    if (document.hidden || seq === null) return describe();
    const query = new URLSearchParams({ after: seq });
    if (field.value) query.set("q", field.value);
    source = new EventSource(`${location.pathname}/events?${query}`);
    source.addEventListener("open", () => { retry = 1000; describe(); });
    source.addEventListener("rows", add);
    source.addEventListener("fault", (event) => show(`The audit store cannot be read: ${JSON.parse(event.data).text}`));
    source.addEventListener("ended", () => location.reload());
    source.addEventListener("error", () => {
      close();
      show("The proxy does not respond. Trying again.");
      timer = setTimeout(refresh, retry);
      retry = Math.min(retry * 2, 15000);
    });
  }

  function begin() {
    const found = results().dataset.seq;
    seq = found === undefined ? null : Number(found);
    controls.hidden = seq === null;
    open();
  }

  // -- the filter

  let wanted = 0;

  async function refresh() {
    const mine = ++wanted;
    close();
    const query = new URLSearchParams(field.value ? { q: field.value } : {});
    const path = `${location.pathname}${field.value ? "?" : ""}${query}`;
    let response;
    try {
      response = await fetch(path, { headers: { Accept: "text/html" }, cache: "no-store" });
    } catch {
      if (mine !== wanted) return;
      show("The proxy does not respond. Trying again.");
      timer = setTimeout(refresh, retry);
      retry = Math.min(retry * 2, 15000);
      return;
    }
    if (response.redirected) return location.reload(); // the session has ended
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (mine !== wanted || !response.ok) return;
    fault.replaceChildren(...page.getElementById("filter-error").childNodes);
    const fresh = page.getElementById("results");
    const invalid = "invalid" in fresh.dataset;
    field.setAttribute("aria-invalid", invalid);
    // While a filter is incomplete, the rows of the last complete one remain.
    if (invalid) return describe();
    results().replaceWith(fresh);
    history.replaceState(null, "", path);
    waiting = [];
    more = missed = 0;
    begin();
  }

  if (!controls) return;
  let typing = 0;
  field.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(refresh, 200);
  });
  field.form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    refresh();
  });
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", paused);
    button.textContent = paused ? "Resume" : "Pause";
    missed = 0;
    if (!paused) draw();
    describe();
  });
  document.addEventListener("visibilitychange", () => {
    // A hidden tab needs no stream; it continues after the last record that it has.
    if (document.hidden) close();
    else if (results().dataset.seq !== undefined) open();
  });
  begin();
})();
