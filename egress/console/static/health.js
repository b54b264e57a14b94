// Replaces the numbers of the Health page every 10 seconds, while it is visible.  Without script, reload the page.
"use strict";

const HEALTH_SECONDS = 10;

async function updateHealth() {
  const shown = document.getElementById("health");
  // A table that is open, or text that is selected, stays as it is.
  const inUse = shown.querySelector("details[open]") || !document.getSelection().isCollapsed || shown.contains(document.activeElement);
  if (document.visibilityState !== "visible" || inUse) {
    return;
  }
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (response.ok && !response.redirected) {
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const next = page.getElementById("health");
    if (next) {
      shown.replaceWith(next);
    }
  }
}

setInterval(() => updateHealth().catch(() => {}), HEALTH_SECONDS * 1000);
