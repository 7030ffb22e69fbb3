// Reads date texts as the dashboard's engine (V8) does in UTC. The language leaves all forms but ISO 8601 to the engine;
// this one, QuickJS, takes "10-14-2026" for a day of the year 10, "PST" for UTC, and "2026-10-14 08:00Z" for no date.
const readDate = (function () {
  "use strict";
  const NativeDate = Date;
  const { abs, floor } = Math;
  const ISO =
    /^([+-]\d{6}|\d{4})(?:-(\d\d)(?:-(\d\d))?)?(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(?:Z|([+-])(\d\d):?(\d\d))?)?$/i;
  const PARTS = /\d+|\s+|[A-Z_[\]\\^`{|}~\u007f-\uffff]+|[^]/gi;
  const WORD = /^[A-Z_[\]\\^`{|}~\u007f-\uffff]/i;
  const BLANK = /^\s/;
  const NUMBER = /^\d/;
  const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
  const ZONES = {
    __proto__: null, z: 0, ut: 0, utc: 0, gmt: 0, edt: -4, est: -5, cdt: -5, cst: -6, mdt: -6, mst: -7, pdt: -7, pst: -8,
  };
  const isDay = (number) => number >= 1 && number <= 31;
  const isSign = (part) => part === "+" || part === "-";
  const millis = (digits) => +digits.padEnd(3, "0").slice(0, 3);

  function moment(year, month, day, [hour, minute, second, ms], offset) {
    const isMidnight = hour === 24 && minute === 0 && second === 0 && ms === 0;
    if (month < 1 || month > 12 || !isDay(day) || minute > 59 || second > 59 || (hour > 23 && !isMidnight)) return NaN;
    const at = new NativeDate(0);
    at.setUTCFullYear(year, month - 1, day);
    return at.setUTCHours(hour, minute, second, ms) - offset * 60000;
  }

  function iso(text) {
    const found = ISO.exec(text);
    if (found === null) return NaN;
    const [, year, month = 1, day = 1, hour = 0, minute = 0, second = 0, fraction = "", sign, hours, minutes] = found;
    if (year === "-000000" || hours > 23 || minutes > 59) return NaN;
    const offset = sign === undefined ? 0 : +`${sign}1` * (hours * 60 + +minutes);
    return moment(+year, +month, +day, [+hour, +minute, +second, millis(fraction)], offset);
  }

  function withoutParentheses(text) {
    if (!text.includes("(")) return text;
    const kept = [];
    let depth = 0;
    for (const one of text) {
      if (one === "(") depth += 1;
      else if (depth === 0) kept.push(one);
      else if (one === ")" && --depth === 0) kept.push(",");
    }
    return kept.join("");
  }

  // Numbers and names in any order: what stands before a colon is a time, a sign behind a time an offset, three numbers
  // without a month's name are month, day, year, or begin with the year where the first is no day.
  function free(text) {
    const parts = withoutParentheses(text).match(PARTS) ?? [];
    const days = [];
    const time = [];
    let month, half, sign = 1, hours, minutes, hasNumber = false, i = 0;
    const isNext = (pattern) => i < parts.length && pattern.test(parts[i]);
    const skip = (part) => parts[i] === part && ++i > 0;
    const isExpected = (number) => time.length > 0 && time.length < 4 && number <= (time.length === 3 ? 999 : 59);
    function end(...rest) {
      time.push(...rest);
      while (time.length < 4) time.push(0);
    }
    while (i < parts.length) {
      const part = parts[i++];
      if (NUMBER.test(part)) {
        hasNumber = true;
        const number = +part.replace(/^0+/, "").slice(0, 9);
        if (skip(":")) {
          if (time.length === 4) return NaN;
          time.push(number);
          if (skip(":")) {
            if (time.length > 1) return NaN;
            time.push(0);
          } else skip(".");
        } else if (skip(".") && isExpected(number)) {
          if (!isNext(NUMBER)) return NaN;
          end(...[number, millis(parts[i++])].slice(0, 4 - time.length));
        } else if (hours !== undefined && minutes === undefined && number < 60) {
          minutes = number;
        } else if (isExpected(number)) {
          end(number);
          if (i < parts.length && !isSign(parts[i]) && !isNext(BLANK) && parts[i].toLowerCase() !== "z") return NaN;
        } else {
          if (days.length === 3) return NaN;
          days.push(number);
          skip("-");
        }
      } else if (WORD.test(part) && !BLANK.test(part)) {
        const word = part.toLowerCase();
        const named = MONTHS.indexOf(word.slice(0, 3));
        if ((word === "am" || word === "pm") && time.length > 0) half = word === "am" ? 0 : 12;
        else if (named >= 0) {
          month = named + 1;
          skip("-");
        } else if (word in ZONES && hasNumber) [sign, hours, minutes] = [ZONES[word] < 0 ? -1 : 1, abs(ZONES[word]), 0];
        else if (hasNumber || isNext(NUMBER)) return NaN;
      } else if (isSign(part) && (time.length > 0 || (hours === 0 && minutes === 0))) {
        hasNumber = true;
        sign = part === "-" ? -1 : 1;
        const digits = isNext(NUMBER) ? parts[i++] : "";
        if (parts[i] === ":") [hours, minutes] = [+digits, undefined];
        else if (digits.length === 1 || digits.length === 2) [hours, minutes] = [+digits, 0];
        else if (digits.length === 3 || digits.length === 4) [hours, minutes] = [floor(digits / 100), digits % 100];
        else return NaN;
      } else if ((isSign(part) || part === ")") && hasNumber) return NaN;
    }
    if (days.length === 0) return NaN;
    while (days.length < 3) days.push(1);
    let [day, year] = days;
    if (month === undefined) {
      if (isDay(day)) [month, day, year] = days;
      else [year, month, day] = days;
    } else if (!isDay(day)) [year, day] = days;
    if (year < 50) year += 2000;
    else if (year < 100) year += 1900;
    end();
    if (half !== undefined) {
      if (time[0] > 12) return NaN;
      time[0] = (time[0] % 12) + half;
    }
    return moment(year, month, day, time, sign * ((hours ?? 0) * 60 + (minutes ?? 0)));
  }

  return function (text) {
    const exact = iso(text);
    return exact === exact ? exact : free(text);
  };
})();
