// Usage: what was billed, added up by time and endpoint, without request ids
// (fal.ai/docs …/platform-apis/v1/models/usage).
import { groupBy } from './fal-billing.mjs';
import { asNumber, sum } from './fal-money.mjs';
import { chosen, ids, invalid, pageOf, times } from './fal-platform-query.mjs';

const HOUR_MS = 3600000;
const DAY_MS = 24 * HOUR_MS;
const TIMEFRAMES = ['minute', 'hour', 'day', 'week', 'month'];
const EXPANSIONS = ['time_series', 'summary', 'auth_method'];

export function usageOf(billing, query, now) {
  const expand = chosen(query, 'expand', EXPANSIONS, ['time_series']);
  if (!expand.includes('time_series') && !expand.includes('summary')) throw invalid('expand: time_series or summary is required');
  const { timeframe, zone, start, end } = rangeOf(query, now);
  const endpoints = ids(query, 'endpoint_id');
  const events = billing.visible().filter(({ at, endpoint }) => at >= start && at < end
    && (endpoints.length === 0 || endpoints.includes(endpoint)));
  const withMethod = expand.includes('auth_method');
  const buckets = [...groupBy(events, ({ at }) => floor(at, timeframe, zone))].sort(([a], [b]) => a - b);
  const { page, ...more } = pageOf(buckets, query, ([bucket]) => [bucket], billing.maxPage);
  return {
    ...(expand.includes('time_series') && {
      time_series: page.map(([bucket, inIt]) => ({ bucket: written(bucket, zone), results: results(inIt, withMethod) })),
    }),
    ...(expand.includes('summary') && { summary: results(events, withMethod) }),
    ...(expand.includes('time_series') ? more : { next_cursor: null, has_more: false }),
  };
}

/** Widened to whole buckets, unless bound_to_timeframe is false. */
function rangeOf(query, now) {
  const { start, end } = times(query, now);
  const zone = query.get('timezone') ?? 'UTC';
  try {
    offset(now, zone);
  } catch {
    throw invalid(`timezone: ${zone} is not known`);
  }
  const [timeframe = usualTimeframe(end - start)] = chosen(query, 'timeframe', TIMEFRAMES);
  if (query.get('bound_to_timeframe') === 'false') return { timeframe, zone, start, end };
  return { timeframe, zone, start: floor(start, timeframe, zone), end: floor(end - 1, timeframe, zone, 1) };
}

function usualTimeframe(ms) {
  const most = { minute: 2 * HOUR_MS, hour: 2 * DAY_MS, day: 64 * DAY_MS, week: 183 * DAY_MS };
  return TIMEFRAMES.find((timeframe) => ms <= most[timeframe]) ?? 'month';
}

/** How far a zone's clock is ahead at a time. */
function offset(ms, zone) {
  if (zone === 'UTC') return 0;
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone, hourCycle: 'h23', year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric',
  });
  const part = Object.fromEntries(format.formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) - Math.floor(ms / 1000) * 1000;
}

/** Where the bucket of a time begins by the zone's clock, or the one so many later. */
function floor(ms, timeframe, zone, later = 0) {
  const local = new Date(ms + offset(ms, zone));
  const part = [local.getUTCFullYear(), local.getUTCMonth(), local.getUTCDate(), local.getUTCHours(), local.getUTCMinutes()];
  const kept = { minute: 5, hour: 4, day: 3, week: 3, month: 2 }[timeframe];
  const first = part.map((value, i) => (i < kept ? value : Number(i === 2)));
  if (timeframe === 'week') first[2] -= (local.getUTCDay() + 6) % 7;
  first[kept - 1] += later * (timeframe === 'week' ? 7 : 1);
  const begin = Date.UTC(...first);
  return begin - offset(begin - offset(begin, zone), zone);
}

function written(ms, zone) {
  const minutes = offset(ms, zone) / 60000;
  const text = new Date(ms + minutes * 60000).toISOString().slice(0, 19);
  if (zone === 'UTC') return `${text}Z`;
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60].map((value) => String(value).padStart(2, '0'));
  return `${text}${minutes < 0 ? '-' : '+'}${hours}:${rest}`;
}

function results(events, withMethod) {
  const alike = ({ endpoint, unit, unitPrice, percent, authMethod }) => [endpoint, unit, unitPrice, percent, withMethod ? authMethod : ''].join(' ');
  return [...groupBy(events, alike).values()].map((group) => resultOf(group, withMethod));
}

/** cost is the older name of cost_total. */
function resultOf(group, withMethod) {
  const [{ endpoint, unit, unitPrice, percent, authMethod }] = group;
  const added = (name) => asNumber(sum(group.map((event) => event[name])));
  return {
    endpoint_id: endpoint,
    unit,
    quantity: added('units'),
    unit_price: asNumber(unitPrice),
    percent_discount: percent === null ? null : asNumber(percent),
    cost_subtotal: added('subtotal'),
    cost_discount: added('discount'),
    cost_total: added('total'),
    cost: added('total'),
    currency: 'USD',
    ...(withMethod && { auth_method: authMethod }),
  };
}
