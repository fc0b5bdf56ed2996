// The control API of the account: prices, balance and discount, models that go,
// what others are billed for, and the whole bill.
import { checkKnown } from './fal-behaviour.mjs';

const DELIST_FIELDS = ['endpoint', 'as'];

/** Undefined if there is no such route. */
export function controlBilling({ prices, models, billing }, route, body, query) {
  switch (route) {
    case 'POST /price': // one price, or {prices: […]}; lib/fal-prices.mjs says what is in it
      prices.set(body.prices ?? [body]);
      return prices.describe();
    case 'GET /price':
      return prices.describe();
    case 'POST /account':
      billing.change(body);
      return billing.account();
    case 'GET /account':
      return billing.account();
    case 'POST /model':
      models.add(body);
      return models.describe(body.endpoint, true);
    case 'POST /delist':
      for (const name of Object.keys(body)) checkKnown('field', name, DELIST_FIELDS);
      models.delist(body.endpoint, body.as === undefined ? 'absent' : body.as);
      return { ok: true };
    case 'POST /bill': // an event of another program on the account
      return billing.addForeign(body);
    case 'GET /bill': // ?events=0 leaves the events out
      return billing.all(query.get('events') !== '0');
    default:
      return undefined;
  }
}
