// What the front does wrong, and to which request. A fault is
//   { on: "regular expression", times, skip, fault: { kind, when, … } }
// and meets a request by "METHOD path more", where more is the body of a JSON
// request, or what a TUS id says in base64url.
//
//   rst       code                  ends the stream with RST_STREAM
//   goaway    last, code            GOAWAY; last: "below" this stream, "this" one, or "all":
//                                   a notice, and then the stream that is the highest
//   die       streams, reset        the connection ends, FIN or RST, with so many streams in it
//   early     status, type, body    an answer before the body was read, then RST_STREAM(NO_ERROR)
//   ping      count                 PINGs around the exchange
//   settings  steps                 SETTINGS one after the other during the exchange
//
// when: "before" it is passed on (default), "midway" through its body, or that of the
// answer (from: "answer", no_length: true leaves out the length), after `bytes`;
// "after" the emulator has answered, of which the client hears nothing.
// On a connection that is HTTP/1.1, what would end a stream ends the connection.
import { setTimeout as wait } from 'node:timers/promises';
import { MAX_STREAM } from './front-wire.mjs';

const KINDS = ['rst', 'goaway', 'die', 'early', 'ping', 'settings'];
const GATHER_MS = 400; // so long a dying connection waits for more streams
const STEP_MS = 20;

export class Faults {
  constructor() {
    this.list = [];
  }

  clear() {
    this.list = [];
  }

  add({ on, times = 1, skip = 0, fault }) {
    if (!KINDS.includes(fault?.kind)) throw new Error(`unknown kind of fault ${fault?.kind}`);
    this.list.push({ on: new RegExp(on), left: times, skip, fault, hits: 0, group: [] });
  }

  /** The entry that this request meets, or null; spends one use of it. */
  take(text) {
    for (const entry of this.list) {
      if (entry.left === 0 || !entry.on.test(text)) continue;
      if (entry.skip > 0) {
        entry.skip -= 1;
        continue;
      }
      if (entry.left > 0) entry.left -= 1;
      entry.hits += 1;
      return entry;
    }
    return null;
  }

  describe() {
    return this.list.map(({ on, left, hits, fault }) => ({ on: on.source, left, hits, fault }));
  }
}

/** The deed itself, on an exchange that has come to its moment; true if that ends it. */
export function strike(exchange, entry) {
  const { fault } = entry;
  switch (fault.kind) {
    case 'rst':
      exchange.reset(fault.code ?? 0);
      return true;
    case 'goaway':
      return sayGoaway(exchange, fault);
    case 'die':
      gather(exchange, entry);
      return true;
    default:
      return false;
  }
}

function sayGoaway(exchange, { last, code = 0 }) {
  const { wire, stream } = exchange;
  if (!wire) {
    if (last === 'below') exchange.breakConnection();
    return last === 'below';
  }
  if (last === 'below') {
    exchange.front.noteBroken(wire);
    wire.goaway(Math.max(stream - 2, 0), code);
    return true;
  }
  if (last === 'all') {
    wire.goaway(MAX_STREAM, code);
    setTimeout(() => wire.goaway(wire.highest, code), STEP_MS);
    return false;
  }
  exchange.front.noteBroken(wire);
  wire.goaway(stream, code);
  return false;
}

/** The connections of a group end when it is complete, or when no more come. */
function gather(exchange, entry) {
  const { group, fault } = entry;
  group.push(exchange);
  if (group.length === 1 && fault.streams > 1) setTimeout(() => finish(entry), GATHER_MS);
  if (group.length >= (fault.streams ?? 1)) finish(entry);
}

function finish(entry) {
  for (const exchange of entry.group.splice(0)) exchange.breakConnection(entry.fault.reset);
}

export async function sendSettings({ session }, { steps }) {
  for (const step of steps) {
    if (!session || session.destroyed) return;
    session.settings(step);
    await wait(STEP_MS);
  }
}

export function sendPings({ session, front }, { count = 10 }) {
  for (let i = 0; i < count && session && !session.destroyed; i++) {
    front.pings.sent += 1;
    session.ping((error) => { if (!error) front.pings.answered += 1; });
  }
}
