// Wires the page. Everything here only adds comfort: without this file each link and form still works.
import { startNavigation } from "./nav.js";
import { startRows } from "./rows.js";
import { startLive } from "./live.js";
import { startBrush } from "./brush.js";
import { startKeys } from "./keys.js";
import { startZone } from "./zone.js";

document.documentElement.dataset.js = "on";
const live = startLive();
const rows = startRows();
const navigation = startNavigation({ before: live.stop, after: rows.forget });
startBrush(navigation);
startZone();
startKeys({ live, rows });

// A menu closes when the pointer goes elsewhere, as menus do.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
