// The Approvals page follows the proxy: it loads its content again when an approval or a grant comes or goes.
"use strict";

{
  const place = () => document.getElementById("approvals");
  const isTyping = () => {
    const active = document.activeElement;
    return active !== null && place().contains(active) && active.matches("input, select") && active.value !== "";
  };
  let waiting = false;

  const load = async () => {
    let response, text;
    try {
      response = await fetch(location.pathname, { credentials: "same-origin" });
      text = await response.text();
    } catch {
      // The person leaves the page, or the proxy restarts: the stream then connects again.
      return;
    }
    if (!response.ok || response.redirected) {
      location.reload();
      return;
    }
    const page = new DOMParser().parseFromString(text, "text/html");
    document.title = page.title;
    const count = document.querySelector("nav a[aria-current]");
    const newCount = page.querySelector("nav a[aria-current]");
    if (count !== null && newCount !== null) {
      count.replaceChildren(...newCount.childNodes);
    }
    if (isTyping()) {
      // The form in use stays: the page is complete after the next change, or after the form.
      document.getElementById("approvals-status").textContent =
        page.getElementById("approvals-status").textContent + ". Refresh to see all.";
      waiting = true;
      return;
    }
    waiting = false;
    const open = [...place().querySelectorAll("details[open]")].map((one) => one.closest("article").getAttribute("aria-labelledby"));
    const focused = document.activeElement === null ? "" : document.activeElement.id;
    place().replaceWith(page.getElementById("approvals"));
    for (const article of place().querySelectorAll("article")) {
      const details = article.querySelector("details");
      if (details !== null && open.includes(article.getAttribute("aria-labelledby"))) {
        details.open = true;
      }
    }
    if (focused !== "") {
      document.getElementById(focused)?.focus();
    }
  };

  const events = new EventSource(place().dataset.events);
  events.addEventListener("approvals", (event) => {
    if (event.data !== place().dataset.version) {
      load();
    }
  });
  document.addEventListener("focusout", () => {
    if (waiting && !isTyping()) {
      load();
    }
  });
}
