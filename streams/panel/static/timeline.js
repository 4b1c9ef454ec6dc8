// One test over the windows with its alarm line and noise, and the rows beside missing and unseen shares.
import { CONFIG, colour, deployments, layout, sayNothingToDraw, utc } from "./looks.js";

const NAMES = { psi: "PSI", ks: "KS", location: "Location", scale: "Spread", growth: "Growth", share: "Share" };

export function timeline(target, view) {
  const chosen = document.querySelector("input[name=test]:checked")?.value;
  const test = view.tests.find((series) => series.name === chosen) ?? view.tests[0];
  if (!test) {
    sayNothingToDraw(target, "No window of this feature was judged yet.");
    return;
  }
  const x = view.ends.map(utc);
  const size = (a) => (a === null ? null : Math.abs(a));
  const share = ["growth", "share"].includes(test.name); // their noise is the share in the reference
  const values = test.values.map(size);
  const name = NAMES[test.name] ?? test.name;
  const top = Math.max(...values, ...test.lines.map((l) => l ?? 0));
  const small = Math.max(0, ...test.lines.map((l) => l ?? 0));
  const steep = !share && top > 12 * small && small > 0; // a linear axis would hide the line
  const format = share ? ".2~%" : ".3~g";
  const traces = [
    { name: share ? "Reference share" : "Noise alone", y: test.noise, fill: "tozeroy", fillcolor: colour("faint"), line: { color: colour("reference"), width: 1 }, hovertemplate: `${share ? "reference" : "noise"} %{y:${format}}<extra></extra>` },
    { name: "Alarm line", y: test.lines, line: { color: colour("ink"), width: 1.5, dash: "dash" }, hovertemplate: `line %{y:${format}}<extra></extra>` },
    {
      name, y: values, mode: "lines+markers", line: { color: colour("accent"), width: 1.5 },
      marker: { size: test.drifted.map((d) => (d ? 9 : 4)), color: test.drifted.map((d) => colour(d ? "drift" : "accent")), symbol: test.drifted.map((d) => (d ? "triangle-up" : "circle")) },
      customdata: view.starts, hovertemplate: `<b>${name} %{y:${format}}</b><extra></extra>`,
    },
  ].map((trace) => ({ type: "scatter", mode: "lines", x, connectgaps: false, ...trace }));
  if (view.warnings.length) {
    traces.push({
      type: "scatter", mode: "markers", name: "Warning", x: view.warnings.map((w) => utc(w.time)), y: view.warnings.map(() => 1), yaxis: "y2",
      marker: { symbol: "triangle-down-open", size: 11, color: colour("warn"), line: { width: 2 } },
      text: view.warnings.map((w) => `${w.detector.toUpperCase()} ${Number(w.before).toPrecision(4)} → ${Number(w.after).toPrecision(4)}`), hovertemplate: "%{text}<extra></extra>",
    });
  }
  const floor = Math.min(...[...values, ...test.lines, ...test.noise].filter((v) => v > 0));
  Plotly.react(
    target,
    traces,
    layout(target, {
      ...deployments(view.deployments), height: 300, margin: { l: 8, r: 8, t: 34, b: 8 }, hovermode: "x unified",
      xaxis: { type: "date", nticks: target.clientWidth < 560 ? 4 : 9, hoverformat: "%Y-%m-%d %H:%M UTC" },
      yaxis: steep ? { type: "log", range: [Math.log10(floor / 1.5), Math.log10(top * 1.6)], tickformat: format, dtick: top / floor > 100 ? 1 : undefined } : { rangemode: "tozero", nticks: 6, tickformat: format },
      yaxis2: { overlaying: "y", range: [0, 1.04], visible: false },
    }),
    CONFIG,
  );
  if (!target.dataset.bound) {
    target.dataset.bound = "1";
    target.on("plotly_click", ({ points }) => {
      const start = points.find((point) => point.customdata)?.customdata;
      if (start) document.dispatchEvent(new CustomEvent("window-chosen", { detail: start }));
    });
  }
}

export function quality(target, view) {
  const x = view.ends.map(utc);
  const narrow = target.clientWidth < 560;
  const share = (y, name, paint, dash) => ({ type: "scatter", mode: "lines", name, x, y, yaxis: "y2", line: { color: colour(paint), width: 2, dash }, hovertemplate: `${name.toLowerCase()} %{y:.2%}<extra></extra>` });
  const most = Math.max(0.01, ...view.missing.map((v) => v ?? 0), ...view.unseen.map((v) => v ?? 0));
  Plotly.react(
    target,
    [
      { type: "bar", name: "Rows", x, y: view.rows, marker: { color: colour("grid") }, hovertemplate: "%{y:,} rows<extra></extra>" },
      share(view.missing, "Missing", "accent", "solid"),
      share(view.unseen, "Unseen", "warn", "dot"),
    ],
    layout(target, {
      ...deployments(view.deployments), height: 240, margin: { l: 8, r: 8, t: 34, b: 8 }, hovermode: "x unified", bargap: 0.1,
      xaxis: { type: "date", nticks: narrow ? 4 : 9, hoverformat: "%Y-%m-%d %H:%M UTC" },
      yaxis: { rangemode: "tozero", nticks: 4, showgrid: false, side: "right", tickformat: ",~s" },
      yaxis2: { overlaying: "y", side: "left", range: [0, most * 1.15], tickformat: ".1~%", nticks: 5 },
    }),
    CONFIG,
  );
}
