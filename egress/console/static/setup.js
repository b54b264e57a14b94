// Adds a button to each command that copies it.
"use strict";

for (const block of document.querySelectorAll(".copy")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy: ${block.querySelector("pre").getAttribute("aria-label")}`);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.querySelector("pre").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  if (navigator.clipboard) {
    block.append(button);
  }
}

// The checks take some seconds.
const run = document.getElementById("run-checks");
if (run) {
  run.form.addEventListener("submit", () => {
    run.textContent = "Running…";
    run.disabled = true;
  });
}
