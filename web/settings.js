/**
 * The API key in ComfyUI's settings: state, field, and buttons to save, test and remove it.
 *
 * The key goes from the field to the pack's own route and nowhere else: neither ComfyUI's settings nor the browser's
 * storage ever hold it, and no answer contains it.
 */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const ROUTE = "/weshop/key";

/** Call one of the routes. The answer always has `ok`, `message` and `state` (null when the request was refused). */
async function call(path, fields) {
  const options =
    fields === undefined
      ? {}
      : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(fields) };
  try {
    const response = await api.fetchApi(path, options);
    return await response.json();
  } catch {
    return { ok: false, message: "ComfyUI does not answer. Check that it is running.", state: null };
  }
}

/** One sentence about where the key stands. */
function describe(state) {
  if (state.local_service) {
    return `Requests go to ${state.local_service}, which needs no key of yours.`;
  }
  if (state.problem) {
    return state.problem;
  }
  if (!state.configured) {
    return "No key is configured.";
  }
  const end = state.last_four ? `, ends with ${state.last_four}` : "";
  return `Configured by ${state.source}${end}.`;
}

function element(kind, properties, ...children) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
}

function control(kind, properties, style) {
  const made = element(kind, properties);
  Object.assign(made.style, {
    border: "1px solid var(--border-color)",
    borderRadius: "6px",
    background: "var(--comfy-input-bg)",
    color: "var(--input-text)",
    ...style,
  });
  return made;
}

function keyField(onEnter) {
  const field = control(
    "input",
    {
      className: "weshop-key-field",
      type: "password",
      autocomplete: "off",
      spellcheck: false,
      placeholder: "Paste a key",
      maxLength: 600,
    },
    { minWidth: "14em", padding: "4px 8px" },
  );
  field.setAttribute("aria-label", "WeShop API key");
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") {
      onEnter();
    }
  });
  return field;
}

function button(name, label, onclick) {
  const properties = { className: `weshop-key-${name}`, type: "button", textContent: label, onclick };
  return control("button", properties, { padding: "4px 12px", cursor: "pointer" });
}

/** Build the whole entry. The setter and the value that ComfyUI offers are left alone, so it has nothing to store. */
function renderKey() {
  const state = element("div", { className: "weshop-key-state" });
  const message = element("div", { className: "weshop-key-message" });
  message.setAttribute("role", "status");
  const show = (answer) => {
    message.textContent = answer.message;
    message.style.color = answer.ok ? "" : "var(--error-text, #ff4444)";
    if (answer.state) {
      state.textContent = describe(answer.state);
    }
  };
  const act = async (path, fields, before) => {
    buttons.forEach((each) => (each.disabled = true));
    show({ ok: true, message: before, state: null });
    const answer = await call(path, fields);
    buttons.forEach((each) => (each.disabled = false));
    show(answer);
    return answer;
  };
  const save = async () => {
    const answer = await act(ROUTE, { api_key: field.value }, "Asking WeShop about the key ...");
    if (answer.ok) {
      field.value = "";
    }
  };
  const field = keyField(save);
  const buttons = [
    button("save", "Save", save),
    button("test", "Test", () => act(`${ROUTE}/test`, {}, "Asking WeShop about the key ...")),
    button("remove", "Remove", () => act(`${ROUTE}/remove`, {}, "Removing the key file ...")),
  ];
  const row = element("div", {}, field, ...buttons);
  Object.assign(row.style, { display: "flex", flexWrap: "wrap", gap: "6px", justifyContent: "flex-end" });
  const whole = element("div", { className: "weshop-key" }, state, row, message);
  Object.assign(whole.style, { display: "grid", gap: "8px", maxWidth: "34em", textAlign: "right" });
  call(ROUTE).then(show);
  return whole;
}

app.registerExtension({
  name: "weshopseedream.settings",
  settings: [
    {
      id: "WeShop.ApiKey",
      category: ["WeShop", "API key", "Key"],
      name: "API key",
      tooltip: "Kept in a file of your own on the machine that runs ComfyUI; see open.weshop.ai for keys.",
      type: renderKey,
      defaultValue: null,
    },
  ],
});
