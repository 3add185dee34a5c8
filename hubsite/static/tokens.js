// The pages about tokens. Everything also works without this script, with one more step.
(() => {
  "use strict";

  const page = document.querySelector("main");

  // The list: select all tokens of the page.
  page.addEventListener("change", (event) => {
    if (!event.target.matches("[data-select-all]")) return;
    const form = event.target.closest("form");
    for (const box of form.querySelectorAll('[name="token"]')) box.checked = event.target.checked;
  });

  const form = document.getElementById("new-token");
  if (!form) return;

  // A scope contains others: these are shown as selected, and can't be unselected.
  const boxes = [...form.querySelectorAll('[name="scopes"]')];
  const markContained = () => {
    const contained = new Set();
    for (const box of boxes) {
      if (box.checked && !box.dataset.contained) {
        for (const scope of (box.dataset.contains ?? "").split(" ")) contained.add(scope);
      }
    }
    for (const box of boxes) {
      if (contained.has(box.value)) {
        if (!box.dataset.contained) box.dataset.contained = box.checked ? "chosen" : "added";
        box.checked = true;
        box.disabled = true;
      } else if (box.dataset.contained) {
        box.checked = box.dataset.contained === "chosen";
        box.disabled = false;
        delete box.dataset.contained;
      }
    }
  };

  // Search in the names and descriptions of scopes.
  const search = form.querySelector("[data-scope-search]");
  const showMatches = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const group of form.querySelectorAll(".picker > details")) {
      let matches = 0;
      for (const label of group.querySelectorAll(".check")) {
        const text = label.textContent.toLowerCase();
        const shown = words.every((word) => text.includes(word));
        label.hidden = !shown;
        matches += shown ? 1 : 0;
      }
      group.hidden = matches === 0;
      group.open = words.length > 0 ? matches > 0 : group.querySelector(":checked") !== null;
    }
  };
  search.addEventListener("input", showMatches);

  // Add a scope with a filter to the written ones.
  form.querySelector("[data-add-scope]").addEventListener("click", (event) => {
    const value = form.filtered_value.value.trim();
    if (!value || /[\s,]/.test(value)) return;
    event.preventDefault();
    const scope = `${form.filtered_name.value}!${form.filtered_kind.value}=${value}`;
    const written = form.more_scopes.value.split(/[\s,]+/).filter(Boolean);
    if (!written.includes(scope)) written.push(scope);
    form.more_scopes.value = written.join(" ");
    form.filtered_value.value = "";
    form.filtered_value.focus();
    schedulePreview();
  });

  // Suggest names while typing.
  const suggest = async (input) => {
    const kind = input.dataset.suggest ?? form.querySelector(input.dataset.suggestKind).value;
    const query = new URLSearchParams({ kind, q: input.value });
    try {
      const headers = { Accept: "application/json", "X-XSRFToken": form.querySelector("[name=_xsrf]").value };
      const response = await fetch(`${form.action}/names?${query}`, { headers });
      if (!response.ok) return;
      const { names } = await response.json();
      const options = names.map((name) => {
        const option = document.createElement("option");
        option.value = name;
        return option;
      });
      document.getElementById(input.getAttribute("list")).replaceChildren(...options);
    } catch {
      // Without the hub there are no suggestions; the name can be typed.
    }
  };
  let typing;
  for (const input of form.querySelectorAll("[data-suggest], [data-suggest-kind]")) {
    const later = () => {
      clearTimeout(typing);
      typing = setTimeout(() => suggest(input), 200);
    };
    input.addEventListener("input", later);
    input.addEventListener("focus", later);
    // Names of the other kind are no suggestions.
    if (input.dataset.suggestKind) form.querySelector(input.dataset.suggestKind).addEventListener("change", later);
  }

  // Show the operations that the token could call, after each change.
  let previewing;
  let latest = 0;
  const preview = async () => {
    const number = ++latest;
    const place = document.getElementById("operations");
    const data = new FormData(form);
    data.set("step", "preview");
    try {
      const response = await fetch(form.action, { method: "POST", body: new URLSearchParams(data), headers: { Accept: "text/html" } });
      if (number !== latest) return;
      const there = new DOMParser().parseFromString(await response.text(), "text/html");
      const list = there.getElementById("operations");
      const button = list?.querySelector("[data-preview-button]");
      if (button) button.hidden = true;
      const open = [...place.querySelectorAll("details[open] summary")].map((summary) => summary.textContent);
      if (response.ok && list) {
        for (const details of list.querySelectorAll("details")) {
          details.open = open.includes(details.querySelector("summary").textContent);
        }
        place.replaceWith(list);
      } else {
        const errors = [...there.querySelectorAll("#new-token .error-text")].map((error) => error.textContent);
        const words = document.createElement("p");
        words.textContent = `Nothing yet. ${errors.join(" ")}`;
        words.setAttribute("aria-live", "polite");
        for (const old of place.querySelectorAll("p:not(.actions), details")) old.remove();
        place.querySelector("h2").after(words);
      }
    } catch {
      // Without the hub the list stays as it was.
    }
  };
  form.querySelector("[data-preview-button]").hidden = true;
  const schedulePreview = () => {
    clearTimeout(previewing);
    previewing = setTimeout(preview, 300);
  };
  form.addEventListener("change", (event) => {
    if (event.target.name === "scopes") markContained();
    if (["scopes", "permissions", "more_scopes", "group"].includes(event.target.name)) schedulePreview();
  });
  markContained();
  preview();
})();
