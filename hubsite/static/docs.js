// Starts Swagger UI for the description that the page names. Calls go out with the
// session of whoever looks at the page, and with the proof that this page sent them.
(() => {
  "use strict";

  const place = document.getElementById("swagger-ui");

  // Swagger names some of its parts not at all, or otherwise than they read, and lets
  // no key into code that scrolls.
  new MutationObserver(() => {
    for (const choice of place.querySelectorAll("[data-param-name] select")) {
      choice.ariaLabel = choice.closest("[data-param-name]").dataset.paramName;
    }
    for (const code of place.querySelectorAll("pre.microlight")) code.tabIndex = 0;
    for (const button of place.querySelectorAll(".modal-btn")) button.removeAttribute("aria-label");
    const close = place.querySelector(".close-modal");
    if (close) close.ariaLabel = "Close";
  }).observe(place, { childList: true, subtree: true });

  // What a call from this page carries in the place of a token: the session of the
  // person who looks at it does the work. Commands to copy name it as well.
  const OF_SESSION = "token $TOKEN";

  // For a shell: what is in double quotes is expanded, so that a secret stays in the
  // variable TOKEN and out of the shell's history.
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const commandFor = (request) => {
    const lines = [`curl -X ${request.get("method")} ${quoted(request.get("url"))}`];
    lines.push('-H "Authorization: token $TOKEN"');
    for (const [name, value] of request.get("headers")?.entries() ?? []) {
      if (!/^(authorization|x-xsrftoken)$/i.test(name)) lines.push(`-H ${quoted(`${name}: ${value}`)}`);
    }
    const body = request.get("body");
    if (body) lines.push(`-d ${quoted(typeof body === "string" ? body : JSON.stringify(body))}`);
    return lines.join(" \\\n  ");
  };
  const CommandsWithTokens = ({ React }) => ({
    components: {
      curl: ({ request }) =>
        React.createElement(
          "div",
          { className: "curl-command" },
          React.createElement("h4", null, "Curl"),
          React.createElement("pre", { className: "curl microlight", tabIndex: 0 }, commandFor(request)),
        ),
    },
  });

  const explorer = SwaggerUIBundle({
    url: place.dataset.description,
    domNode: place,
    presets: [SwaggerUIBundle.presets.apis],
    plugins: [CommandsWithTokens],
    layout: "BaseLayout",
    // Links for each operation would stand inside buttons, where keyboards and
    // screen readers can't tell the two apart.
    deepLinking: false,
    onComplete: () => {
      if (place.dataset.signedIn) explorer.preauthorizeApiKey("token", OF_SESSION);
    },
    requestInterceptor: (request) => {
      if (request.headers.Authorization === OF_SESSION) delete request.headers.Authorization;
      if (new URL(request.url, location.href).origin === location.origin) {
        request.headers["X-XSRFToken"] = place.dataset.xsrf;
      }
      return request;
    },
  });
})();
