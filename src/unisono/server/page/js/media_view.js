// How pictures, sounds and videos look: as chips that can be taken away, or in a conversation.

import { el, icon } from "./dom.js";

// An element that shows a medium; `source` is a Blob or an address.
export function shown({ kind, name }, source) {
  const src = source instanceof Blob ? URL.createObjectURL(source) : source;
  if (kind === "image") return el("img", { src, alt: name, class: "medium", decoding: "async" });
  return el(kind, { src, controls: true, preload: "metadata", class: "medium", "aria-label": name });
}

// A small entry of a list of attachments.
export function chip(attachment, remove) {
  const { kind, name, blob } = attachment;
  const picture = kind === "image" && el("img", { src: URL.createObjectURL(blob), alt: "" });
  const button = el(
    "button",
    { type: "button", class: "icon", "aria-label": `Remove ${name}`, title: "Remove", onclick: remove },
    icon("close"),
  );
  return el("li", { class: "chip" }, picture || icon(kind), el("span", {}, name), button);
}
