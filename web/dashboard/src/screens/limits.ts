// Limits of users, and prices of models.

import { html, type TemplateResult } from 'lit'
import type { Limit, LimitUse, PriceRule } from '../api/types'
import { Poll } from '../app/poll'
import { link } from '../app/route'
import { admin, mayAct } from '../app/session'
import { count } from '../lib/format'
import { GROUPS, groupTexts, whoText } from '../lib/limit-text'
import { appliesText, priceText, quantityText, rulesInForce } from '../lib/price-text'
import { define, Part } from '../parts/base'
import { openLimit } from '../parts/limit-dialog'
import { useTable, whom } from '../parts/limit-use'
import { pageHead, panel } from '../parts/panel'
import { openPrice } from '../parts/price-dialog'
import { empty, polled } from '../parts/states'
import { type Column, dataTable } from '../parts/table'
import { when } from '../parts/time'

const adder = (what: string, open: () => void) =>
  html`<button type="button" class="small" @click=${open}>Add a ${what} …</button>`

const useShown = (uses: LimitUse[]) =>
  uses.length > 0 ? useTable(uses) : empty('Nobody has used anything of these limits.')

class LimitsScreen extends Part {
  readonly #limits = new Poll<Limit[]>(this, (signal) => admin.limits(signal), 5)
  readonly #uses = new Poll<LimitUse[]>(this, (signal) => admin.limitUse(signal), 15)
  readonly #prices = new Poll<PriceRule[]>(this, (signal) => admin.prices(signal), 5)

  #limitTable(limits: Limit[]): TemplateResult {
    const columns: Column<Limit>[] = [
      {
        head: 'For',
        kind: 'first',
        cell: whom,
      },
      ...GROUPS.map(([head, fields]) => ({
        head,
        cell: (l: Limit) =>
          html`<span class="two">${groupTexts(l, fields).map((text) => html`<span class="nowrap">${text}</span>`)}</span>`,
      })),
    ]
    if (mayAct()) {
      const edit = (l: Limit) =>
        html`<button type="button" class="small" aria-label="Change limit of ${whoText(l)}" @click=${() => openLimit(limits, l)}>Change …</button>`
      columns.push({ head: '', kind: 'act', cell: edit })
    }
    return limits.length === 0
      ? empty('Nothing is limited. A limit rejects a submit; it never stops what is in work.')
      : dataTable('Limits', columns, limits, whoText)
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
      {
        head: 'By',
        cell: (r) => html`<span class="nowrap">${r.source}</span> ${r.source === 'built-in' ? '' : when(r.valid_from)}`,
      },
    ]
    if (mayAct()) {
      const edit = (r: PriceRule) => {
        const only = r.keys ? ` with ${appliesText(r)}` : ''
        return html`<button type="button" class="small" aria-label="Change price of ${r.endpoint}${only}" @click=${() => openPrice(r)}>Change …</button>`
      }
      columns.push({ head: '', kind: 'act', cell: edit })
    }
    const inForce = rulesInForce(rules, Date.now())
    const of = (source: string) => inForce.filter((r) => r.source === source)
    const table = (label: string, rows: PriceRule[]) => dataTable(label, columns, rows, (r) => JSON.stringify(r))
    const own = [...of('operator'), ...of('fal')]
    const builtIn = of('built-in')
    return html`${own.length > 0 ? table('Prices', own) : html`<p class="quiet pad">There are none of yours, and none of fal.ai’s.</p>`}
      ${builtIn.length > 0 ? html`<details class="pad"><summary>${count(builtIn.length, 'built-in price')}</summary>${table('Built-in prices', builtIn)}</details>` : ''}`
  }

  override render() {
    return html`
      ${pageHead('Limits and prices')}
      ${this.#limits.data?.length ? panel('Used', polled(this.#uses, useShown)) : ''}
      ${panel(
        'Limits',
        polled(this.#limits, (limits) => this.#limitTable(limits)),
        mayAct() && this.#limits.data ? adder('limit', () => openLimit(this.#limits.data ?? [])) : '',
      )}
      <p class="quiet">Hours, days and months are those of UTC. Changes are noted in the <a href=${link('audit')}>audit</a>, as they were and as they are.</p>
      ${panel(
        'Prices',
        polled(this.#prices, (rules) => this.#priceTable(rules)),
        mayAct() ? adder('price', () => openPrice(null)) : '',
      )}
      <p class="quiet">The rule that asks for most of an input counts, an operator’s before all others. Unknown prices count as 0, or are refused.</p>
    `
  }
}

define('vv-limits', LimitsScreen)
