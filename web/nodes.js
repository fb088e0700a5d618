/** Our nodes in the page: choices that follow the model, what a run will be, and what became of it. */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { after, follow, offersIn, widgetOf } from "./choices.js";
import { lineOf, removeTextOfRun } from "./line.js";
import { NODE_NAMES } from "./names.js";

const GENERATE = "WeShopSeedreamGenerate";
const ESTIMATED_BY = ["model", "image_size", "aspect_ratio", "output_format", "batch_count"];
const THINKING_MILLISECONDS = 400;
const PROMPT_PIXELS = 96;

/** What the service expects such a run to cost: a number, or null when nobody can say. The host remembers answers. */
async function estimate(form) {
  try {
    const response = await api.fetchApi("/weshop/estimate", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(form),
    });
    return response.ok ? ((await response.json()).points ?? null) : null;
  } catch {
    return null;
  }
}

/** Say what a run will be: "1728 x 2304 px, about 10 points". */
function describeRun(node, offers) {
  let latest = 0;
  let timer;
  return () => {
    const number = ++latest;
    const form = Object.fromEntries(ESTIMATED_BY.map((name) => [name, widgetOf(node, name)?.value]));
    const pixels = offers[form.model]?.pixels[form.image_size]?.[form.aspect_ratio];
    const size = pixels ? `${pixels[0]} x ${pixels[1]} px` : "";
    lineOf(node).before(size);
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const points = await estimate(form);
      if (number === latest && points !== null) {
        lineOf(node).before([size, `about ${points} point${points === 1 ? "" : "s"}`].filter(Boolean).join(", "));
      }
    }, THINKING_MILLISECONDS);
  };
}

/** Keep a preview from taking the room of the prompt. */
function keepReadable(prompt) {
  if (prompt?.options) {
    prompt.options.getMinHeight ??= () => PROMPT_PIXELS;
  }
}

let offers = {};

app.registerExtension({
  name: "weshopseedream.nodes",
  beforeRegisterNodeDef(_, form) {
    if (form.name === GENERATE) {
      offers = offersIn(form);
    }
  },
  nodeCreated(node) {
    if (!(node.comfyClass in NODE_NAMES)) {
      return;
    }
    after(node, "onExecuted", (output) => {
      if (output?.text?.length) {
        removeTextOfRun(node);
        lineOf(node).after(output.text.join("\n"));
      }
    });
    if (node.comfyClass === GENERATE) {
      keepReadable(widgetOf(node, "prompt"));
      follow(node, offers, describeRun(node, offers));
    }
  },
});
