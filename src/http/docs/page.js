// Renders /openapi.json: one article an operation. Everything is put in as text, nothing as markup.
"use strict";

function element(name, text, attributes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  return made;
}

function within(parent, ...children) {
  parent.append(...children);
  return parent;
}

function rule(schema) {
  const words = [schema.type || "any"];
  if (schema.enum) words.push("one of " + schema.enum.join(", "));
  if (schema.minLength !== undefined) words.push(schema.minLength + " to " + schema.maxLength + " characters");
  if (schema.minimum !== undefined) words.push(schema.minimum + " to " + schema.maximum);
  if (schema.pattern) words.push(schema.pattern);
  return words.join(", ");
}

function table(heads, rows) {
  const head = within(element("tr"), ...heads.map((text) => element("th", text, { scope: "col" })));
  const body = rows.map((row) => within(element("tr"), ...row.map((cell) => within(element("td"), cell))));
  return within(element("table"), within(element("thead"), head), within(element("tbody"), ...body));
}

function fields(body) {
  const schema = body.content["application/json"].schema;
  const needed = schema.required || [];
  return table(["Field", "Required", "Rule", "Meaning"], Object.entries(schema.properties).map(([name, field]) => [
    element("code", name), needed.includes(name) ? "yes" : "no", rule(field), field.description || "",
  ]));
}

function parameters(list) {
  return table(["Name", "In", "Required", "Rule", "Meaning"], list.map((one) => [
    element("code", one.name), one.in, one.required ? "yes" : "no", rule(one.schema), one.description || "",
  ]));
}

function answers(responses) {
  return Object.entries(responses).map(([status, response]) => {
    const examples = Object.entries(response.content["application/json"].examples);
    const shown = examples.map(([name, example]) =>
      within(element("div"), element("span", name), element("pre", JSON.stringify(example.value, null, 2))));
    return within(element("details"), element("summary", status + " " + response.description), ...shown);
  });
}

function article(path, method, operation) {
  const made = element("article", undefined, { id: operation.operationId });
  const title = within(element("h2"), element("span", method.toUpperCase(), { class: "method" }), " ", element("code", path));
  const security = operation.security.map((one) => Object.keys(one).join(" and ")).join(", or ");
  within(made, element("span", operation.tags.join(", "), { class: "tag" }), title, element("p", operation.summary),
    element("p", "Credentials: " + security), element("h3", "Parameters"), parameters(operation.parameters));
  if (operation.requestBody) within(made, element("h3", "Body"), fields(operation.requestBody));
  return within(made, element("h3", "Answers"), ...answers(operation.responses));
}

async function show() {
  const main = document.getElementById("operations");
  const answer = await fetch("/openapi.json");
  const document_ = await answer.json();
  document.getElementById("title").textContent = document_.info.title + " " + document_.info.version;
  document.getElementById("about").prepend(document_.info.description + " ");
  const list = element("ul");
  main.replaceChildren();
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const link = element("a", method.toUpperCase() + " " + path, { href: "#" + operation.operationId });
      list.append(within(element("li"), link));
      main.append(article(path, method, operation));
    }
  }
  document.getElementById("contents").append(list);
}

show().catch(() => {
  document.getElementById("operations").textContent = "The document cannot be read: see /openapi.json.";
});
