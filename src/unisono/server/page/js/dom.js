// Elements: found by id, or made. Text is always text: nothing that a model or a file says becomes HTML.

export const byId = (id) => document.getElementById(id);

// el("button", {class: "icon", onclick: f}, "Stop"): attributes that are functions are listeners.
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child != null && child !== false));
  return node;
}

// Says a sentence to screen readers, politely.
export function announce(words) {
  byId("announcer").textContent = words;
}

// The icon of a kind of medium, drawn with lines.
const SHAPES = {
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4",
  audio: "M4 10v4M8 7v10M12 4v16M16 7v10M20 10v4",
  video: "M4 6h11v12H4zM15 11l5-3v8l-5-3",
  text: "M5 6h14M5 10h14M5 14h14M5 18h8",
  page: "M6 3h9l4 4v14H6zM9 12h7M9 16h7",
  close: "M6 6l12 12M18 6L6 18",
};

export function icon(kind) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", SHAPES[kind] ?? SHAPES.text);
  svg.append(path);
  return svg;
}
