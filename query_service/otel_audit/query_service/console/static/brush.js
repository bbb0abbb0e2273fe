// Dragging over the histogram narrows the page to those buckets at once; a click on one bar is a plain link.
const DRAG_PX = 4;

export function startBrush({ go }) {
  let drag = null;

  document.addEventListener("pointerdown", (event) => {
    const plot = event.target.closest?.(".plot");
    if (plot && !event.button) drag = { plot, from: event.clientX, to: event.clientX };
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag) return;
    drag.to = event.clientX;
    const box = drag.plot.getBoundingClientRect();
    const left = Math.max(Math.min(drag.from, drag.to), box.left) - box.left;
    const right = Math.min(Math.max(drag.from, drag.to), box.right) - box.left;
    const brush = drag.plot.querySelector(".brush");
    const on = Math.abs(drag.to - drag.from) > DRAG_PX;
    brush.setAttribute("x", on ? left : 0);
    brush.setAttribute("width", on ? Math.max(right - left, 0) : 0);
  });
  document.addEventListener("dragstart", (event) => event.target.closest?.(".plot") && event.preventDefault());
  addEventListener("pointercancel", () => (drag = null));
  document.addEventListener("pointerup", () => {
    if (!drag || Math.abs(drag.to - drag.from) <= DRAG_PX) {
      drag = null;
      return;
    }
    const [low, high] = [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)];
    const chosen = [...drag.plot.querySelectorAll(".bar")].filter((bar) => {
      const slot = bar.querySelector(".slot").getBoundingClientRect();
      return slot.right > low && slot.left < high;
    });
    const template = drag.plot.dataset.brush;
    drag = null;
    // The click that follows a drag belongs to the drag.
    addEventListener("click", (click) => (click.preventDefault(), click.stopPropagation()), { capture: true, once: true });
    setTimeout(() => dispatchEvent(new Event("click")), 0);
    if (chosen.length) {
      const url = new URL(template, location.href);
      url.searchParams.set("from", chosen[0].dataset.start);
      url.searchParams.set("to", chosen.at(-1).dataset.end);
      go(url.href);
    }
  });
}
