// The camera: a viewfinder and one picture. It is off as soon as the dialog is closed.

import { byId } from "./dom.js";
import { openDevice } from "./microphone.js";

const WORDS = {
  denied: "The page may not use the camera. Allow it in the browser's address bar.",
  absent: "No camera was found.",
  insecure: "Browsers allow the camera on https or localhost only.",
};

export function setUpCamera({ taken, complain }) {
  const dialog = byId("snapshot");
  const finder = byId("viewfinder");
  byId("camera").addEventListener("click", () => open(finder, dialog).catch((error) => complain(error.message)));
  byId("snapshot-cancel").addEventListener("click", () => dialog.close());
  byId("shutter").addEventListener("click", async () => {
    if (!finder.videoWidth) return; // no picture has come yet
    const file = await picture(finder);
    dialog.close();
    taken(file);
  });
  dialog.addEventListener("close", () => {
    finder.srcObject?.getTracks().forEach((track) => track.stop());
    finder.srcObject = null;
  });
}

async function open(finder, dialog) {
  const video = { facingMode: "environment", width: { ideal: 1280 } };
  finder.srcObject = await openDevice({ video }, WORDS);
  dialog.showModal();
  byId("shutter").focus();
}

async function picture(finder) {
  const canvas = new OffscreenCanvas(finder.videoWidth, finder.videoHeight);
  canvas.getContext("2d").drawImage(finder, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  return new File([blob], "snapshot.jpg", { type: blob.type });
}
