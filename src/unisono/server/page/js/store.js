// Keeps the conversation over a reload: in this browser only, and for this tab.

const NAME = "unisono";
const STORE = "conversations";
const TAB = "unisono.conversation";
const KEPT_MS = 24 * 3600 * 1000; // those of tabs that were closed are then forgotten

const tab = sessionStorage.getItem(TAB) ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
sessionStorage.setItem(TAB, tab);

export async function load() {
  const store = await objects("readwrite");
  const before = Date.now() - KEPT_MS;
  store.openCursor().addEventListener("success", ({ target: { result: cursor } }) => {
    if (!cursor) return;
    if (cursor.key !== tab && cursor.value.saved < before) cursor.delete();
    cursor.continue();
  });
  return (await done(store.get(tab)))?.turns ?? [];
}

export async function save(turns) {
  const store = await objects("readwrite");
  await done(turns.length ? store.put({ turns, saved: Date.now() }, tab) : store.delete(tab));
}

let opened;

async function objects(mode) {
  opened ??= open();
  return (await opened).transaction(STORE, mode).objectStore(STORE);
}

function open() {
  const asked = indexedDB.open(NAME, 1);
  asked.addEventListener("upgradeneeded", () => asked.result.createObjectStore(STORE));
  return done(asked);
}

function done(asked) {
  return new Promise((resolve, reject) => {
    asked.addEventListener("success", () => resolve(asked.result));
    asked.addEventListener("error", () => reject(asked.error));
  });
}
