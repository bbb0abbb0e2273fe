// A row of the table from one event of the stream, the same as _table.html draws it. Only text is inserted.
import { element, visible } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
const SEVERITY = {
  critical: [["path", "solid", "M5.4 1.8h5.2l3.6 3.6v5.2l-3.6 3.6H5.4l-3.6-3.6V5.4z"], ["path", "cut-out", "M8 4.6v4.2M8 11.2v.2"]],
  error: [["path", "solid", "M8 1.4 14.6 8 8 14.6 1.4 8z"], ["path", "cut-out", "m6 6 4 4M10 6l-4 4"]],
  warning: [["path", "solid", "M8 2 14.8 13.8H1.2z"], ["path", "cut-out", "M8 6.4v3.4M8 11.8v.2"]],
  other: [["path", "", "M8 4.8a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4"]],
};
const OUTCOME = {
  success: "m3.5 8.5 3 3 6-7",
  failure: "m4.5 4.5 7 7M11.5 4.5l-7 7",
  denied: "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3M4.6 11.4l6.8-6.8",
  other: "M6 6.2a2 2 0 1 1 2.8 1.8c-.6.3-.8.7-.8 1.4M8 11.6v.2",
};

export function formatter(zone) {
  return new Intl.DateTimeFormat("en-GB", {
    timeZone: zone, day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
    fractionalSecondDigits: 3, hourCycle: "h23",
  });
}

export function liveRow(event, format, address) {
  const severity = event.severity ?? "info";
  const outcome = event.outcome ?? "unknown";
  const actor = event.user_email || event.user_name || event.user_id;
  const resource = event.resource_name || event.resource_id;
  const kind = ["service", "system", "anonymous"].includes(event.user_type) ? event.user_type : null;
  const row = element("tr", "event");
  row.id = `e-${event.event_id}`;
  row.dataset.id = event.event_id;
  row.setAttribute("role", "row");
  const known = severity in SEVERITY && severity !== "other" ? severity : severity === "info" ? "info" : "other";
  row.append(
    cell("c-time", opener(event, format, address, actor)),
    cell("c-sev", element("span", `sev sev-${known}`, icon(SEVERITY[known] ?? SEVERITY.other, `sev-icon sev-${known}`), element("span", "", visible(severity, 20)))),
    cell("c-event", element("span", "category", visible(event.category ?? "")), " ", element("b", "action", visible(event.action ?? "")), ...(event.message ? [" ", element("span", "message", visible(event.message))] : [])),
    cell("c-actor", ...value(kind, actor)),
    cell("c-resource", ...value(event.resource_type, resource)),
    cell("c-outcome", element("span", `outcome outcome-${["success", "failure", "denied"].includes(outcome) ? outcome : "other"}`, icon([["path", "", OUTCOME[outcome] ?? OUTCOME.other]]), element("span", "", visible(outcome, 20)))),
    cell("c-address", ...value(null, event.client_address)),
    cell("c-service", ...value(null, event.service_name)),
  );
  return row;
}

function opener(event, format, address, actor) {
  const part = Object.fromEntries(format.formatToParts(new Date(event.time)).map((p) => [p.type, p.value]));
  const day = `${part.day} ${part.month}`;
  const clock = `${part.hour}:${part.minute}:${part.second}`;
  const time = element("time", "", element("span", "day", day), " ", element("span", "clock", clock), element("span", "ms", `.${part.fractionalSecond}`));
  time.dateTime = event.time;
  const link = element("a", "opener", icon([["path", "", "m6 4 4 4-4 4"]]), time, element("span", "sr", ", details of "));
  link.lastChild.append(visible(event.action ?? "event"), " by ", visible(actor ?? "nobody known"));
  link.href = address(event.event_id);
  link.setAttribute("aria-expanded", "false");
  return link;
}

function value(kind, text) {
  const parts = [];
  if (kind) parts.push(element("span", "kind", visible(kind)), " ");
  if (text) parts.push(visible(text));
  if (!parts.length) {
    const nothing = element("span", "nothing", "–");
    nothing.setAttribute("aria-label", "none");
    parts.push(nothing);
  }
  return parts;
}

function cell(name, ...children) {
  const made = element("td", name, ...children);
  made.setAttribute("role", "cell");
  return made;
}

function icon(shapes, name = "") {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, text] of Object.entries({ class: `icon ${name}`, viewBox: "0 0 16 16", "aria-hidden": "true" })) svg.setAttribute(key, text);
  for (const [tag, className, d] of shapes) {
    const shape = document.createElementNS(SVG, tag);
    shape.setAttribute("d", d);
    if (className) shape.setAttribute("class", className);
    svg.append(shape);
  }
  return svg;
}
