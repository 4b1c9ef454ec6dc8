// Feature × time: how far each effect is from noise (0) to its alarm line (1) and beyond.
import { CONFIG, colour, deployments, layout, sayNothingToDraw, shorten, text, utc } from "./looks.js";

const TOP = 32; // times the line at which the colour ends
const place01 = (s) => (s === null ? null : s < 1 ? 0.5 * s * 0.98 : 0.5 + 0.5 * Math.min(1, Math.log(s) / Math.log(TOP)));
const TICKS = [[0, "noise"], [1, "line"], [4, "4×"], [16, "16×"], [TOP, `${TOP}×`]];

export function heatmap(target, view) {
  const { heat } = view;
  if (!heat?.starts.length) {
    sayNothingToDraw(target, "There are no windows in this range.");
    return;
  }
  const narrow = target.clientWidth < 560;
  const edges = [];
  const columns = []; // index of the window, or null for a gap in time
  heat.starts.forEach((start, i) => {
    if (i && start > heat.ends[i - 1]) {
      edges.push(utc(heat.ends[i - 1]));
      columns.push(null);
    }
    edges.push(utc(start));
    columns.push(i);
  });
  edges.push(utc(heat.ends.at(-1)));
  const words = (f, i) => {
    if (i === null) return "no window";
    const s = heat.strengths[f][i];
    const said = s === null ? "not judged" : `${s.toFixed(s < 10 ? 2 : 0)}× its line${heat.drifted[f][i] ? ", <b>drift</b>" : ""}`;
    return `<b>${text(shorten(heat.features[f], 60))}</b><br>${utc(heat.starts[i]).slice(0, 16)} – ${utc(heat.ends[i]).slice(0, 16)} UTC<br>${said}<br>${heat.rows[i].toLocaleString("en")} rows`;
  };
  const order = heat.features.map((_, f) => f);
  const trace = {
    type: "heatmap", x: edges, y: order, xgap: (target.clientWidth - 160) / columns.length > 6 ? 1 : 0, ygap: 2,
    z: order.map((f) => columns.map((i) => (i === null ? null : place01(heat.strengths[f][i])))),
    text: order.map((f) => columns.map((i) => words(f, i))),
    customdata: order.map((f) => columns.map(() => f)),
    hovertemplate: "%{text}<extra></extra>", hoverongaps: false, zmin: 0, zmax: 1,
    colorscale: [
      [0, colour("heat-0")], [0.4999, colour("heat-1")], [0.5, colour("heat-2")], [0.7, colour("heat-3")],
      [0.88, colour("heat-4")], [1, colour("heat-5")],
    ],
    colorbar: {
      orientation: "h", x: 1, xanchor: "right", y: 1, yanchor: "bottom", thickness: 8, len: narrow ? 1 : 0.36, outlinewidth: 0, ypad: 6, xpad: 0,
      tickvals: TICKS.map(([s]) => place01(s)), ticktext: TICKS.map(([, word]) => word), ticks: "", tickfont: { size: 11, color: colour("soft") },
    },
  };
  const size = heat.features.length > 25 ? 20 : 28;
  target.style.minHeight = "0";
  Plotly.react(
    target,
    [trace],
    layout(target, {
      ...deployments(heat.deployments),
      height: heat.features.length * size + 84,
      margin: { l: 8, r: 4, t: 38, b: 8 },
      xaxis: { type: "date", showgrid: false, ticks: "", nticks: narrow ? 4 : 10 },
      yaxis: {
        showgrid: false, autorange: "reversed", tickvals: order, ticktext: order.map((f) => text(shorten(heat.features[f], narrow ? 16 : 34))), ticks: "",
        tickfont: { size: heat.features.length > 25 ? 11 : 12.5, color: colour("ink") },
      },
    }),
    CONFIG,
  );
  if (!target.dataset.bound) {
    target.dataset.bound = "1";
    target.on("plotly_click", ({ points }) => {
      location.href = target.dataset.paths ? JSON.parse(target.dataset.paths)[points[0].customdata] : "#features-title";
    });
  }
  target.dataset.paths = JSON.stringify(heat.features.map((name) => target.dataset.base + encodeName(name)));
}

// The same escape as `words.encode_name`.
function encodeName(name) {
  const safe = name === "" || name === "." || name === ".." || name.startsWith("~") ? `~${name}` : name;
  return encodeURIComponent(safe.toWellFormed ? safe.toWellFormed() : safe);
}
