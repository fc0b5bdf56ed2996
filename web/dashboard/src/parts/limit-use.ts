// How much of each limit is used.

import { html, nothing, type TemplateResult } from 'lit'
import type { Limit, LimitUse } from '../api/types'
import { link } from '../app/route'
import { serverNow } from '../app/session'
import { count, number, usd, utcEnd, utcTime } from '../lib/format'
import { nameOf, ofWho, useText, whatText, whoText } from '../lib/limit-text'
import { badge } from './badge'
import { type Column, dataTable } from './table'

const FIRST = 10

/** Whom a limit is for, with the way to their jobs. */
export function whom(limit: Pick<Limit, 'scope'> & Partial<Limit>): TemplateResult {
  const { scope, user_id: user, model } = limit
  const to: Record<string, string> | '' | null | undefined = user ? { user } : model && { model }
  return to
    ? html`<span class="quiet">${scope}</span> <a class="break" href=${link('jobs', to)} data-line>${nameOf(limit)}</a>`
    : html`<span class="break">${whoText(limit)}</span>`
}

function until(at: string | null): TemplateResult | typeof nothing {
  const end = new Date(at ?? '')
  if (Number.isNaN(end.getTime())) return nothing
  return html`, until <time datetime=${end.toISOString()} title=${utcTime(end)}>${utcEnd(end, serverNow())}</time>`
}

/** The bar shows what the words say. */
function used(u: LimitUse): TemplateResult {
  const { words, part } = useText(u)
  const isUp = Number(u.remaining) <= 0 && Number(u.most) > 0
  const isUsd = u.limit_name.endsWith('usd')
  const heldText = isUsd ? usd(u.held) : number(u.held)
  return html`<span class="use ${isUp ? 'up' : ''}">
    <span class="words"><span>${words}${until(u.resets_at)}</span> ${isUp ? badge('Used up', 'bad') : nothing}</span>
    ${Number(u.most) > 0 ? html`<progress max="1" .value=${part} aria-hidden="true"></progress>` : nothing}
    ${Number(u.held) > 0 ? html`<span class="quiet">of which fal.ai may yet bill ${heldText}</span>` : nothing}
  </span>`
}

const columns: Column<LimitUse>[] = [
  { head: 'For', kind: 'first', cell: (u) => whom(ofWho(u.who)) },
  { head: 'Limit', cell: (u) => html`<span class="limited">${whatText(u.limit_name)}</span>` },
  { head: 'Used', kind: 'wide', cell: used },
]

export function useTable(uses: LimitUse[]): TemplateResult {
  const table = (label: string, rows: LimitUse[]) => dataTable(label, columns, rows, (u) => `${u.who} ${u.limit_name}`)
  const rest = uses.slice(FIRST)
  return html`${table('Used', uses.slice(0, FIRST))}
    ${rest.length > 0 ? html`<details class="pad"><summary>${count(rest.length, 'more', 'more')}</summary>${table('Used, more', rest)}</details>` : nothing}`
}
