// Fetches this page again and replaces only the parts that changed, keeping focus and scroll.
import { showLocalTimes } from "./times.js";
import { drawAll } from "./charts.js";

const PAUSE_MS = 300; // at most about three refreshes a second, however many results arrive
let running = false;
let wanted = false;

export async function refreshSoon() {
  if (running) {
    wanted = true;
    return;
  }
  running = true;
  do {
    wanted = false;
    await refresh().catch(() => {}); // the stream says when the server is away
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  } while (wanted);
  running = false;
}

async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (response.status === 401) {
    location.reload();
    return;
  }
  if (!response.ok) return;
  const next = new DOMParser().parseFromString(await response.text(), "text/html");
  if (Boolean(document.querySelector("[data-chart]")) !== Boolean(next.querySelector("[data-chart]"))) {
    location.reload(); // the first window was judged: the page has charts now
    return;
  }
  document.title = next.title;
  for (const part of document.querySelectorAll("[data-refresh]")) {
    const other = next.getElementById(part.id);
    if (other) replace(part, other);
  }
  await drawAll();
}

function replace(part, other) {
  part.hidden = other.hidden;
  const fresh = document.importNode(other, true);
  showLocalTimes(fresh);
  if (part.innerHTML === fresh.innerHTML) return;
  const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  const known = new Set([...part.querySelectorAll("tbody > tr")].map((row) => row.innerHTML));
  part.replaceChildren(...fresh.childNodes);
  for (const row of part.querySelectorAll("tbody > tr")) {
    if (!known.has(row.innerHTML)) row.classList.add("fresh");
  }
  if (focused !== null) [...part.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus();
}
