// Small comforts. Every page works without this file.
"use strict";

// A fragment that says "sign in" sends the whole page there.
document.addEventListener("htmx:after:request", (event) => {
  const response = event.detail && event.detail.ctx && event.detail.ctx.response;
  if (response && response.status === 401) {
    location.assign("/sign-in?next=" + encodeURIComponent(location.pathname));
  }
});

// Errors of a page that refreshes itself are not content.
document.addEventListener("htmx:before:swap", (event) => {
  const response = event.detail && event.detail.ctx && event.detail.ctx.response;
  if (response && response.status >= 400) {
    event.preventDefault();
  }
});
