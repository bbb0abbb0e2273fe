// The browser's half of presentation/text.py: the same characters are made visible in rows that arrive live.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufe00-\ufe0e\u{e0100}-\u{e01ef}]/u;
const MARKER = /\[(REDACTED|UNKNOWN_USER):([A-Za-z0-9_.-]{1,64})\]/g;
const CELL_CHARS_MAX = 120;

export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

export function visible(value, max = CELL_CHARS_MAX) {
  const characters = [...String(value)];
  const shown = characters.slice(0, max).join("");
  const out = document.createElement("bdi");
  let at = 0;
  for (const match of shown.matchAll(MARKER)) {
    badged(shown.slice(at, match.index), out);
    const mark = element("mark", "redacted", match[1] === "REDACTED" ? "redacted " : "unknown user ", element("b", "", match[2]));
    mark.title = match[0];
    out.append(mark);
    at = match.index + match[0].length;
  }
  badged(shown.slice(at), out);
  const left = characters.length - max;
  if (left > 0) out.append(element("span", "cut", `… ${left.toLocaleString("en")} more characters`));
  return out;
}

function badged(text, out) {
  let run = "";
  for (const character of text) {
    if (!HIDDEN.test(character)) {
      run += character;
      continue;
    }
    out.append(run);
    run = "";
    const code = `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
    out.append(element("span", "cp", code));
  }
  out.append(run);
}
