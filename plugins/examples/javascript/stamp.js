// Stamps log records, marks those whose body holds an @, discards those of one level and sends those of
// another to an archive.
//
//     [plugin.stamp]
//     component = "stamp.wasm"
//     config = { stamp = "tollgate", drop_level = "debug", archive_level = "error" }
//
// A variant is `{ tag, val }`, an enum its name, an option the value or null. A function whose WIT says
// `result` returns what is good and throws what is not; what nobody catches is the plugin's failure.

import * as batch from "tollgate:plugin/batch@0.1.0";
import * as host from "tollgate:plugin/host@0.1.0";

const all = { tag: "all" };
const only = (rows) => ({ tag: "only", val: rows });
const text = (val) => ({ tag: "text", val });
const attribute = (key) => ({ tag: "attribute", val: key });
const ofRecords = (target) => ({ level: "record", target });
const body = ofRecords({ tag: "built-in", val: "body" });
const level = ofRecords(attribute("level"));

const settings = ["stamp", "drop_level", "archive_level"];
let config;

function configure({ config: json }) {
  config = JSON.parse(json);
  for (const [key, value] of Object.entries(config)) {
    if (!settings.includes(key)) throw mistake(key, "no such setting; there are stamp, drop_level and archive_level");
    if (typeof value !== "string" || value === "") throw mistake(key, "must be a text that is not empty");
  }
  if (config.stamp === undefined) throw mistake("stamp", "must be a text that is not empty");
  return {
    signals: ["logs"],
    others: "pass",
    destinations: config.archive_level === undefined ? [] : ["archive"],
    readOnly: false,
  };
}

// A mistake at a key of the configuration. In a JSON pointer `~` and `/` are escaped.
function mistake(key, message) {
  const pointer = "/" + key.replaceAll("~", "~0").replaceAll("/", "~1");
  return { tag: "bad-config", val: { pointer, message } };
}

function process() {
  batch.set(ofRecords(attribute("processed_by")), text(config.stamp), all);

  const marked = withAt();
  batch.set(ofRecords(attribute("has_at")), { tag: "boolean", val: true }, only(marked));
  if (marked.length > 0) {
    const service = batch.getCell("resource", 0, attribute("service.name"));
    const name = service?.tag === "text" ? service.val : "an unnamed service";
    host.log("info", `${marked.length} bodies of ${name} hold an @`);
  }
  host.count("has_at", marked.length);

  if (config.drop_level !== undefined) {
    batch.discard("record", only(withLevel(config.drop_level)));
  }
  if (config.archive_level !== undefined) {
    batch.route("record", only(withLevel(config.archive_level)), ["archive"]);
  }
  return { tag: "forward" };
}

// The records whose attribute `level` is this one.
function withLevel(wanted) {
  return batch.find(level, { tag: "equals", val: text(wanted) }, all);
}

// The records whose body holds an @. All bodies come in one buffer: cell `i` has its begin and its end at
// `offsets[2 * i]`; without one, both are 0xffffffff, and nothing lies between them.
function withAt() {
  const { data, offsets } = batch.readText(body, all);
  const found = [];
  for (let row = 0; 2 * row < offsets.length; row++) {
    const cell = data.subarray(offsets[2 * row], offsets[2 * row + 1]);
    if (cell.includes(0x40)) found.push(row);
  }
  return found;
}

export const handler = { configure, process };
