// Parameters of the platform API, and its pages: lists of ids, times, cursors
// (fal.ai/docs …/api-reference/platform-apis).

const DAY_MS = 86400000;
const MAX_IDS = 50;
const MAX_LIMIT = 10000;
const USUAL_LIMIT = 50; // documented for …/models/requests/by-endpoint; the others say nothing
const TIME = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?$/;

/** Has the form of an answer of the platform API, unlike the queue's. */
export class PlatformError extends Error {
  constructor(status, type, message) {
    super(message);
    this.reply = { status, body: { error: { type, message } } };
  }
}

export const invalid = (message) => new PlatformError(400, 'validation_error', message);

/** Repeated, separated by commas, or both. */
export function words(query, name) {
  return [...new Set(query.getAll(name).flatMap((text) => text.split(',')).filter(Boolean))];
}

export function ids(query, name) {
  const found = words(query, name);
  if (found.length > MAX_IDS) throw invalid(`${name}: at most ${MAX_IDS} values are allowed, not ${found.length}`);
  return found;
}

export function chosen(query, name, known, usual = []) {
  const found = words(query, name);
  const strange = found.find((word) => !known.includes(word));
  if (strange !== undefined) throw invalid(`${name}: ${strange} is not one of ${known.join(', ')}`);
  return found.length ? found : usual;
}

/** start, 24 hours ago by default, and end, now, which is not in it itself. */
export function times(query, now, maxDays = Infinity) {
  const start = time(query, 'start') ?? now - DAY_MS;
  const end = time(query, 'end') ?? now + 1;
  if (start >= end) throw invalid('start must be before end');
  if (end - start > maxDays * DAY_MS + 1) throw invalid(`start and end: at most ${maxDays} days are allowed`);
  return { start, end };
}

function time(query, name) {
  const text = query.get(name);
  if (text === null) return null;
  const [, clock, , , zone] = TIME.exec(text) ?? [];
  const ms = TIME.test(text) ? Date.parse(clock && !zone ? `${text}Z` : text) : NaN;
  if (Number.isNaN(ms)) throw invalid(`${name}: ${text} is not an ISO 8601 time`);
  return ms;
}

/**
 * A page of items, which are in the order of their keys (lists of numbers or
 * texts). The cursor is the last one's key, so that a page begins where the one
 * before ended, whatever has come since.
 */
export function pageOf(items, query, keyOf, most = MAX_LIMIT) {
  const cursor = query.get('cursor');
  const after = cursor === null ? null : readCursor(cursor);
  const rest = after === null ? items : items.filter((item) => compare(keyOf(item), after) > 0);
  const page = rest.slice(0, Math.min(most, limitOf(query)));
  const more = page.length < rest.length;
  return { page, next_cursor: more ? Buffer.from(JSON.stringify(keyOf(page.at(-1)))).toString('base64url') : null, has_more: more };
}

function limitOf(query) {
  const text = query.get('limit') ?? String(USUAL_LIMIT);
  if (!/^\d+$/.test(text) || Number(text) < 1 || Number(text) > MAX_LIMIT) throw invalid(`limit must be a number from 1 to ${MAX_LIMIT}`);
  return Number(text);
}

function readCursor(text) {
  let key;
  try {
    key = JSON.parse(Buffer.from(text, 'base64url').toString());
  } catch {
    key = null;
  }
  if (!Array.isArray(key)) throw invalid('cursor is not valid');
  return key;
}

export function compare(a, b) {
  for (let i = 0; i < a.length; i += 1) {
    if (a[i] < b[i]) return -1;
    if (a[i] > b[i]) return 1;
  }
  return 0;
}
