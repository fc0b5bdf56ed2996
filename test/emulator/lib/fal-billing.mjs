// The account: an event for each output that fal.ai bills, a discount, and a
// balance that the events use up (fal.ai/docs …/platform-apis/v1/models/billing-events,
// …/v1/account/billing and …/model-apis/pricing).
import { checkKnown } from './fal-behaviour.mjs';
import { createRequestId } from './fal-jobs.mjs';
import { filmMs } from './fal-media.mjs';
import { asInteger, asNumber, asText, divide, multiply, nano, sum } from './fal-money.mjs';

const HUNDRED = nano(100);
const SHOWN_BALANCE = nano(1000); // of an account whose balance was never set
const ACCOUNT_FIELDS = ['balance', 'top_up', 'discount', 'event_delay_ms', 'max_page', 'username'];
const FOREIGN_FIELDS = ['endpoint', 'request_id', 'input', 'units', 'timestamp', 'delay_ms', 'auth_method'];
const KEY_OF_OURS = 'Production Key';
const KEY_OF_ANOTHER = 'Other Key';

export class Billing {
  constructor({ prices, balance = null }) {
    this.prices = prices;
    this.firstBalance = balance;
    this.reset();
  }

  reset() {
    this.events = [];
    this.balance = this.firstBalance; // null: never runs out
    this.discount = null;
    this.delayMs = 0;
    this.maxPage = 10000;
    this.username = 'vibevideo';
  }

  /** Each field is optional: dollars of balance and top_up, per cent of discount, null for none. */
  change(account) {
    for (const name of Object.keys(account)) checkKnown('field', name, ACCOUNT_FIELDS);
    const { balance, top_up: topUp, discount, event_delay_ms: delayMs, max_page: maxPage, username } = account;
    if (balance !== undefined) this.balance = balance === null ? null : nano(balance, 'balance');
    if (topUp !== undefined) this.balance = (this.balance ?? 0n) + nano(topUp, 'top_up');
    if (discount !== undefined) this.discount = discount === null ? null : nano(discount, 'discount');
    if (delayMs !== undefined) this.delayMs = Number(delayMs);
    if (maxPage !== undefined) this.maxPage = Number(maxPage);
    if (username !== undefined) this.username = username;
  }

  account() {
    return {
      balance: this.balance === null ? null : asNumber(this.balance), discount: this.discount === null ? null : asNumber(this.discount),
      event_delay_ms: this.delayMs, max_page: this.maxPage, username: this.username,
    };
  }

  isExhausted() {
    return this.balance !== null && this.balance <= 0n;
  }

  credits() {
    return { current_balance: asNumber(this.balance ?? SHOWN_BALANCE), currency: 'USD' };
  }

  /** The event of a job that has just ended; null if it is not billed. */
  bill(job) {
    const full = this.prices.bill(job.endpoint, job.input, filmMs(job));
    const units = unitsOf(job, full.units);
    if (units === 0n) return null;
    const { clock_ms: clock, billing } = job.behaviour;
    return this.#add({
      ...full, units, requestId: job.id, endpoint: job.endpoint, at: job.finishedAt + clock, delayMs: billing.delay_ms, foreign: false, authMethod: KEY_OF_OURS,
    });
  }

  /** What another program on the account was billed for, or a request that is named, once more. */
  addForeign(spec) {
    for (const name of Object.keys(spec)) checkKnown('field', name, FOREIGN_FIELDS);
    const { endpoint, request_id: requestId = createRequestId(), input, units, timestamp = Date.now() } = spec;
    const { delay_ms: delayMs = null, auth_method: authMethod = KEY_OF_ANOTHER } = spec;
    if (typeof endpoint !== 'string') throw new Error('endpoint is missing');
    const at = new Date(timestamp).getTime();
    if (Number.isNaN(at)) throw new Error(`timestamp ${timestamp} is not a time`);
    const event = { ...this.prices.bill(endpoint, input, 1000), requestId, endpoint, at, delayMs, foreign: true, authMethod };
    if (units !== undefined) event.units = nano(units, 'units');
    return this.describe(this.#add(event));
  }

  #add(event) {
    const subtotal = multiply(event.units, event.unitPrice);
    const discount = this.discount === null ? 0n : divide(subtotal * this.discount, HUNDRED);
    const whole = { ...event, seq: this.events.length, since: Date.now(), percent: this.discount, subtotal, discount, total: subtotal - discount };
    this.events.push(whole);
    if (this.balance !== null) this.balance -= whole.total;
    return whole;
  }

  /** An event appears some time after the output: its own time, or that of the account as it is now. */
  isVisible({ since, delayMs }) {
    return Date.now() >= since + (delayMs ?? this.delayMs);
  }

  visible() {
    return this.events.filter((event) => this.isVisible(event));
  }

  /** Everything that is billed, whether its event appears already or not: what a test compares its books with. */
  all(withEvents = true) {
    const byEndpoint = groupBy(this.events, ({ endpoint }) => endpoint);
    return {
      total_nano_usd: asInteger(sum(this.events.map(({ total }) => total))),
      balance_nano_usd: this.balance === null ? null : asInteger(this.balance),
      by_endpoint: Object.fromEntries([...byEndpoint].map(([endpoint, events]) => [endpoint, {
        events: events.length,
        output_units: asText(sum(events.map(({ units }) => units))),
        total_nano_usd: asInteger(sum(events.map(({ total }) => total))),
      }])),
      ...(withEvents && { events: this.events.map((event) => this.describe(event)) }),
    };
  }

  describe(event) {
    return {
      request_id: event.requestId, endpoint: event.endpoint, timestamp: new Date(event.at).toISOString(),
      visible: this.isVisible(event), foreign: event.foreign,
      unit: event.unit, output_units: asText(event.units), unit_price_nano_usd: asInteger(event.unitPrice),
      percent_discount: event.percent === null ? null : asNumber(event.percent),
      subtotal_nano_usd: asInteger(event.subtotal), discount_nano_usd: asInteger(event.discount), total_nano_usd: asInteger(event.total),
    };
  }
}

/** Map.groupBy, which node 20 does not have. */
export function groupBy(items, key) {
  const groups = new Map();
  for (const item of items) {
    const name = key(item);
    if (groups.has(name)) groups.get(name).push(item);
    else groups.set(name, [item]);
  }
  return groups;
}

/**
 * Successful outputs are billed, errors of the server and time in the queue are
 * not, a 422 may be (fal.ai/docs …/model-apis/faq). Of a cancel nothing is
 * documented: what was being rendered then is rendered, and billed.
 */
function unitsOf({ outcome, startedAt, behaviour: { billing } }, usual) {
  const full = billing.units === null ? usual : nano(billing.units, 'billing.units');
  const chosen = (units, what) => (units === 'full' ? full : nano(units, what));
  if (startedAt === null) return 0n;
  switch (outcome.kind) {
    case 'ok': return full;
    case 'cancelled': return chosen(billing.cancelled_units, 'billing.cancelled_units');
    case 'validation':
    case 'policy': return chosen(billing.failed_units, 'billing.failed_units');
    default: return 0n;
  }
}

/** One line of /v1/models/billing-events. */
export function eventItem(event, withAuthMethod) {
  return {
    request_id: event.requestId,
    endpoint_id: event.endpoint,
    timestamp: new Date(event.at).toISOString(),
    output_units: asNumber(event.units),
    unit_price: asNumber(event.unitPrice),
    percent_discount: event.percent === null ? null : asNumber(event.percent),
    cost_subtotal: asNumber(event.subtotal),
    cost_discount: asNumber(event.discount),
    cost_total: asNumber(event.total),
    cost_estimate_nano_usd: asInteger(event.total),
    ...(withAuthMethod && { auth_method: event.authMethod }),
  };
}
