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

// Lines where new versions of the model began, each with its name.
export function deployments(marks) {
  return {
    shapes: marks.map(([, time]) => ({ type: "line", xref: "x", yref: "paper", x0: utc(time), x1: utc(time), y0: 0, y1: 1, line: { color: colour("ink"), width: 1, dash: "dot" } })),
    annotations: marks.map(([version, time]) => ({
      xref: "x", yref: "paper", x: utc(time), y: 1, xanchor: "left", yanchor: "top", showarrow: false, text: text(shorten(version, 16)),
      hovertext: text(`version ${shorten(version, 60)} from ${utc(time)} UTC on`), font: { size: 11, color: colour("ink") }, bgcolor: colour("surface"), opacity: 0.9,
    })),
  };
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
