// Conveniences. Every page works without them.
"use strict";

// Copy buttons are hidden until there is a script that can serve them.
async function copyText(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text);
  }
  // Pages that came over plain HTTP have no clipboard interface.
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "offscreen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) {
    throw new Error("copy refused");
  }
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  const label = button.querySelector("span");
  const before = label ? label.textContent : "";
  button.addEventListener("click", async () => {
    let outcome = "Copied";
    try {
      await copyText(button.dataset.copy);
    } catch {
      outcome = "Select and copy by hand";
    }
    if (label) {
      label.textContent = outcome;
    }
    button.classList.add("done");
    setTimeout(() => {
      button.classList.remove("done");
      if (label) {
        label.textContent = before;
      }
    }, 1600);
  });
}

// A slash goes to the search box, as on many sites.
document.addEventListener("keydown", (event) => {
  const search = document.querySelector("input[type=search]");
  if (event.key !== "/" || !search || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  }
  if (event.target.closest("input, textarea, select")) {
    return;
  }
  event.preventDefault();
  search.focus();
  search.select();
});

// A menu closes when one turns elsewhere.
const menu = document.querySelector("details.menu");
if (menu) {
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) {
      menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && menu.open) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
}

// A form is sent once, however often its button is pressed.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
  });
}
// Going back shows the page as it was; its forms may be sent again.
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
  }
});
