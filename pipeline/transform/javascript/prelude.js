// Evaluated first in every context: takes away what a recipe must not have, makes the rest unchangeable, and returns
// the function by which Python compiles and runs recipes. Recipes see nothing of this file but its effects. `readDate` is
// that of dates.js, which stands before it in one block.
(function (globalThis) {
  "use strict";
  const { apply, construct, deleteProperty, ownKeys, getOwnPropertyDescriptor: describe, defineProperty } = Reflect;
  const { getPrototypeOf, isExtensible } = Reflect;
  const { freeze, isFrozen } = Object;
  const { parse, stringify } = JSON;
  const { isArray } = Array;
  const { isFinite: isFiniteNumber } = Number;
  const { max, imul, trunc } = Math;
  const NativeDate = Date;
  const NativePromise = Promise;
  const NativeError = Error;
  const NativeRangeError = RangeError;
  const NativeInternalError = InternalError;
  const NativeMap = Map;
  const NativeSet = Set;
  const compileText = Function;
  const nativeJoin = Array.prototype.join;

  const nativeNow = NativeDate.now;
  const RUNS_MS = 100; // of runs in a row, far below the limit that would take the answers of all of them along
  const RESULT_CHARS = 1000000;
  const ARRAY_LENGTH = 1000000;
  const run = { now: 0, id: "", random: null };

  function replace(object, name, value) {
    defineProperty(object, name, { value, writable: true, enumerable: false, configurable: true });
  }

  // Gone: other clocks, threads that wait, what tells when memory is freed, and jobs that nobody would run.
  for (const name of ["performance", "Atomics", "SharedArrayBuffer", "WeakRef", "FinalizationRegistry", "queueMicrotask"]) {
    delete globalThis[name];
  }

  // These are kept in the context behind setters, so that freezing would not hold them.
  delete Error.stackTraceLimit;
  delete Error.prepareStackTrace;

  // One clock, which stands still at the webhook's event time, in UTC: a retry and a replay see what the first saw.
  const FixedDate = function Date(...parts) {
    if (new.target === undefined) return new FixedDate(run.now).toString();
    if (parts.length === 0) return construct(NativeDate, [run.now], new.target);
    if (parts.length > 1) return construct(NativeDate, [apply(NativeDate.UTC, null, parts)], new.target);
    const value = parts[0];
    return construct(NativeDate, [typeof value === "string" ? readDate(value) : value], new.target);
  };
  const moments = NativeDate.prototype;
  defineProperty(FixedDate, "prototype", { value: moments, writable: false, enumerable: false, configurable: false });
  defineProperty(FixedDate, "length", { value: 7, writable: false, enumerable: false, configurable: true });
  replace(FixedDate, "UTC", NativeDate.UTC);
  replace(FixedDate, "parse", function parse(text) { return readDate(`${text}`); });
  replace(FixedDate, "now", function now() { return run.now; });
  replace(moments, "constructor", FixedDate);
  replace(moments, "getTimezoneOffset", function getTimezoneOffset() { return this.getTime() !== this.getTime() ? NaN : 0; });
  for (const part of ["FullYear", "Month", "Date", "Day", "Hours", "Minutes", "Seconds", "Milliseconds"]) {
    replace(moments, `get${part}`, moments[`getUTC${part}`]);
    if (part !== "Day") replace(moments, `set${part}`, moments[`setUTC${part}`]);
  }
  replace(moments, "getYear", function getYear() { return this.getUTCFullYear() - 1900; });
  replace(moments, "setYear", function setYear(year) {
    const whole = trunc(year);
    return this.setUTCFullYear(whole >= 0 && whole < 100 ? 1900 + whole : year);
  });
  const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const two = (number) => `${number < 10 ? "0" : ""}${number}`;
  function dateText(date) {
    const year = `${date.getUTCFullYear()}`;
    return `${DAYS[date.getUTCDay()]} ${MONTHS[date.getUTCMonth()]} ${two(date.getUTCDate())} ${year.padStart(4, "0")}`;
  }
  function timeText(date) {
    const time = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map(two);
    return `${time[0]}:${time[1]}:${time[2]} GMT+0000 (Coordinated Universal Time)`;
  }
  const isNoDate = (date) => date.getTime() !== date.getTime();
  replace(moments, "toString", function toString() {
    return isNoDate(this) ? "Invalid Date" : `${dateText(this)} ${timeText(this)}`;
  });
  replace(moments, "toDateString", function toDateString() { return isNoDate(this) ? "Invalid Date" : dateText(this); });
  replace(moments, "toTimeString", function toTimeString() { return isNoDate(this) ? "Invalid Date" : timeText(this); });
  globalThis.Date = FixedDate;

  // Chance is the webhook's own: the same numbers for the same webhook-id, in the same order.
  replace(Math, "random", function random() {
    if (run.random === null) {
      let hash = 2166136261;
      for (let i = 0; i < run.id.length; i++) hash = imul(hash ^ run.id.charCodeAt(i), 16777619);
      run.random = hash | 0;
    }
    let mixed = (run.random = (run.random + 0x6d2b79f5) | 0);
    mixed = imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  });

  // This engine has no locale data: what it would answer is another text than the dashboard's, so it does not answer.
  for (const [kind, names] of [
    [Number, ["toLocaleString"]],
    [BigInt, ["toLocaleString"]],
    [NativeDate, ["toLocaleString", "toLocaleDateString", "toLocaleTimeString"]],
  ]) {
    for (const name of names) {
      replace(kind.prototype, name, { [name]() {
        throw new TypeError(`${name} needs locale data, which there is none of here: write the form out, in UTC`);
      } }[name]);
    }
  }

  // Silent, as in the dashboard once a recipe is saved.
  const console = {};
  for (const name of ["debug", "error", "info", "log", "warn"]) replace(console, name, { [name]() {} }[name]);
  replace(globalThis, "console", console);

  // Loops inside the engine that its time limit does not end: refused for lengths that no webhook has.
  const lengthOf = (value) => (value === null || value === undefined ? 0 : +value.length);
  function bounded(kind, names) {
    for (const name of names) {
      const native = kind[name];
      replace(kind, name, { [name](...rest) {
        let length = lengthOf(this);
        for (const one of name === "concat" ? rest : []) if (isArray(one)) length = max(length, one.length);
        if (length > ARRAY_LENGTH) throw new RangeError(`${name} of over ${ARRAY_LENGTH} elements`);
        return apply(native, this, rest);
      } }[name]);
    }
  }
  bounded(Array.prototype, [
    "concat", "copyWithin", "flat", "flatMap", "join", "reverse", "shift", "slice", "sort", "splice", "toLocaleString",
    "unshift",
  ]);
  delete String.raw;

  // Frozen: nothing that one customer's record does is there when the next one's runs. A property of a frozen prototype
  // could not be set on what inherits from it either; for those that recipes do set it can.
  function settable(object, names) {
    for (const name of names) {
      const property = describe(object, name);
      if (property === undefined || !("value" in property)) continue;
      const held = property.value;
      const { get, set } = {
        get() { return held; },
        set(value) {
          if (this === object || this === null || (typeof this !== "object" && typeof this !== "function")) {
            throw new TypeError(`what is built in cannot be changed: ${name}`);
          }
          defineProperty(this, name, { value, writable: true, enumerable: true, configurable: true });
        },
      };
      defineProperty(object, name, { get: freeze(get), set: freeze(set), enumerable: false, configurable: true });
    }
  }
  const rooted = [
    function* () {}, async function () {}, async function* () {}, [][Symbol.iterator](), new Map().entries(),
    new Set().entries(), ""[Symbol.iterator](), "".matchAll(/./g), Uint8Array, Iterator.from({ next() {} }),
    [].values().map((value) => value), (function () { return arguments; })(),
  ];
  const reached = new Set();
  const frozen = [];
  function reach(value) {
    if (value === null || (typeof value !== "object" && typeof value !== "function") || reached.has(value)) return;
    reached.add(value);
    if (value !== globalThis) frozen.push(value);
    reach(getPrototypeOf(value));
    for (const key of ownKeys(value)) {
      const property = describe(value, key);
      if ("value" in property) reach(property.value);
      else { reach(property.get); reach(property.set); }
    }
  }
  for (const root of [globalThis, ...rooted]) reach(root);
  settable(Object.prototype, ["constructor", "toString", "toLocaleString", "valueOf", "hasOwnProperty", "isPrototypeOf"]);
  settable(Function.prototype, ["constructor", "toString", "name", "call", "apply", "bind"]);
  settable(Array.prototype, ["constructor", "toString", "concat", "push", "join"]);
  for (const kind of [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError, AggregateError]) {
    settable(kind.prototype, ["constructor", "message", "name", "toString"]);
  }
  for (const value of frozen) {
    freeze(value);
    if (!isFrozen(value)) throw new Error("a part of the engine cannot be frozen");
  }
  const known = new Set(ownKeys(globalThis));
  for (const name of known) {
    const property = describe(globalThis, name);
    if ("value" in property) defineProperty(globalThis, name, { ...property, writable: false, configurable: false });
  }
  const KNOWN = known.size;
  const HOME = getPrototypeOf(globalThis);

  // Whether the context is again as it was; what a recipe put beside the built-in names is taken away.
  function swept() {
    if (getPrototypeOf(globalThis) !== HOME || !isExtensible(globalThis)) return false;
    let names = ownKeys(globalThis);
    if (names.length === KNOWN) return true;
    for (const name of names) if (!known.has(name)) deleteProperty(globalThis, name);
    return ownKeys(globalThis).length === KNOWN;
  }

  function checked(name, value) {
    if (typeof value === "number") {
      if (!isFiniteNumber(value)) throw new TypeError(`${name} is no number (NaN or infinite)`);
    } else if (typeof value === "object" && value !== null) {
      if (value instanceof NativePromise) throw new TypeError(`${name} is a promise: a recipe waits for nothing`);
      if (value instanceof NativeMap || value instanceof NativeSet) {
        throw new TypeError(`${name} is a Map or Set, which JSON has not: make it an object or array`);
      }
    } else if (typeof value === "bigint") {
      throw new TypeError(`${name} is a BigInt, which JSON has not: make it a number or text`);
    }
    return value;
  }

  const isPromise = (value) =>
    typeof value === "object" && value !== null && (value instanceof NativePromise || typeof value.then === "function");

  // What one payload sends: itself, or each part of an array or a batch; an empty one sends nothing.
  function partsOf(payload) {
    if (isArray(payload)) return payload;
    return isArray(payload?.batch) ? payload.batch : [payload];
  }

  // One word a result: what it is, and of what is to be sent the JSON.
  function told(result, given) {
    if (result === undefined) return "undefined";
    if (result === null) return "null";
    if (isPromise(result)) return "promise";
    if (typeof result !== "object") return typeof result;
    const several = isArray(result) ? result : [result];
    const payloads = [];
    let dropped = 0;
    for (let i = 0; i < several.length; i++) {
      const one = several[i];
      if (one === null) { dropped += 1; continue; }
      if (isPromise(one)) return "promise";
      if (typeof one !== "object") return `an array of ${typeof one}`;
      let payload = one;
      if ("payload" in one) {
        if (one.cancel === true || one.payload === null) { dropped += 1; continue; }
        if (one.payload === given) continue;
        if (isPromise(one.payload)) return "promise";
        payload = one.payload;
      } else if (!("action" in one) && !("identifiers" in one) && !isArray(one.batch)) return "object";
      const parts = partsOf(payload);
      if (parts.length === 0) dropped += 1;
      else payloads.push(...parts);
    }
    if (payloads.length === 0) return dropped > 0 || several.length === 0 ? "null" : "untouched";
    const text = stringify(payloads, checked);
    if (text.length > RESULT_CHARS) throw new RangeError(`the result has ${text.length} characters of JSON`);
    return text;
  }

  const recipes = [];

  // One text. Texts that are added up the engine holds in parts from some length on, and Python cannot take those.
  const joined = (parts) => apply(nativeJoin, parts, [""]);

  function begin(now, id) {
    run.now = now;
    run.id = id;
    run.random = null;
  }

  // The recipe's file anew, so that no variable of it outlives a record, then its handler.
  function answer(index, type, given, now, id) {
    begin(now, id);
    return told(recipes[index]()({ method: "POST", url: "", eventType: type, payload: given }), given);
  }

  // Errors that the engine throws where memory or the stack ends, and that a recipe can catch.
  const isLimit = (error) => error instanceof NativeInternalError || error instanceof NativeRangeError;

  const tasks = {
    // A SyntaxError of the recipe alone, which the wrapping could hide; its lines are two too far down.
    parse(source) { compileText(source); },

    // Takes a recipe's file as a function, and runs it once: what it is that it offers.
    add(recipe) {
      recipes[recipes.length] = recipe;
      const handler = recipe();
      const isClean = swept();
      if (typeof handler !== "function") return "nothing";
      if (getPrototypeOf(handler) !== compileText.prototype) return "async";
      return isClean ? "handler" : "unclean";
    },

    // A run of a body as JSON.
    run(index, type, body, now, id) {
      let isClean = false;
      let word;
      try {
        word = answer(index, type, parse(body), now, id);
      } finally {
        isClean = swept();
      }
      return isClean ? word : joined(["!", word]);
    },

    // Runs in a row, a word a line. An error of the recipe's own is left for a run of its own to report; behind one of
    // the engine's, or what cannot be swept away, the context is worth nothing.
    runAll(text) {
      const ends = nativeNow() + RUNS_MS;
      const words = [""];
      const requests = parse(text);
      for (let i = 0; i < requests.length; i++) {
        if (nativeNow() > ends) return joined(words);
        const request = requests[i];
        let word = "?";
        try {
          word = answer(request[0], request[1], request[2], request[3], request[4]);
        } catch (error) {
          if (!(error instanceof NativeError) || isLimit(error)) words[0] = "!";
        }
        if (!swept()) words[0] = "!";
        if (words[0] !== "") return joined(words);
        words[words.length] = word;
        words[words.length] = "\n";
      }
      return joined(words);
    },
  };
  return (task, ...values) => tasks[task](...values);
})(globalThis)
