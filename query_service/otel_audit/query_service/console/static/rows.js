// Opens rows in place, copies values, and keeps the current row for the keyboard.
import { canInsert, insert, say } from "./nav.js";

const COPIED_MS = 1500;

export function startRows() {
  let loading = null;

  async function open(opener) {
    const row = opener.closest("tr");
    loading?.abort();
    const mine = (loading = new AbortController());
    document.dispatchEvent(new CustomEvent("row-open"));
    try {
      const answer = await fetch(opener.href, { headers: { "X-Fragment": "detail" }, signal: mine.signal });
      const html = await answer.text();
      if (answer.headers.get("X-Fragment") === "problem") {
        insert(document.getElementById("banner"), html);
        return;
      }
      if (answer.headers.get("X-Fragment") !== "detail" || !row.isConnected) return;
      closeAll();
      const detail = document.createElement("tr");
      detail.className = "detail";
      detail.setAttribute("role", "row");
      const cell = document.createElement("td");
      cell.colSpan = 8;
      cell.setAttribute("role", "cell");
      insert(cell, html);
      detail.append(cell);
      row.after(detail);
      row.classList.add("open");
      opener.setAttribute("aria-expanded", "true");
      opener.focus({ preventScroll: true });
      const url = new URL(location.href);
      url.searchParams.set("open", row.dataset.id);
      history.replaceState(null, "", url);
    } catch (error) {
      if (error.name !== "AbortError") location.assign(opener.href);
    }
  }

  function closeAll() {
    for (const row of document.querySelectorAll("tr.event.open")) {
      row.nextElementSibling?.matches("tr.detail") && row.nextElementSibling.remove();
      row.classList.remove("open");
      const opener = row.querySelector(".opener");
      opener.setAttribute("aria-expanded", "false");
      const url = new URL(opener.href);
      url.searchParams.set("open", row.dataset.id);
      opener.href = url.href;
    }
    const url = new URL(location.href);
    if (url.searchParams.has("open")) {
      url.searchParams.delete("open");
      url.hash = "";
      history.replaceState(null, "", url);
    }
  }

  function toggle(opener) {
    if (!opener.hasAttribute("aria-expanded") || !canInsert) {
      location.assign(opener.href);
    } else if (opener.getAttribute("aria-expanded") === "true") {
      closeAll();
    } else {
      open(opener);
    }
  }

  document.addEventListener("click", (event) => {
    const opener = event.target.closest?.(".opener");
    if (opener) {
      if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      toggle(opener);
      return;
    }
    const copied = event.target.closest?.("[data-copy], [data-copy-link]");
    if (copied) {
      const link = copied.dataset.copyLink;
      copy(link ? new URL(link, location.href).href : copied.dataset.copy, copied);
      return;
    }
    const row = event.target.closest?.("tr.event");
    if (row && !event.target.closest("a, button") && !String(getSelection())) toggle(row.querySelector(".opener"));
  });

  function move(step) {
    const openers = [...document.querySelectorAll("tr.event .opener")];
    if (!openers.length) return;
    const at = openers.indexOf(document.activeElement);
    const next = openers[at < 0 ? 0 : Math.min(Math.max(at + step, 0), openers.length - 1)];
    next.focus({ preventScroll: true });
    next.closest("tr").scrollIntoView({ block: "nearest" });
  }

  return { move, closeAll, forget: () => loading?.abort() };
}

export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without a secure context the clipboard is reached through a selection only.
    const area = document.createElement("textarea");
    area.value = text;
    (document.querySelector("[popover]:popover-open") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say("Copied");
  if (button) {
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), COPIED_MS);
  }
}
