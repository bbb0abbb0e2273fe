// Follows links and forms marked data-nav in place: the main part comes as a fragment, the URL changes as usual.
// Where the browser cannot insert markup safely, or anything is odd, it is plain navigation.
export const canInsert = "setHTML" in Element.prototype;
const SLOW_MS = 300;

// The sanitizer keeps forms, buttons and data attributes, and still drops scripts and handlers: the page's own
// templates make none, and an event's values are text.
export function insert(element, html) {
  element.setHTML(html, { sanitizer: {} });
}

export function say(text) {
  document.getElementById("status").textContent = text;
}

export function startNavigation({ before, after }) {
  const main = document.getElementById("main");
  const banner = document.getElementById("banner");
  const progress = document.querySelector(".progress");
  let running = null;

  progress.querySelector(".cancel").addEventListener("click", () => running?.abort());

  async function go(url, { push = true, focus = null, top = false } = {}) {
    if (!canInsert || !document.getElementById("events") && !document.getElementById("empty") && !document.querySelector(".toolbar")) {
      location.assign(url);
      return;
    }
    running?.abort();
    const mine = (running = new AbortController());
    before();
    main.setAttribute("aria-busy", "true");
    const slow = setTimeout(() => (progress.hidden = false), SLOW_MS);
    try {
      const answer = await fetch(url, { headers: { "X-Fragment": "main" }, signal: mine.signal });
      const html = await answer.text();
      const kind = answer.headers.get("X-Fragment");
      if (kind === "problem") {
        insert(banner, html);
        return;
      }
      if (kind !== "main") {
        location.assign(url);
        return;
      }
      const scroll = scrollY;
      insert(main, html);
      banner.replaceChildren();
      if (push) history.pushState(null, "", answer.url);
      document.querySelectorAll("[popover]:popover-open").forEach((open) => open.hidePopover());
      restoreFocus(focus);
      scrollTo({ top: top ? 0 : scroll, behavior: "instant" });
      after();
      const total = document.getElementById("total");
      say(total ? total.textContent.trim() : "");
    } catch (error) {
      if (error.name !== "AbortError") lost(url);
    } finally {
      clearTimeout(slow);
      if (running === mine) {
        running = null;
        progress.hidden = true;
        main.setAttribute("aria-busy", "false");
      }
    }
  }

  function lost(url) {
    const notice = document.createElement("div");
    notice.className = "notice notice-error";
    notice.setAttribute("role", "alert");
    const retry = document.createElement("a");
    retry.href = url;
    retry.textContent = "Try again";
    retry.dataset.nav = "";
    notice.append("The server did not answer; what you see is unchanged. ", retry);
    banner.replaceChildren(notice);
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-nav]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    const href = link.href.baseVal ?? link.href;
    go(href, { focus: focusKey(link), top: "top" in link.dataset });
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!("nav" in form.dataset)) return;
    event.preventDefault();
    const url = new URL(form.action);
    url.search = new URLSearchParams(new FormData(form)).toString();
    go(url.href, { focus: focusKey(document.activeElement) });
  });
  addEventListener("popstate", () => {
    if (document.querySelector(".toolbar")) go(location.href, { push: false });
  });
  return { go };
}

// What had the focus is found again by what it is, because the element itself is replaced.
function focusKey(element) {
  if (!element) return null;
  if (element.id) return `#${CSS.escape(element.id)}`;
  if (element.dataset?.key) return `[data-key="${CSS.escape(element.dataset.key)}"]`;
  if (element.name) return `.rail [name="${CSS.escape(element.name)}"]`;
  return null;
}

function restoreFocus(selector) {
  const target = selector && document.querySelector(selector);
  (target ?? document.getElementById("main")).focus({ preventScroll: true });
}
