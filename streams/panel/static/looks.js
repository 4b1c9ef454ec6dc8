// What all charts share: colours from the style sheet, layout, escaping of names.
export const CONFIG = { displayModeBar: false, responsive: true, displaylogo: false };

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// plotly.js reads a little HTML in labels; names must stay text.
const MARKUP = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
export const text = (value) => String(value).replace(/[&<>]/g, (c) => MARKUP[c]);

export const shorten = (value, n) => ([...value].length > n ? `${[...value].slice(0, n - 1).join("")}…` : value);

export const utc = (ms) => new Date(ms).toISOString().slice(0, 19).replace("T", " ");

export function sayNothingToDraw(place, words) {
  Plotly.purge(place);
  const said = document.createElement("p");
  said.className = "muted nothing";
  said.textContent = words;
  place.replaceChildren(said);
}

export function layout(place, more = {}) {
  const axis = {
    gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false, automargin: true, fixedrange: true,
    tickfont: { size: 12, color: colour("soft") },
  };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
    width: place.clientWidth, margin: { l: 8, r: 8, t: 8, b: 8 },
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("ink") },
    hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("line"), font: { color: colour("ink"), size: 13 }, align: "left" },
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { size: 12, color: colour("soft") } },
    ...more,
    xaxis: { ...axis, ...more.xaxis },
    yaxis: { ...axis, ...more.yaxis },
    ...(more.yaxis2 ? { yaxis2: { ...axis, ...more.yaxis2 } } : {}),
  };
}
