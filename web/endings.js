/**
 * When a run ends early, the last text of each of our nodes becomes its last word: which run goes on, or what failed.
 *
 * Left to the page, that text would be dropped at once, or saved with the workflow.
 */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { lineOf, removeTextOfRun } from "./line.js";
import { NODE_NAMES } from "./names.js";

/** The latest text of each node of ours that has begun and not ended. */
const texts = new Map();

/** The node that the host calls by this id: within subgraphs, a path of ids. */
function nodeAt(executionId) {
  const find = (place, id) => (place?.subgraph ?? place)?.getNodeById?.(id);
  return String(executionId).split(":").reduce(find, app.graph);
}

function onText({ detail }) {
  const node = nodeAt(detail?.nodeId);
  if (node?.comfyClass in NODE_NAMES) {
    if (!texts.has(node)) {
      lineOf(node).after("");
    }
    texts.set(node, detail.text);
  }
}

function onEarlyEnd() {
  for (const [node, text] of texts) {
    removeTextOfRun(node);
    lineOf(node).after(text);
  }
  texts.clear();
}

app.registerExtension({
  name: "weshopseedream.endings",
  setup() {
    api.addEventListener("execution_start", () => texts.clear());
    api.addEventListener("progress_text", onText);
    api.addEventListener("executed", ({ detail }) => texts.delete(nodeAt(detail?.display_node ?? detail?.node)));
    api.addEventListener("execution_interrupted", onEarlyEnd);
    api.addEventListener("execution_error", onEarlyEnd);
  },
});
