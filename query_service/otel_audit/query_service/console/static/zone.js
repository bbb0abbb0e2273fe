// UTC or the reader's own zone. The zone is in the link, so whoever gets the link sees the same times.
export function startZone() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("[data-tz]");
    if (!link) return;
    event.preventDefault();
    toZone(link.dataset.tz);
  });
}

export function toZone(name) {
  const url = new URL(location.href);
  const zone = name === "local" ? Intl.DateTimeFormat().resolvedOptions().timeZone : name;
  if (zone) url.searchParams.set("tz", zone);
  else url.searchParams.delete("tz");
  location.assign(url);
}

export function toggleZone() {
  toZone(new URL(location.href).searchParams.has("tz") ? "" : "local");
}
