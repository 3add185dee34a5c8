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

  // Browsers offer them over https and on localhost, and at no address in figures.
  const hasPasskeys = () =>
    window.isSecureContext && window.PublicKeyCredential && !/^[\d.]+$|^\[/.test(location.hostname);

  document.addEventListener("DOMContentLoaded", () => {
    for (const button of document.querySelectorAll("[data-theme-toggle], [data-copy], [data-needs-script]")) {
      button.hidden = false;
    }
    const there = hasPasskeys() ? "[data-needs-passkeys]" : "[data-lacks-passkeys]";
    for (const part of document.querySelectorAll(there)) part.hidden = false;
    show(stored());
    document.querySelector("[data-focus]")?.focus();
  });

  // Pages are written in UTC; readers live elsewhere. The title keeps UTC.
  const MOMENTS = {
    "time[data-local-time]": { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" },
    "time[data-local-second]": { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" },
    "time[data-local-day]": { day: "numeric", month: "short", year: "numeric" },
  };
  const showLocalTimes = (place) => {
    for (const [which, parts] of Object.entries(MOMENTS)) {
      const format = new Intl.DateTimeFormat("en-GB", parts);
      for (const time of place.querySelectorAll(which)) {
        time.textContent = format.format(new Date(time.dateTime));
      }
    }
  };
  document.addEventListener("DOMContentLoaded", () => {
    showLocalTimes(document);
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    for (const note of document.querySelectorAll("[data-zone]")) note.textContent = `times are ${zone}`;
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

  // The admin's filters are menus as well.
  const OPEN_MENU = ":is(details.menu, #changelist-filter details)[open]";

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
    for (const menu of document.querySelectorAll(OPEN_MENU)) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = document.querySelector(OPEN_MENU);
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // Whether a string looks like a token, as tokens/format.py computes it.
  const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const checksum = (text) => {
    let crc = 0xffffffff;
    for (const sign of text) {
      crc ^= sign.charCodeAt(0);
      for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
    }
    let number = (crc ^ 0xffffffff) >>> 0;
    let digits = "";
    for (let place = 0; place < 6; place++) {
      digits = DIGITS[number % 62] + digits;
      number = Math.floor(number / 62);
    }
    return digits;
  };
  const recognise = (text, prefix) => {
    const isForm = /^[a-z][a-z0-9]{0,15}_[0-9A-Za-z]{12}_[0-9A-Za-z]{60}$/.test(text);
    const isOfHub = text.startsWith(`${prefix}_`);
    if (isForm && checksum(text.slice(0, -6)) === text.slice(-6)) return isOfHub ? "ours" : "other-prefix";
    return isForm || isOfHub ? "damaged" : "unknown";
  };
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("[data-token-check]");
    if (!form || "reports" in (event.submitter?.dataset ?? {})) return;
    event.preventDefault();
    const text = form.querySelector("[data-token-found]").value.trim();
    const found = recognise(text, form.dataset.prefix);
    for (const result of form.querySelectorAll("[data-result]")) result.hidden = result.dataset.result !== found;
  });

  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });

  // What allauth's script for keys only writes to the console.
  const KEY_PROBLEMS = {
    NotAllowedError: "No key was used: it was cancelled, it took too long, or none fits.",
    InvalidStateError: "You have added this key already.",
    ConstraintError: "This key can't sign you in without a password.",
    SecurityError: "Browsers use keys only at an address with a name, over https.",
  };
  document.addEventListener("allauth.error", (event) => {
    const { name } = event.detail.exception;
    if (name in KEY_PROBLEMS) event.preventDefault();
    document.querySelector("[data-key-problem]")?.remove();
    const line = document.createElement("p");
    line.className = "notice notice-error";
    line.dataset.keyProblem = "";
    line.setAttribute("role", "alert");
    line.textContent = KEY_PROBLEMS[name] ?? "That failed. Try again in a moment.";
    document.querySelector(".messages").after(line);
  });

  // A start, told by the API as it comes along. Whatever its end is, this page's
  // address leads on from there.
  const follow = (card) => {
    const bar = card.querySelector("progress");
    const message = card.querySelector("[data-start-message]");
    const log = card.querySelector("[data-start-log]");
    const proof = encodeURIComponent(card.querySelector("[name=_xsrf]").value);
    const source = new EventSource(`${card.dataset.start}?_xsrf=${proof}`);
    // Each connection is told everything from the beginning.
    source.onopen = () => log.replaceChildren();
    // Markup is cleaned by the hub, so it is taken from the page, not from the stream.
    let reading;
    const readMarkup = async () => {
      if (reading) return;
      reading = true;
      await new Promise((resolve) => setTimeout(resolve, 300));
      reading = false;
      try {
        const there = await read(location.href);
        const lines = there.querySelector("[data-start-log]");
        if (!lines || !card.isConnected) return;
        log.replaceChildren(...lines.childNodes);
        message.replaceChildren(...there.querySelector("[data-start-message]").childNodes);
      } catch {
        // The hub is away; what the stream says stands as text.
      }
    };
    source.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.progress !== undefined) bar.value = event.progress;
      if (event.html_message && !event.ready && !event.failed) readMarkup();
      // The page that follows says why a start failed.
      if (event.message && !event.failed) {
        if (message.textContent !== event.message) message.textContent = event.message;
        const line = document.createElement("li");
        line.className = "break";
        line.textContent = event.message;
        log.append(line);
      }
      if (event.ready || event.failed) {
        source.close();
        // Of two windows that sign in to one server at the very same moment, the
        // server refuses one. So those that nobody looks at come a little later.
        setTimeout(() => location.reload(), document.hidden ? 1500 : 0);
      }
    };
    // Who cancels it goes elsewhere, and must not be called back by its end.
    card.addEventListener("submit", () => source.close());
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 2000);
    };
  };

  const read = async (address) => {
    // On the way back browsers take what they kept, unless they are told not to.
    const proof = document.querySelector("[name=_xsrf]")?.value ?? "";
    const headers = { Accept: "text/html", "X-XSRFToken": proof };
    const how = { headers, cache: "no-store" };
    const response = await fetch(address, how);
    if (response.redirected) location.reload();
    return new DOMParser().parseFromString(await response.text(), "text/html");
  };

  // A page that waits for something to end, and then is another.
  const lookAgain = (seconds) => {
    setTimeout(async () => {
      try {
        const there = await read(location.href);
        if (there.title !== document.title) return location.reload();
      } catch {
        // The hub is away; it may be back the next time.
      }
      lookAgain(seconds);
    }, seconds * 1000);
  };

  // Home shows how servers are now: looked at while one moves, and on coming back.
  const states = (place) => {
    const found = new Map();
    for (const part of place.querySelectorAll("[data-server]")) {
      found.set(part.dataset.called, part.querySelector(".badge")?.textContent);
    }
    return found;
  };

  let looking;
  const refresh = async () => {
    clearTimeout(looking);
    const old = document.querySelector("[data-live]");
    try {
      const page = await read(location.href);
      const there = page.querySelector("[data-live]");
      if (!there) return location.reload();
      showLocalTimes(page);
      for (const part of document.querySelectorAll("[data-live-part]")) {
        const now = page.getElementById(part.id);
        if (now) part.replaceWith(now);
      }
      const before = states(old);
      const focused = old.contains(document.activeElement) ? document.activeElement : null;
      const part = focused?.closest("[data-server]")?.dataset.server;
      // What is being typed stays.
      const typed = old.querySelector(".add");
      const empty = there.querySelector(".add");
      if (typed && empty) empty.replaceWith(typed);
      old.replaceWith(there);
      if (focused?.isConnected) focused.focus();
      else if (part !== undefined) {
        there.querySelector(`[data-server="${CSS.escape(part)}"]`)?.querySelector("a, button")?.focus();
      }
      const news = [...states(there)].filter(([name, state]) => before.get(name) !== state);
      if (news.length) announce(news.map(([name, state]) => `${name}: ${state}`).join(", "));
    } catch {
      // As above.
    }
    watch();
  };
  const watch = () => {
    if (document.querySelector("[data-live][data-moving]")) looking = setTimeout(refresh, 1500);
  };

  document.addEventListener("DOMContentLoaded", () => {
    const start = document.querySelector("[data-start]");
    if (start) follow(start);
    const waits = document.querySelector("[data-look-again]");
    if (waits) lookAgain(Number(waits.dataset.lookAgain));
    const goes = document.querySelector("[data-go]");
    if (goes) setTimeout(() => location.assign(goes.dataset.go), goes.dataset.goAfter * 1000);
    // Who comes back may be shown how it was.
    const [came] = performance.getEntriesByType("navigation");
    if (came?.type === "back_forward" && document.querySelector("[data-live]")) refresh();
    else watch();
  });

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && document.querySelector("[data-live]")) refresh();
  });

  // What takes a moment shows that it was begun, and is not begun twice.
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || !event.target.matches("[data-takes-a-moment]")) return;
    if (event.target.dataset.takesAMoment) event.preventDefault();
    event.target.dataset.takesAMoment = "begun";
    event.submitter?.setAttribute("aria-busy", "true");
  });
  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    for (const form of document.querySelectorAll("[data-takes-a-moment]")) {
      form.dataset.takesAMoment = "";
      form.querySelector("[aria-busy]")?.removeAttribute("aria-busy");
    }
    if (document.querySelector("[data-live]")) refresh();
  });
})();
