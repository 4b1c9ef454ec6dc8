// Draws every [data-chart] from its JSON, and again when the data or the colour scheme changes.
import { heatmap } from "./heatmap.js";
import { distribution } from "./distribution.js";
import { quality, timeline } from "./timeline.js";

const DRAW = { heatmap, distribution, timeline, quality };
const latest = new Map();

async function fetchOnce(api, answers) {
  if (!answers.has(api)) {
    answers.set(
      api,
      fetch(api).then((response) => {
        if (!response.ok) throw new Error(`${response.status}`);
        return response.json();
      }),
    );
  }
  return answers.get(api);
}

export async function drawAll() {
  const answers = new Map();
  const places = [...document.querySelectorAll("[data-chart]")];
  await Promise.all(
    places.map(async (place) => {
      try {
        const data = await fetchOnce(place.dataset.api, answers);
        latest.set(place, data);
        draw(place, data);
      } catch {
        const pending = place.querySelector(".pending");
        if (pending) pending.textContent = "The data could not be fetched; the page tries again with the next result.";
      }
    }),
  );
}

function draw(place, data) {
  place.querySelector(":scope > p")?.remove();
  DRAW[place.dataset.chart](place, data);
}

export function listenToPage() {
  const redraw = () => latest.forEach((data, place) => draw(place, data));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.getElementById("tests")?.addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) redraw();
    width = innerWidth;
  });
  // A point of the timeline chooses the window whose distribution is shown.
  document.addEventListener("window-chosen", (event) => {
    const url = new URL(location.href);
    url.searchParams.set("at", event.detail);
    history.replaceState(null, "", url);
    for (const place of document.querySelectorAll("[data-chart=distribution]")) {
      const api = new URL(place.dataset.api, location.href);
      api.searchParams.set("at", event.detail);
      place.dataset.api = api.pathname + api.search;
    }
    document.dispatchEvent(new CustomEvent("page-changed"));
  });
}
