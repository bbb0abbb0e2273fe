// Single-key shortcuts. They can be turned off in the help, because speech input types letters too.
import { copy } from "./rows.js";
import { toggleZone } from "./zone.js";

const OFF = "otel-audit-keys-off";

export function startKeys({ live, rows }) {
  const box = document.getElementById("keys-on");
  box.checked = read() !== "1";
  box.addEventListener("change", () => write(box.checked ? "0" : "1"));

  const actions = {
    "/": () => document.getElementById("search")?.focus(),
    j: () => rows.move(1),
    k: () => rows.move(-1),
    l: () => live.toggle(),
    t: () => toggleZone(),
    c: () => copyLink(),
    "?": () => document.getElementById("help").togglePopover(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      escape(event, rows);
      return;
    }
    if (!box.checked || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

// The button's link is fixed to what is seen now; other pages have one address anyway.
function copyLink() {
  const button = document.getElementById("copy-view");
  if (button) button.click();
  else copy(location.href);
}

function escape(event, rows) {
  const menu = document.querySelector("details.menu[open]");
  if (menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  } else if (event.target.matches?.("input")) {
    event.target.blur();
  } else if (!document.querySelector("[popover]:popover-open")) {
    const opener = document.querySelector("tr.event.open .opener");
    rows.closeAll();
    opener?.focus();
  }
}

// Storage may be refused; then the choice lasts as long as the page.
function read() {
  try {
    return localStorage.getItem(OFF);
  } catch {
    return null;
  }
}

function write(value) {
  try {
    localStorage.setItem(OFF, value);
  } catch {
    // Nothing to do.
  }
}
