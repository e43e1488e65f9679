// Tabs as the ARIA practices describe them: arrows change, only the chosen one is in the tab order.

export class Tabs {
  #tabs = [...document.querySelectorAll("[role=tab]")];

  constructor() {
    for (const tab of this.#tabs) tab.addEventListener("click", () => this.choose(tab.id));
    const [list] = document.querySelectorAll("[role=tablist]");
    list.addEventListener("keydown", ({ key }) => {
      if (key !== "ArrowLeft" && key !== "ArrowRight") return;
      const other = this.#tabs.find(({ id }) => id !== this.chosen);
      this.choose(other.id);
      other.focus();
    });
  }

  get chosen() {
    return this.#tabs.find((tab) => tab.ariaSelected === "true").id;
  }

  choose(id) {
    for (const tab of this.#tabs) {
      const on = tab.id === id;
      tab.ariaSelected = on;
      tab.tabIndex = on ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !on;
    }
  }
}
