// Files dropped or pasted anywhere on the page.

import { byId } from "./dom.js";

export function setUpDrops(received) {
  const zone = byId("dropzone");
  let depth = 0; // enter and leave come for every element on the way
  const show = (change) => {
    depth = Math.max(0, depth + change);
    zone.hidden = depth === 0;
  };
  const ofFiles = (then) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    then(event);
  };
  window.addEventListener("dragenter", ofFiles(() => show(+1)));
  window.addEventListener("dragleave", ofFiles(() => show(-1)));
  window.addEventListener("dragover", ofFiles(() => {}));
  window.addEventListener(
    "drop",
    ofFiles(({ dataTransfer }) => {
      show(-Infinity);
      received([...dataTransfer.files]);
    }),
  );
  window.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    received(files);
  });
}
