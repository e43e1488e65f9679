// What a person chose, kept as long as the tab: key, voice, model, who the model is.

import { byId } from "./dom.js";

const PLACE = "unisono.settings";
const DEFAULTS = { key: "", voice: "", system: "", longest: "", model: "", speak: true };

export const settings = { ...DEFAULTS, ...stored() };

export function keep(changes) {
  Object.assign(settings, changes);
  sessionStorage.setItem(PLACE, JSON.stringify(settings));
}

// The dialog; `changed` is called after each time that something was kept.
export function setUpSettings(changed) {
  const dialog = byId("settings");
  const form = byId("settings-form");
  byId("open-settings").addEventListener("click", () => openSettings());
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "keep") return;
    const given = Object.fromEntries(new FormData(form));
    keep(Object.fromEntries(Object.entries(given).map(([name, value]) => [name, value.trim()])));
    changed();
  });
}

export function openSettings(field) {
  const dialog = byId("settings");
  const form = byId("settings-form");
  for (const input of form.elements) if (input.name) input.value = settings[input.name];
  dialog.returnValue = "";
  dialog.showModal();
  if (field) form.elements[field].focus();
}

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(PLACE)) ?? {};
  } catch {
    return {};
  }
}
