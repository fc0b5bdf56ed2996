// Limits of users, and prices of models.

import { html, type TemplateResult } from 'lit'
import type { Limit, PriceRule } from '../api/types'
import { Poll } from '../app/poll'
import { link } from '../app/route'
import { admin, mayAct } from '../app/session'
import { usd } from '../lib/format'
import { limitText, whoText } from '../lib/limit-text'
import { appliesText, priceText, quantityText, rulesInForce } from '../lib/price-text'
import { define, Part } from '../parts/base'
import { openLimit } from '../parts/limit-dialog'
import { pageHead, panel } from '../parts/panel'
import { openPrice } from '../parts/price-dialog'
import { empty, polled } from '../parts/states'
import { type Column, dataTable } from '../parts/table'
import { when } from '../parts/time'
import { openUserLimit } from '../parts/user-limit-dialog'

const ORDER = { global: 0, default: 1, user: 2 }

class LimitsScreen extends Part {
  readonly #limits = new Poll<Limit[]>(this, (signal) => admin.limits(signal), 5)
  readonly #prices = new Poll<PriceRule[]>(this, (signal) => admin.prices(signal), 5)

  #limitTable(limits: Limit[]): TemplateResult {
    const rows = [...limits].sort(
      (a, b) => ORDER[a.scope] - ORDER[b.scope] || (a.user_id ?? '').localeCompare(b.user_id ?? ''),
    )
    const columns: Column<Limit>[] = [
      {
        head: 'For',
        kind: 'first',
        cell: (l) =>
          l.user_id
            ? html`<a class="break" href=${link('jobs', { user: l.user_id })} data-line>${l.user_id}</a>`
            : whoText(l),
      },
      { head: 'In work at a time', kind: 'num', cell: (l) => limitText(l.max_active, l.scope) },
      { head: 'Requested a day', kind: 'num', cell: (l) => limitText(l.submits_per_day, l.scope) },
      { head: 'USD a day', kind: 'num', cell: (l) => limitText(l.spend_per_day_usd, l.scope, usd) },
    ]
    if (mayAct()) {
      const edit = (l: Limit) =>
        html`<button type="button" class="small" aria-label="Change limit of ${whoText(l)}" @click=${() => openLimit(l, true)}>Change …</button>`
      columns.push({ head: '', kind: 'act', cell: edit })
    }
    return rows.length === 0
      ? empty('Nothing is limited. A limit rejects a submit; it never stops what is in work.')
      : dataTable('Limits', columns, rows, (l) => `${l.scope} ${l.user_id}`)
  }

  #limitButtons(): unknown {
    if (!mayAct() || !this.#limits.data) return ''
    const fresh = (scope: Limit['scope']): Limit => ({
      scope,
      user_id: null,
      max_active: null,
      submits_per_day: null,
      spend_per_day_usd: null,
    })
    const has = (scope: Limit['scope']) => this.#limits.data?.some((l) => l.scope === scope)
    const add = (scope: Limit['scope'], label: string) =>
      has(scope)
        ? ''
        : html`<button type="button" class="small" @click=${() => openLimit(fresh(scope), false)}>${label} …</button>`
    return html`${add('global', 'Limit all together')} ${add('default', 'Limit each user')}
      <button type="button" class="small" @click=${() => openUserLimit(this.#limits.data ?? [])}>Limit a user …</button>`
  }

  #priceTable(rules: PriceRule[]): TemplateResult {
    const columns: Column<PriceRule>[] = [
      {
        head: 'Model',
        kind: 'first',
        cell: (r) => html`<a class="break" href=${link('jobs', { model: r.endpoint })} data-line>${r.endpoint}</a>`,
      },
      { head: 'Price', cell: (r) => html`${priceText(r)} <span class="quiet">${quantityText(r)}</span>` },
      { head: 'For inputs with', cell: (r) => html`<span class="break">${appliesText(r)}</span>` },
      { head: 'By', cell: (r) => html`${r.source} ${r.source === 'built-in' ? '' : when(r.valid_from)}` },
    ]
    if (mayAct()) {
      const edit = (r: PriceRule) => {
        const only = r.keys ? ` with ${appliesText(r)}` : ''
        return html`<button type="button" class="small" aria-label="Change price of ${r.endpoint}${only}" @click=${() => openPrice(r)}>Change …</button>`
      }
      columns.push({ head: '', kind: 'act', cell: edit })
    }
    return html`${dataTable('Prices', columns, rulesInForce(rules, Date.now()), (r) => JSON.stringify(r))}
      <p class="quiet">The rule that asks for most of an input counts, an operator’s before all others. Unknown prices count as 0, or are refused.</p>`
  }

  override render() {
    const add = mayAct()
      ? html`<button type="button" class="small" @click=${() => openPrice(null)}>Add a price …</button>`
      : ''
    return html`
      ${pageHead('Limits and prices')}
      ${panel(
        'Limits',
        polled(this.#limits, (limits) => this.#limitTable(limits)),
        this.#limitButtons(),
      )}
      <p class="quiet">Days begin at 00:00 UTC. Changes are noted in the <a href=${link('audit')}>audit</a>, as they were and as they are.</p>
      ${panel(
        'Prices',
        polled(this.#prices, (rules) => this.#priceTable(rules)),
        add,
      )}
    `
  }
}

define('vv-limits', LimitsScreen)
