// Wires the page: local times, charts, and the stream of events that refreshes both.
import { showLocalTimes } from "./times.js";
import { drawAll, listenToPage } from "./charts.js";
import { refreshSoon } from "./refresh.js";
import { follow } from "./live.js";

showLocalTimes(document);
drawAll();
listenToPage();
document.addEventListener("page-changed", refreshSoon);
follow(document.body.dataset.lastEvent, () => refreshSoon());
