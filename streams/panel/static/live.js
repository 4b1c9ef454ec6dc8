// Follows /api/stream, says in the header whether the page is live, and comes back after any break.
const SILENCE_MS = 25000; // the server sends a beat every 10 s
const link = document.getElementById("link");
const model = document.querySelector("main").dataset.model;

function show(state, words) {
  if (!link || link.dataset.link === state) return;
  link.dataset.link = state;
  link.querySelector(".words").textContent = words;
}

export function follow(lastSeen, changed) {
  let seen = lastSeen;
  let wait = 500;
  let timer; // of the silence while connected, of the next attempt while not
  let source;

  function close() {
    clearTimeout(timer);
    source?.close();
    source = undefined;
  }

  function lost() {
    close();
    show("lost", "Reconnecting…");
    timer = setTimeout(open, wait);
    wait = Math.min(wait * 1.6, 10000);
  }

  function heard(event) {
    if (event.lastEventId) seen = event.lastEventId;
    clearTimeout(timer);
    timer = setTimeout(lost, SILENCE_MS);
  }

  function open() {
    close();
    const query = new URLSearchParams({ last: seen });
    if (model) query.set("model", model);
    source = new EventSource(`/api/stream?${query}`);
    source.addEventListener("hello", (event) => {
      heard(event);
      wait = 500;
      show("live", "Live");
    });
    for (const kind of ["result", "alert", "reset"]) {
      source.addEventListener(kind, (event) => {
        heard(event);
        changed(kind);
      });
    }
    source.addEventListener("beat", heard);
    source.onerror = lost;
    timer = setTimeout(lost, SILENCE_MS);
  }

  // A browser allows six connections to a host: pages in the background give theirs back.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => {
    if (event.persisted) open();
  });
  open();
}
