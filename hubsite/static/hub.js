// Comfort only: every page works without this file. It runs in the head, so that the
// chosen colours are there before the first paint; the rest listens on the document.
(() => {
  "use strict";

  const root = document.documentElement;
  const THEMES = ["auto", "light", "dark"];
  const WORDS = { auto: "as the system", light: "light", dark: "dark" };

  // The admin keeps its choice under the same key.
  const stored = () => {
    try {
      const theme = localStorage.getItem("theme");
      return THEMES.includes(theme) ? theme : "auto";
    } catch {
      return "auto";
    }
  };

  const show = (theme) => {
    if (theme === "auto") root.removeAttribute("data-theme");
    else root.dataset.theme = theme;
    for (const label of document.querySelectorAll("[data-theme-label]")) {
      label.textContent = `Colours: ${WORDS[theme]}`;
    }
  };

  show(stored());

  document.addEventListener("DOMContentLoaded", () => {
    for (const button of document.querySelectorAll("[data-theme-toggle], [data-copy]")) {
      button.hidden = false;
    }
    if (window.PublicKeyCredential) {
      for (const part of document.querySelectorAll("[data-needs-passkeys]")) {
        part.hidden = false;
      }
    }
    show(stored());
    document.querySelector("[data-focus]")?.focus();
  });

  const announce = (text) => {
    const place = document.querySelector(".messages") ?? document.body;
    let line = document.querySelector("[data-announcement]");
    if (!line) {
      line = document.createElement("p");
      line.className = "sr";
      line.dataset.announcement = "";
      place.append(line);
    }
    line.textContent = text;
  };

  const copy = async (button) => {
    const source = document.querySelector(button.dataset.copy);
    const text = source.value ?? source.textContent;
    try {
      await navigator.clipboard.writeText(text.trim());
    } catch {
      // Without https the clipboard is closed to scripts, but not to people.
      if (source.select) source.select();
      else window.getSelection().selectAllChildren(source);
      announce("Selected. Press Ctrl+C to copy.");
      return;
    }
    button.dataset.label ??= button.textContent;
    button.textContent = "Copied";
    announce("Copied to the clipboard.");
    setTimeout(() => (button.textContent = button.dataset.label), 2000);
  };

  document.addEventListener("click", (event) => {
    const toggle = event.target.closest("[data-theme-toggle]");
    if (toggle) {
      const next = THEMES[(THEMES.indexOf(stored()) + 1) % THEMES.length];
      try {
        localStorage.setItem("theme", next);
      } catch {
        // A browser without storage keeps the choice for this page.
      }
      show(next);
      announce(`Colours: ${WORDS[next]}`);
    }
    const button = event.target.closest("[data-copy]");
    if (button) copy(button);
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = document.querySelector("details.menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });
})();
