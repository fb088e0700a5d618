/**
 * A read-only text at the foot of a node. It is no part of the workflow: nothing of it is saved or sent.
 *
 * Newer pages drop the text of a run when the run ends, and older ones save it with the workflow; so the last word of a
 * node is shown here.
 */

const LINE_PIXELS = 16;
const MOST_LINES = 4;
const NAME = "weshop_line";
const TEXT_OF_RUN = "$$node-text-preview";

/** The line of a node, made at first use. */
export function lineOf(node) {
  return node.widgets?.find((widget) => widget.name === NAME)?.weshopLine ?? addLine(node);
}

function addLine(node) {
  const element = document.createElement("div");
  element.className = "weshop-line";
  Object.assign(element.style, {
    fontSize: "12px",
    lineHeight: `${LINE_PIXELS}px`,
    color: "var(--input-text, #ddd)",
    opacity: "0.8",
    overflow: "auto",
    whiteSpace: "pre-wrap",
    overflowWrap: "anywhere",
    userSelect: "text",
    boxSizing: "border-box",
    padding: "0 6px",
  });
  const texts = { before: "", after: "" };
  const height = () => LINE_PIXELS * Math.min(MOST_LINES, Math.max(1, linesOf(element, texts)));
  const widget = node.addDOMWidget(NAME, NAME, element, {
    serialize: false,
    hideOnZoom: true,
    margin: 4,
    getValue: () => "",
    setValue: () => {},
    getMinHeight: () => height() + 8,
    getMaxHeight: () => height() + 8,
  });
  widget.serialize = false;
  const line = {
    /** What is known before a run. */
    before: (text) => show({ before: text }),
    /** The last word of a run. */
    after: (text) => show({ after: text }),
  };
  const show = (changed) => {
    Object.assign(texts, changed);
    element.textContent = [texts.before, texts.after].filter(Boolean).join("\n");
    fit(node);
  };
  widget.weshopLine = line;
  return line;
}

function linesOf(element, texts) {
  const width = element.clientWidth || 300;
  const perLine = Math.max(20, width / 6);
  const count = (text) => text.split("\n").reduce((sum, part) => sum + Math.ceil(part.length / perLine), 0);
  return (texts.before ? count(texts.before) : 0) + (texts.after ? count(texts.after) : 0);
}

/** Make the node large enough, never smaller. */
function fit(node) {
  const [width, height] = node.computeSize();
  if (node.size[1] < height) {
    node.setSize([Math.max(node.size[0], width), height]);
  }
  node.setDirtyCanvas(true, true);
}

/** Take away the text that the page itself keeps of a run: its last word is in the line now. */
export function removeTextOfRun(node) {
  const index = node.widgets?.findIndex((widget) => widget.name === TEXT_OF_RUN) ?? -1;
  if (index >= 0) {
    node.widgets[index].onRemove?.();
    node.widgets.splice(index, 1);
  }
}
