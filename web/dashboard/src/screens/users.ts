// Who has how much in work, has requested and spent, against which limits.

import { html, nothing, type TemplateResult } from 'lit'
import { errorSentence } from '../api/errors'
import type { UserRow } from '../api/types'
import { tell } from '../app/announce'
import { Poll } from '../app/poll'
import { link, route } from '../app/route'
import { admin, mayAct, serverNow } from '../app/session'
import { number, percent, usd } from '../lib/format'
import { rangeStart, readRange } from '../lib/range'
import { Watch } from '../lib/store'
import { define, Part } from '../parts/base'
import { openLimit } from '../parts/limit-dialog'
import { pageHead, tabs } from '../parts/panel'
import { empty, polled } from '../parts/states'
import { type Column, dataTable } from '../parts/table'

const MOST = 100
const RANGES: [name: string, label: string][] = [
  ['24h', 'Since yesterday'],
  ['7d', '7 days'],
  ['30d', '30 days'],
]

/** '3 of 5'; without a limit the figure alone. */
function against(used: unknown, limit: number | null, unit: (n: number) => string = number): TemplateResult {
  return html`${used}${limit === null ? nothing : html` <span class="quiet">of ${unit(limit)}</span>`}`
}

class UsersScreen extends Part {
  #finding = false
  #range = readRange(route.value.query.get('range'), '30d')
  readonly #poll = new Poll<UserRow[]>(
    this,
    (signal) => admin.users(rangeStart(this.#range, serverNow()), MOST, signal),
    5,
  )

  constructor() {
    super()
    new Watch(this, route)
  }

  override willUpdate(): void {
    const range = readRange(route.value.query.get('range'), '30d')
    if (route.value.screen !== 'users' || range === this.#range) return
    this.#range = range
    void this.#poll.restart()
  }

  #limit(user: UserRow): TemplateResult {
    const edit = async () => {
      if (this.#finding) return
      this.#finding = true
      try {
        openLimit(await admin.limits(), { scope: 'user', user_id: user.user_id })
      } catch (error) {
        tell(errorSentence(error), 'bad')
      }
      this.#finding = false
    }
    return user.user_id === null
      ? html``
      : html`<button type="button" class="small" @click=${edit} aria-label="Limit of ${user.user_id}">Limit …</button>`
  }

  #columns(): Column<UserRow>[] {
    const past = RANGES.find(([name]) => name === this.#range.name)?.[1] ?? ''
    const columns: Column<UserRow>[] = [
      {
        head: 'User',
        kind: 'first',
        cell: (u) =>
          u.user_id === null
            ? html`<span class="quiet">unknown</span>`
            : html`<a class="break" href=${link('jobs', { user: u.user_id })} data-line data-key="user-${u.user_id}">${u.user_id}</a>`,
      },
      { head: 'In work', kind: 'num', cell: (u) => against(number(u.active), u.max_active) },
      { head: 'Requested today', kind: 'num', cell: (u) => against(number(u.submits_today), u.submits_per_day) },
      {
        head: 'Spent today',
        kind: 'num',
        cell: (u) => html`<span class="two"
          ><span>${against(usd(u.spent_today_usd), u.spend_per_day_usd, usd)}</span
          ><span class="quiet">${Number(u.reserved_usd) > 0 ? `${usd(u.reserved_usd)} reserved` : ''}</span></span
        >`,
      },
      {
        head: `Videos, ${past}`,
        kind: 'num',
        cell: (u) => html`${number(u.videos)} <span class="quiet">of ${number(u.submits)}</span>`,
      },
      { head: `Spent, ${past}`, kind: 'num', cell: (u) => usd(u.spent_usd) },
      { head: 'Share', kind: 'num', cell: (u) => percent(u.share) },
    ]
    return mayAct() ? [...columns, { head: '', kind: 'act', cell: (u) => this.#limit(u) }] : columns
  }

  #list(users: UserRow[]): TemplateResult {
    if (users.length === 0) return empty('Nobody has requested a video in this time.')
    return html`${dataTable('Users', this.#columns(), users, (u) => u.user_id ?? '')}
      ${users.some((u) => u.more) ? html`<p class="quiet pad">There are more users; these are the first ${number(users.length)}.</p>` : nothing}`
  }

  override render() {
    const choices = RANGES.map(([name, text]) => ({
      text,
      href: link('users', { range: name }),
      on: name === this.#range.name,
    }))
    return html`${pageHead('Users')} ${tabs('How far back', choices)}
      <p class="quiet">Days begin at 00:00 UTC. Those with the most in work come first, then those who have spent the most.</p>
      ${polled(this.#poll, (users) => this.#list(users))}`
  }
}

define('vv-users', UsersScreen)
