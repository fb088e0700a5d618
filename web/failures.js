/**
 * A toast with the whole sentence when one of our nodes fails, or is refused at queueing.
 *
 * The page's own message is a dialog in older versions and leaves the sentence behind a button in newer ones. Ours says
 * at once what happened and what to do; an address of WeShop in it can be clicked, such as that of the page for keys.
 */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { NODE_NAMES } from "./names.js";

const ADDRESS = /https:\/\/open\.weshop\.ai\/[\w\-/]*/;
const RENDERING_MILLISECONDS = 3000;
const MOST_LEVELS = 8;
const LOOK_MILLISECONDS = 200;

let hide = () => {};

function show(summary, text) {
  hide();
  if (ADDRESS.test(text)) {
    linkOnceRendered(summary);
  }
  hide = add(app.extensionManager.toast, summary, text);
}

/** Show a message until somebody closes it; the way to take it away again. Pages differ in how that is said. */
function add(toast, summary, text) {
  if (toast.error && toast.dismiss) {
    const id = toast.error(summary, { description: text, closable: true, duration: Infinity });
    return () => toast.dismiss(id);
  }
  const message = { severity: "error", summary, detail: text };
  toast.add(message);
  return () => toast.remove?.(message);
}

/** The page shows the text of a toast as it is, so the link is made when it has appeared. */
function linkOnceRendered(summary) {
  const observer = new MutationObserver((changes) => {
    const added = changes.flatMap((change) => [...change.addedNodes]);
    if (added.some((root) => link(root, summary))) {
      observer.disconnect();
    }
  });
  observer.observe(document.body, { childList: true, subtree: true });
  setTimeout(() => observer.disconnect(), RENDERING_MILLISECONDS);
}

/** Turn the address below a heading `summary` into a link. How a toast is built differs from page to page. */
function link(root, summary) {
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const found = ADDRESS.exec(text.data);
    if (found && isVisible(text.parentElement) && isBelow(text, summary)) {
      const address = text.splitText(found.index);
      address.splitText(found[0].length);
      const anchor = document.createElement("a");
      Object.assign(anchor, { href: found[0], target: "_blank", rel: "noopener noreferrer", textContent: found[0] });
      Object.assign(anchor.style, { textDecoration: "underline", overflowWrap: "anywhere", pointerEvents: "auto" });
      address.replaceWith(anchor);
      return true;
    }
  }
  return false;
}

/** Newer pages keep a second, invisible copy for screen readers. */
function isVisible(element) {
  return !element.closest(".sr-only") && element.getBoundingClientRect().width > 1;
}

function isBelow(text, summary) {
  let around = text.parentElement;
  for (let level = 0; around && level < MOST_LEVELS; level++, around = around.parentElement) {
    if (around.textContent.trim().startsWith(summary)) {
      return true;
    }
  }
  return false;
}

function onFailure({ detail }) {
  const name = NODE_NAMES[detail?.node_type];
  const text = detail?.exception_message?.trim();
  if (name && text) {
    show(`${name} failed`, text);
  }
}

/** The host repeats a sentence for every input that took part in the check. */
function onRefusal(nodeErrors) {
  for (const { class_type: type, errors } of Object.values(nodeErrors ?? {})) {
    const ours = (errors ?? []).filter((error) => error.type === "custom_validation_failed");
    if (type in NODE_NAMES && ours.length) {
      show(`${NODE_NAMES[type]} was not queued`, ours[0].details.replace(/^\w+ - /, ""));
      return;
    }
  }
}

/** The page keeps what was refused last, and tells nobody: so we look. Nothing of the page is replaced for it. */
function watchRefusals() {
  let seen = app.lastNodeErrors;
  setInterval(() => {
    if (app.lastNodeErrors !== seen) {
      seen = app.lastNodeErrors;
      onRefusal(seen);
    }
  }, LOOK_MILLISECONDS);
}

app.registerExtension({
  name: "weshopseedream.failures",
  setup() {
    api.addEventListener("execution_error", onFailure);
    api.addEventListener("execution_start", () => hide());
    watchRefusals();
  },
});
