// What is erased must not stay on a screen. A page that is open asks every second
// whether anything was, and is made anew where it was, whether it is paused or not.
// One that nobody looks at asks when somebody does.

const LOOK = 800; // ms between two looks; with the answers it is less than a second

let erased; // how often, when the page was made

async function look() {
  const page = document.getElementById("page");
  if (erased === undefined || document.hidden) return;
  let now;
  try {
    const answer = await fetch("/console/erased?app=" + encodeURIComponent(page.dataset.app), { cache: "no-store" });
    if (!answer.ok) return;
    now = await answer.text();
  } catch {
    return; // the table of the latest events says that nothing comes
  }
  if (now === erased) return;
  erased = now;
  document.getElementById("again")?.dispatchEvent(new CustomEvent("erased"));
}

// heed starts over with the page as it is now.
export function heed() {
  erased = document.getElementById("page").dataset.erased;
}

setInterval(look, LOOK);
document.addEventListener("visibilitychange", look);
