// The console works without this file; with it, charts are drawn, the page
// changes without being loaded anew, and the latest events come by themselves.

import "htmx.org";
import { drawAll, redraw } from "./chart.js";
import { heed } from "./erased.js";
import { follow } from "./live.js";

document.documentElement.classList.add("js");

function ready() {
  drawAll();
  follow();
  heed();
}

// Every swap is a morph of what stands: charts keep their place and are told
// their new numbers, and an open menu closes because it has been answered.
document.addEventListener("htmx:after:swap", (event) => {
  if (event.detail.ctx.target?.id === "live") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
  ready();
});

// An answer without the part that was asked for is not ours: most likely the
// visitor has to sign in again. The browser knows how to do that.
document.addEventListener("htmx:before:swap", (event) => {
  const { tasks } = event.detail;
  if (tasks.length === 0 || tasks.some((task) => task.fragment.childElementCount === 0)) {
    event.preventDefault();
    location.reload();
  }
});

// What refreshes itself waits while nobody looks, and what stands is better than
// an error that nobody asked for: the next try may get through.
const polled = (event) => event.detail.ctx.sourceElement.getAttribute("hx-trigger")?.startsWith("every");
document.addEventListener("htmx:before:request", (event) => {
  if (polled(event) && document.hidden) event.preventDefault();
});
document.addEventListener("htmx:before:response", (event) => {
  if (polled(event) && event.detail.ctx.response.status >= 500) event.preventDefault();
});

document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-submit]")) event.target.form.requestSubmit();
});

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

for (const query of ["(prefers-color-scheme: dark)", "(prefers-reduced-motion: reduce)"]) {
  matchMedia(query).addEventListener("change", redraw);
}

ready();
