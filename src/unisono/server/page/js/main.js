// Puts the page together.

import { setUpCamera } from "./camera.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { announce, byId, el } from "./dom.js";
import { setUpDrops } from "./drops.js";
import { Search } from "./search.js";
import { ServerState } from "./server_state.js";
import { keep, settings, setUpSettings } from "./settings.js";
import { Tabs } from "./tabs.js";
import { Talk } from "./talk.js";
import { Thread } from "./thread.js";
import { VoiceInput } from "./voice_input.js";

const FAULT_MS = 8000;

const server = new ServerState();
const mostBytes = () => server.mostBytes;
const tabs = new Tabs();
const thread = new Thread();
const conversation = new Conversation();
const talk = new Talk({ conversation, thread, mostBytes });
const composer = new Composer({ ask: (text, media) => talk.ask(text, media), mostBytes, complain });
const voice = new VoiceInput({
  began: () => talk.stop(),
  spoken: (blob) => composer.send({ kind: "audio", name: "Your question, spoken", blob, spoken: true }),
  complain,
});
const search = new Search({
  attach(files) {
    tabs.choose("tab-talk");
    return composer.attach(files);
  },
});

// A sentence above the composer that goes away by itself.
function complain(words) {
  const note = el("p", { class: "fault passing", role: "alert" }, words);
  byId("composer").before(note);
  setTimeout(() => note.remove(), FAULT_MS);
}

function showAbout({ library }) {
  const note = "This server has no library. Start it with: unisono serve --library FOLDER";
  if (!library) byId("search-note").textContent = note;
  for (const control of byId("finder").elements) control.disabled = !library;
}

function showSpeak() {
  byId("speak").setAttribute("aria-pressed", settings.speak);
}

byId("speak").addEventListener("click", () => {
  keep({ speak: !settings.speak });
  showSpeak();
  announce(settings.speak ? "Answers are spoken." : "Answers are not spoken.");
});
byId("model").addEventListener("change", ({ target }) => keep({ model: target.value }));
byId("clear").addEventListener("click", () => {
  talk.stop();
  conversation.clear();
  talk.restore();
  announce("A new conversation.");
  byId("question").focus();
});
for (const idea of document.querySelectorAll("[data-idea]")) {
  idea.addEventListener("click", () => talk.ask(idea.dataset.idea, []));
}
byId("idea-picture").addEventListener("click", () => byId("files").click());
window.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape" || document.querySelector("dialog[open]")) return;
  if (voice.recording) voice.cancel();
  talk.stop();
});
window.addEventListener("pagehide", () => conversation.save());

setUpSettings(() => server.follow(showAbout));
setUpCamera({ taken: (file) => composer.attach([file]), complain });
setUpDrops((files) => (tabs.chosen === "tab-talk" ? composer.attach(files) : search.like(files)));
showSpeak();
await conversation.restore();
talk.restore();
server.follow(showAbout);
