// The live tail. A table that moves under the reader's hand is worse than none, so it freezes by itself when
// somebody points, scrolls, selects or reads, says why and how many wait, and goes on only when told to.
import { say } from "./nav.js";
import { formatter, liveRow } from "./live_row.js";

const ROWS_MAX = 200; // A page beyond this slows every insertion.
const WAITING_MAX = 10_000; // As many as the server keeps for a slow reader.
const FLUSH_MS = 250; // Faster than this nobody reads.
const SPOKEN_MS = 10_000; // A status region that speaks more often is only noise.
const RETRY_MS = [500, 1000, 2000, 5000, 10_000, 20_000];
const CODE_TOO_OLD = 4410;
const CODE_SIGNED_OUT = 4401;

export function startLive() {
  let tail = null;
  const stop = () => {
    tail?.end();
    tail = null;
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("#live");
    if (button) tail ? stop() : (tail = new Tail(button));
    else if (event.target.closest?.(".live-stop")) stop();
    else if (event.target.closest?.(".live-resume")) tail?.resume();
  });
  document.addEventListener("pointerdown", (event) => {
    if (event.target.closest?.("#events tbody")) tail?.freeze("you are pointing at a row");
  });
  document.addEventListener("selectionchange", () => {
    const chosen = getSelection();
    if (tail && chosen && !chosen.isCollapsed && document.getElementById("events")?.contains(chosen.anchorNode)) tail.freeze("text is selected");
  });
  document.addEventListener("row-open", () => tail?.freeze("a row is open"));
  addEventListener("scroll", () => tail?.scrolled(), { passive: true });
  addEventListener("pagehide", stop);
  return { stop, toggle: () => document.getElementById("live")?.click(), isOn: () => tail !== null };
}

class Tail {
  constructor(button) {
    this.button = button;
    this.bar = document.getElementById("live-bar");
    this.body = document.querySelector("#events tbody");
    this.pager = document.querySelector(".pager");
    if (this.pager) this.pager.hidden = true;
    this.body.parentElement.hidden = false;
    document.getElementById("empty")?.remove();
    this.position = button.dataset.after;
    this.format = formatter(button.dataset.zone);
    this.waiting = [];
    this.arrived = 0;
    this.dropped = 0;
    this.reason = null;
    this.failures = 0;
    this.spokenAt = 0;
    this.ended = false;
    button.setAttribute("aria-pressed", "true");
    this.bar.hidden = false;
    if (document.querySelector("tr.event.open")) this.reason = "a row is open";
    this.timer = setInterval(() => this.flush(), FLUSH_MS);
    this.connect();
    this.show();
  }

  connect() {
    const url = new URL(this.button.dataset.stream, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("after", this.position);
    this.state = "connecting";
    this.socket = new WebSocket(url);
    this.socket.addEventListener("open", () => {
      this.failures = 0;
      this.state = "live";
      this.show();
    });
    this.socket.addEventListener("message", (message) => this.take(JSON.parse(message.data)));
    this.socket.addEventListener("close", (close) => this.closed(close.code));
  }

  take(message) {
    if (message.position) this.position = message.position;
    if (message.type === "gap") this.dropped += message.dropped ?? 0;
    if (message.type !== "event") return;
    this.arrived += 1;
    this.waiting.push(message.event);
    if (this.waiting.length > WAITING_MAX) {
      this.waiting.shift();
      this.dropped += 1;
    }
  }

  closed(code) {
    if (this.ended) return;
    if (code === CODE_TOO_OLD) return this.give("This view is older than the stream reaches back.", "Refresh to go on from now.");
    if (code === CODE_SIGNED_OUT || code === 4403 || code === 4404) return this.give("Your session is over.", "Sign in again to go on.");
    this.state = "lost";
    const wait = RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)];
    this.failures += 1;
    this.retry = setTimeout(() => this.connect(), wait);
    this.show();
  }

  give(what, hint) {
    clearInterval(this.timer);
    this.state = "over";
    this.over = `${what} ${hint}`;
    this.show();
    say(this.over);
  }

  flush() {
    if (!this.reason && this.waiting.length && this.body.isConnected) {
      const rows = this.waiting.splice(0).slice(-ROWS_MAX).reverse();
      const fragment = document.createDocumentFragment();
      for (const event of rows) {
        if (!document.getElementById(`e-${event.event_id}`)) fragment.append(liveRow(event, this.format, address));
      }
      this.body.prepend(fragment);
      while (this.body.children.length > ROWS_MAX) {
        this.body.lastElementChild.remove();
        // What "Older" leads to no longer follows the last row.
        this.pager = null;
      }
    }
    this.show();
  }

  freeze(reason) {
    if (this.ended) return;
    this.reason = reason;
    this.show();
  }

  scrolled() {
    const top = this.body?.getBoundingClientRect().top ?? 0;
    if (top < 0 && !this.reason) this.freeze("you have scrolled down");
  }

  resume() {
    for (const row of document.querySelectorAll("tr.detail")) row.remove();
    for (const row of document.querySelectorAll("tr.event.open")) {
      row.classList.remove("open");
      row.querySelector(".opener").setAttribute("aria-expanded", "false");
    }
    getSelection()?.removeAllRanges();
    this.reason = null;
    this.bar.scrollIntoView({ block: "nearest" });
    this.flush();
    this.button.focus({ preventScroll: true });
  }

  show() {
    const state = this.state === "live" ? (this.reason ? "frozen" : "live") : "lost";
    const words = { connecting: "Connecting", live: this.reason ? "Paused" : "Live", lost: "Connection lost", over: "Live ended" };
    this.bar.dataset.state = state;
    text(this.bar, ".live-state", words[this.state]);
    text(this.bar, ".live-reason", this.over ?? (this.state === "lost" ? "trying again" : this.reason ? `because ${this.reason}` : "new events appear on top"));
    const counts = [];
    if (this.reason) counts.push(`${number(this.waiting.length)} waiting`);
    else counts.push(`${number(this.arrived)} arrived`);
    if (this.dropped) counts.push(`${number(this.dropped)} left out, find them with a search`);
    text(this.bar, ".live-counts", counts.join(" · "));
    this.bar.querySelector(".live-resume").hidden = !this.reason || this.state === "over";
    if (Date.now() - this.spokenAt >= SPOKEN_MS) {
      this.spokenAt = Date.now();
      say(`${words[this.state]}. ${counts.join(", ")}.`);
    }
  }

  end() {
    this.ended = true;
    clearInterval(this.timer);
    clearTimeout(this.retry);
    this.socket?.close();
    this.button.setAttribute("aria-pressed", "false");
    this.bar.hidden = true;
    if (this.pager) this.pager.hidden = false;
    say("Live is off.");
  }
}

function address(id) {
  const url = new URL(location.href);
  url.searchParams.set("open", id);
  url.hash = `e-${id}`;
  return url.href;
}

function number(count) {
  return count.toLocaleString("en");
}

function text(root, selector, value) {
  const target = root.querySelector(selector);
  if (target.textContent !== value) target.textContent = value;
}
