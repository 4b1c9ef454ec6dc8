// Reference and current shares of rows, bin by bin.
import { CONFIG, colour, layout, sayNothingToDraw, shorten, text } from "./looks.js";

const SHOWN = 24;

export function distribution(target, view) {
  const d = view.distribution;
  if (!d) {
    sayNothingToDraw(target, "No distribution is known for these windows.");
    return;
  }
  const narrow = target.clientWidth < 560;
  let rows = d.labels.map((label, i) => ({ label, reference: d.reference[i], current: d.current[i] }));
  if (rows.length > SHOWN) {
    const ranked = [...rows].sort((a, b) => Math.max(b.reference, b.current) - Math.max(a.reference, a.current));
    const rest = ranked.slice(SHOWN - 1);
    const sum = (key) => rest.reduce((total, row) => total + row[key], 0);
    rows = [...ranked.slice(0, SHOWN - 1), { label: `${rest.length} others`, reference: sum("reference"), current: sum("current") }];
  }
  const at = rows.map((_, i) => i);
  const bars = (key, name, marker) => ({
    type: "bar", name, [narrow ? "y" : "x"]: at, [narrow ? "x" : "y"]: rows.map((row) => row[key]), marker, orientation: narrow ? "h" : "v",
    customdata: rows.map((row) => text(shorten(row.label, 80))),
    hovertemplate: `<b>%{customdata}</b><br>${name.toLowerCase()} %{${narrow ? "x" : "y"}:.1%}<extra></extra>`,
  });
  const drifted = view.current.verdict === "drift";
  const names = { tickvals: at, ticktext: rows.map((row) => text(shorten(row.label, narrow ? 14 : 22))), showgrid: false, ticks: "" };
  const shares = { tickformat: ".0%", rangemode: "tozero", nticks: 6 };
  Plotly.react(
    target,
    [bars("reference", "Reference", { color: colour("reference") }), bars("current", "Current", { color: colour(drifted ? "drift" : "accent") })],
    layout(target, {
      height: narrow ? Math.max(280, rows.length * 36 + 70) : 320, barmode: "group", bargap: 0.28, bargroupgap: 0.06, margin: { l: 8, r: 8, t: 30, b: 8 },
      xaxis: narrow ? shares : names, yaxis: narrow ? { ...names, autorange: "reversed" } : shares,
    }),
    CONFIG,
  );
}
