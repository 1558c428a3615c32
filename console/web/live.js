// The table of the latest events. htmx polls it and morphs the rows; this says
// whether it is up to date, lets it be paused, and lights up rows that are new.

const NEW_ROW = 2400; // ms that a new row takes to settle

let paused = false;
let app;
let known = new Set();
let bound = false;

const rows = () => [...document.querySelectorAll("#live tr[id]")];

function say(text, state) {
  const label = document.getElementById("live-state");
  if (!label) return;
  if (label.textContent !== text) label.textContent = text;
  label.parentElement.dataset.state = state;
}

function settle() {
  const button = document.getElementById("pause");
  if (!button) return;
  button.setAttribute("aria-pressed", String(paused));
  button.textContent = paused ? "Resume" : "Pause";
  say(paused ? "Paused" : "Live", paused ? "paused" : "live");
}

function light(fresh) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--fresh");
  for (const row of fresh) row.animate([{ backgroundColor: colour }, {}], { duration: NEW_ROW, easing: "ease-out" });
}

function bind() {
  bound = true;
  document.addEventListener("click", (event) => {
    if (event.target.id !== "pause") return;
    paused = !paused;
    settle();
  });
  const ours = (event) => event.detail.ctx?.sourceElement?.id === "live";
  document.addEventListener("htmx:before:request", (event) => {
    if (ours(event) && paused) event.preventDefault();
  });
  // A part that could not be made, or did not come, leaves the rows as they are.
  document.addEventListener("htmx:before:response", (event) => {
    if (ours(event) && event.detail.ctx.response.status >= 500) say("Waiting for the store", "behind");
  });
  document.addEventListener("htmx:error", (event) => {
    if (ours(event)) say("Waiting for the collector", "behind");
  });
  document.addEventListener("htmx:after:swap", (event) => {
    if (!ours(event)) return;
    settle();
    const now = rows();
    light(now.filter((row) => !known.has(row.id)));
    known = new Set(now.map((row) => row.id));
  });
}

// follow starts over with the rows of the page as it is now.
export function follow() {
  if (!bound) bind();
  const page = document.getElementById("page").dataset.app;
  if (page !== app) paused = false;
  app = page;
  known = new Set(rows().map((row) => row.id));
  settle();
}
