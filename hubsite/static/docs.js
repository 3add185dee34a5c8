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

  SwaggerUIBundle({
    url: place.dataset.description,
    domNode: place,
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    // Links for each operation would stand inside buttons, where keyboards and
    // screen readers can't tell the two apart.
    deepLinking: false,
    requestInterceptor: (request) => {
      if (new URL(request.url, location.href).origin === location.origin) {
        request.headers["X-XSRFToken"] = place.dataset.xsrf;
      }
      return request;
    },
  });
})();
