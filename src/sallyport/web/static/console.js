// Small comforts. Every page works without this file.
"use strict";

// A stream that says "sign in" sends the whole page there (fragments do it by themselves, with HX-Redirect).
document.addEventListener("htmx:sse:error", (event) => {
  if (event.detail && event.detail.status === 401) {
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

// A page that is only a step on the way to the identity provider, or back.
const onward = document.querySelector("form[data-sends-itself]");
if (onward) {
  onward.submit();
}
