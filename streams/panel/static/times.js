// Gives every time its local twin as a tooltip; the page itself stays in UTC.
const local = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

export function showLocalTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (!Number.isNaN(at.getTime())) element.title = `${local.format(at)} (your time)`;
  }
}
