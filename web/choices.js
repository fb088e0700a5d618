/**
 * The form of WeShop Seedream Generate follows its model: it offers what the model offers.
 *
 * What that is comes from the host with the form itself. Values change only when the user changes the model; a value
 * of a loaded workflow stays, also one that no model offers any more, and is refused at queueing with a sentence.
 */

const FOLLOWING = ["image_size", "aspect_ratio"];

export const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

const isLinked = (node, name) => node.inputs?.some((input) => input.widget?.name === name && input.link != null);

/** Read what each model offers out of the form that the host describes, with no names but those of models. */
export function offersIn(form) {
  return Object.assign(Object.create(null), form?.input?.required?.model?.[1]?.weshop_models);
}

/** Let the choices of a node follow its model. `changed` is called whenever a value of the form changes. */
export function follow(node, offers, changed) {
  const everything = Object.fromEntries(FOLLOWING.map((name) => [name, [...(widgetOf(node, name)?.options.values ?? [])]]));
  const narrow = () => {
    const model = isLinked(node, "model") ? undefined : offers[widgetOf(node, "model")?.value];
    for (const name of FOLLOWING) {
      const widget = widgetOf(node, name);
      if (widget) {
        widget.options.values = withCurrent(offered(model, name) ?? everything[name], widget.value);
      }
    }
  };
  const adopt = () => {
    const model = offers[widgetOf(node, "model")?.value];
    for (const name of model ? FOLLOWING : []) {
      const widget = widgetOf(node, name);
      const choices = offered(model, name);
      if (widget && !choices.includes(widget.value)) {
        set(widget, nearest(widget.value, everything[name], choices));
      }
    }
    const search = widgetOf(node, "web_search");
    if (model && search?.value && !model.web_search) {
      set(search, false);
    }
  };
  onUserChange(widgetOf(node, "model"), () => {
    adopt();
    narrow();
    changed();
  });
  for (const name of [...FOLLOWING, "output_format", "batch_count"]) {
    onUserChange(widgetOf(node, name), () => {
      narrow();
      changed();
    });
  }
  const refresh = () => {
    narrow();
    changed();
  };
  after(node, "onConfigure", refresh);
  after(node, "onConnectionsChange", refresh);
  refresh();
}

function offered(model, name) {
  return model && (name === "image_size" ? Object.keys(model.pixels) : model.aspect_ratios);
}

const withCurrent = (choices, current) => (choices.includes(current) ? [...choices] : [...choices, current]);

/** The choice that stands next to a value in the list of everything. */
function nearest(value, everything, choices) {
  const place = everything.indexOf(value);
  const distance = (choice) => Math.abs(everything.indexOf(choice) - place);
  return choices.reduce((best, choice) => (distance(choice) < distance(best) ? choice : best));
}

function set(widget, value) {
  widget.value = value;
  widget.callback?.(value);
}

function onUserChange(widget, act) {
  if (widget) {
    after(widget, "callback", act);
  }
}

/** Do something after what an object does already. */
export function after(object, method, act) {
  const before = object[method];
  object[method] = function (...parameters) {
    const result = before?.apply(this, parameters);
    act.apply(this, parameters);
    return result;
  };
}
