// What a video costs, as fal.ai counts it: an endpoint has one base price of one
// billable unit (fal.ai/docs …/platform-apis/v1/models/pricing); resolution, sound
// and the like change how many units there are, never their price (the Pricing
// section of a model's llms.txt tells the tiers in dollars).
import { checkKnown } from './fal-behaviour.mjs';
import { asNumber, divide, nano } from './fal-money.mjs';

const FIELDS = ['endpoint', 'unit', 'unit_price', 'base_price', 'quantity', 'defaults', 'tiers'];
const TIER_FIELDS = ['applies', 'unit_price', 'quantity'];
const QUANTITY_FIELDS = ['input', 'default'];
const ANY = '*';

// An endpoint that has no price costs nothing; the header says 1 unit all the same.
const FREE = { unit: 'units', unitPrice: 0n, basePrice: 0n, quantity: { fixed: nano(1) }, defaults: {}, tiers: [] };

export class Prices {
  /** specs: see readPrice */
  constructor(specs) {
    this.specs = specs;
    this.reset();
  }

  reset() {
    this.byEndpoint = new Map(this.specs.map((spec) => [spec.endpoint, readPrice(spec)]));
  }

  /** Replaces the price of an endpoint; null takes it away. All or none of them. */
  set(specs) {
    const read = specs.map((spec) => [spec.endpoint, spec.unit_price === null ? null : readPrice(spec)]);
    for (const [endpoint, price] of read) {
      if (price) this.byEndpoint.set(endpoint, price);
      else this.byEndpoint.delete(endpoint);
    }
  }

  /** Undefined if it has none. The price of "*" is that of every endpoint without one. */
  of(endpoint) {
    return this.byEndpoint.get(endpoint) ?? this.byEndpoint.get(ANY);
  }

  endpoints() {
    return [...this.byEndpoint.keys()].filter((endpoint) => endpoint !== ANY);
  }

  describe() {
    return Object.fromEntries([...this.byEndpoint].map(([endpoint, { spec }]) => [endpoint, spec]));
  }

  /** What is billed for an output: {unit, unitPrice, units}; film is its length in ms. */
  bill(endpoint, input, film) {
    const price = this.of(endpoint) ?? FREE;
    return { unit: price.unit, unitPrice: price.basePrice, units: unitsOf(price, input, film) };
  }
}

/**
 * A price, checked: {endpoint, unit, unit_price} and, if need be,
 *   quantity    how many of these: a number (default 1), {input: "duration", default: 5}
 *               for what stands at that path of the input ("8s" is 8), or "delivered",
 *               the seconds of the film as made
 *   tiers       [{applies, unit_price, quantity}], other prices for inputs that contain
 *               applies; of several the one that names most, and then the last
 *   defaults    what the model assumes where the input is silent
 *   base_price  of one billable unit, if it is not unit_price
 */
function readPrice(spec) {
  for (const name of Object.keys(spec)) checkKnown('field', name, FIELDS);
  const { endpoint, unit, defaults = {}, tiers = [] } = spec;
  if (typeof endpoint !== 'string' || endpoint === '') throw new Error('endpoint is missing');
  if (typeof unit !== 'string' || unit === '') throw new Error(`unit of ${endpoint} is missing`);
  const unitPrice = amount(spec.unit_price, `unit_price of ${endpoint}`);
  const basePrice = spec.base_price === undefined ? unitPrice : amount(spec.base_price, `base_price of ${endpoint}`);
  const quantity = readQuantity(spec.quantity ?? 1, endpoint);
  const price = { spec, unit, unitPrice, basePrice, quantity, defaults };
  price.tiers = tiers.map((tier) => readTier(tier, { endpoint, unitPrice, quantity }));
  if (basePrice === 0n && [price, ...price.tiers].some((tier) => tier.unitPrice !== 0n)) {
    throw new Error(`${endpoint}: no number of units that cost nothing makes a price`);
  }
  return price;
}

function readTier(tier, { endpoint, unitPrice, quantity }) {
  for (const name of Object.keys(tier)) checkKnown('field of a tier', name, TIER_FIELDS);
  if (!isObject(tier.applies)) throw new Error(`applies of a tier of ${endpoint} must be an object`);
  return {
    applies: tier.applies,
    unitPrice: tier.unit_price === undefined ? unitPrice : amount(tier.unit_price, `unit_price of a tier of ${endpoint}`),
    quantity: tier.quantity === undefined ? quantity : readQuantity(tier.quantity, endpoint),
  };
}

function readQuantity(spec, endpoint) {
  if (spec === 'delivered') return { delivered: true };
  if (!isObject(spec)) return { fixed: amount(spec, `quantity of ${endpoint}`) };
  for (const name of Object.keys(spec)) checkKnown('field of quantity', name, QUANTITY_FIELDS);
  if (typeof spec.input !== 'string') throw new Error(`quantity of ${endpoint} has no input`);
  return { path: spec.input.split('.'), fixed: amount(spec.default ?? 1, `default of quantity of ${endpoint}`) };
}

function amount(value, what) {
  const read = nano(value, what);
  if (read < 0n) throw new Error(`${what} must not be negative`);
  return read;
}

/** So many that, at the base price, they cost what the tier says. */
function unitsOf(price, input, film) {
  const full = { ...price.defaults, ...(isObject(input) ? input : {}) };
  const { unitPrice, quantity } = tierOf(price, full);
  const counted = count(quantity, full, film);
  return unitPrice === price.basePrice ? counted : divide(counted * unitPrice, price.basePrice);
}

function tierOf(price, input) {
  let best = price;
  let most = 0;
  for (const tier of price.tiers.filter(({ applies }) => contains(input, applies))) {
    const named = leaves(tier.applies);
    if (named >= most) [best, most] = [tier, named];
  }
  return best;
}

function count(quantity, input, film) {
  if (quantity.delivered) return nano(film) / 1000n;
  if (!quantity.path) return quantity.fixed;
  const found = quantity.path.reduce((value, name) => value?.[name], input);
  const number = /^\d+(\.\d{1,9})?/.exec(typeof found === 'number' || typeof found === 'string' ? String(found) : '');
  return number ? nano(number[0]) : quantity.fixed;
}

/** As PostgreSQL's jsonb @> has it. */
export function contains(whole, part) {
  if (Array.isArray(part)) return Array.isArray(whole) && part.every((item) => whole.some((other) => contains(other, item)));
  if (isObject(part)) return isObject(whole) && Object.entries(part).every(([name, value]) => Object.hasOwn(whole, name) && contains(whole[name], value));
  return whole === part;
}

/** How many values it names; an empty object or array is one. */
function leaves(value) {
  const inner = value !== null && typeof value === 'object' ? Object.values(value) : [];
  return inner.length ? inner.reduce((n, item) => n + leaves(item), 0) : 1;
}

function isObject(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** One line of /v1/models/pricing. */
export function priceItem(endpoint, { unit, basePrice }) {
  return { endpoint_id: endpoint, unit_price: asNumber(basePrice), unit, currency: 'USD' };
}
