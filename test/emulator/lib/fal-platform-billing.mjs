// The platform API about money and models: prices, billing events, usage, balance,
// model search (fal.ai/docs …/platform-apis/v1/models/pricing, …/models/billing-events,
// …/models/usage, …/account/billing and …/models).
import { eventItem } from './fal-billing.mjs';
import { checkScope, ADMIN, ANYBODY, USER } from './fal-platform-scope.mjs';
import { servePlatform } from './fal-platform.mjs';
import { chosen, compare, ids, invalid, pageOf, PlatformError, times } from './fal-platform-query.mjs';
import { priceItem } from './fal-prices.mjs';
import { usageOf } from './fal-usage.mjs';

const MAX_DAYS = 90;

/** By path: what it is for counting and for faults, whose key it needs, and its answer. */
export const PLATFORM_ROUTES = {
  '/v1/models': { op: 'models', scope: ANYBODY, answer: searchModels },
  '/v1/models/pricing': { op: 'pricing', scope: USER, answer: pricing },
  '/v1/models/billing-events': { op: 'billing_events', scope: ADMIN, answer: billingEvents },
  '/v1/models/usage': { op: 'usage', scope: ADMIN, answer: usage },
  '/v1/account/billing': { op: 'account', scope: ADMIN, answer: accountBilling },
};

export async function serveBilling(context, exchange) {
  const { op, scope, answer } = PLATFORM_ROUTES[exchange.path];
  await servePlatform(context, exchange, op, () => {
    try {
      checkScope(context, exchange.req.headers.authorization, scope);
      return { status: 200, body: answer(context, exchange.query) };
    } catch (error) {
      if (error instanceof PlatformError) return error.reply;
      throw error;
    }
  });
}

function now({ rules }) {
  return Date.now() + rules.default.clock_ms;
}

function pricing({ prices, models }, query) {
  const wanted = ids(query, 'endpoint_id');
  if (wanted.length === 0) throw invalid('endpoint_id is required');
  const unknown = wanted.filter((endpoint) => models.isGone(endpoint) || !prices.of(endpoint));
  if (unknown.length) throw new PlatformError(404, 'not_found', `No pricing for: ${unknown.join(', ')}`);
  return { prices: wanted.map((endpoint) => priceItem(endpoint, prices.of(endpoint))), next_cursor: null, has_more: false };
}

/** Newest first. */
function billingEvents(context, query) {
  const { billing } = context;
  const { start, end } = times(query, now(context), MAX_DAYS);
  const endpoints = ids(query, 'endpoint_id');
  const requests = ids(query, 'request_id');
  const withMethod = chosen(query, 'expand', ['auth_method']).length > 0;
  const keyOf = ({ at, seq }) => [-at, -seq];
  const wanted = billing.visible().filter(({ at, endpoint, requestId }) => at >= start && at < end
    && (endpoints.length === 0 || endpoints.includes(endpoint)) && (requests.length === 0 || requests.includes(requestId)));
  const { page, ...more } = pageOf(wanted.sort((a, b) => compare(keyOf(a), keyOf(b))), query, keyOf, billing.maxPage);
  return { billing_events: page.map((event) => eventItem(event, withMethod)), ...more };
}

function usage(context, query) {
  return usageOf(context.billing, query, now(context));
}

function accountBilling({ billing }, query) {
  const expand = chosen(query, 'expand', ['credits']);
  return { username: billing.username, ...(expand.includes('credits') && { credits: billing.credits() }) };
}

/** By id, or everything that fits; what is not listed is absent. */
function searchModels({ prices, models, billing }, query) {
  const withOpenapi = chosen(query, 'expand', ['openapi-3.0']).length > 0;
  const wanted = ids(query, 'endpoint_id');
  const listed = [...new Set([...models.byEndpoint.keys(), ...prices.endpoints()])].sort();
  const shown = listed.filter((endpoint) => wanted.length === 0 || wanted.includes(endpoint))
    .map((endpoint) => models.describe(endpoint, withOpenapi)).filter((model) => model && fits(model, query));
  const { page, ...more } = pageOf(shown, query, ({ endpoint_id: id }) => [id], billing.maxPage);
  return { models: page, ...more };
}

function fits({ endpoint_id: id, metadata }, query) {
  if (!metadata) return query.has('endpoint_id');
  const [q, category, status] = ['q', 'category', 'status'].map((name) => query.get(name)?.toLowerCase());
  return (!q || [id, metadata.display_name, metadata.description, ...metadata.tags].some((text) => text.toLowerCase().includes(q)))
    && (!category || metadata.category === category) && (!status || metadata.status === status);
}
