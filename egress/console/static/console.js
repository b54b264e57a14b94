// What every page of the console does with script.  Each page works without it.
"use strict";

// The sign-in link needs no click, if the browser shows the page (and does not load it in advance).
for (const form of document.querySelectorAll("form[data-submit]")) {
  const submit = () => document.visibilityState === "visible" && form.requestSubmit();
  document.addEventListener("visibilitychange", submit, { once: true });
  submit();
}

// Forms that change a filter are sent when the person stops typing: data-live is handled by the page itself.
for (const button of document.querySelectorAll("[data-no-script]")) {
  button.hidden = true;
}
