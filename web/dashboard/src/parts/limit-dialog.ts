// A limit, as it is and as it is to be: all seven of it, since they are set together.

import { html, nothing, type TemplateResult } from 'lit'
import { ApiError } from '../api/errors'
import type { Limit, LimitField, LimitScope } from '../api/types'
import { admin } from '../app/session'
import { sentence } from '../lib/format'
import { changeText, FIELDS, GROUPS, inherits, limitText, NAMES, nameOf, SCOPES, whoText } from '../lib/limit-text'
import { define } from './base'
import { Dialog, openDialog } from './dialog'

/** so many are listed */
const MOST_KNOWN = 1000
const LABELS: Partial<Record<LimitScope, string>> = { user: 'User id', tenant: 'Tenant', model: 'fal.ai’s endpoint id' }

type Whose = Pick<Limit, 'scope'> & Partial<Limit>
type Texts = Record<LimitField, string>
const textsOf = (limit?: Partial<Limit>) =>
  Object.fromEntries(FIELDS.map((field) => [field, String(limit?.[field] ?? '')])) as Texts

class LimitDialog extends Dialog {
  /** those that there were; of a new one only */
  readonly #taken: Limit[] | undefined
  #scope: LimitScope
  #name: string
  #exists: boolean
  #was: Texts
  #now: Texts

  constructor(whose: Whose | undefined, known: Limit[]) {
    super()
    this.#scope = whose?.scope ?? 'user'
    this.#name = (whose && nameOf(whose)) ?? ''
    if (!whose) this.#taken = known
    const limit = this.#find(known)
    this.#exists = limit !== undefined
    this.#was = textsOf(limit)
    this.#now = { ...this.#was }
  }

  /** What names it, as the functions take it. */
  #whose(): Whose {
    const key = NAMES[this.#scope as keyof typeof NAMES]
    return { scope: this.#scope, user_id: null, ...(key && { [key]: this.#name }) }
  }

  #find(limits: Limit[]): Limit | undefined {
    const who = whoText(this.#whose())
    return limits.find((limit) => whoText(limit) === who)
  }

  protected heading(): string {
    return this.#taken ? 'Add a limit' : `Limit: ${whoText(this.#whose())}`
  }

  /** The field that a refusal is about: it names it, or quotes what is in it. */
  #isAbout(field: LimitField): boolean {
    const { error } = this
    const text = this.#now[field].trim()
    return (
      error instanceof ApiError &&
      (error.message.startsWith(field) || (text !== '' && error.message.includes(`"${text}"`)))
    )
  }

  protected override isPlaced(): boolean {
    return FIELDS.some((field) => this.#isAbout(field))
  }

  #group([what, fields]: (typeof GROUPS)[number]): TemplateResult {
    const bad = fields.find(([field]) => this.#isAbout(field))?.[0]
    const inputs = fields.map(([field, per]) => {
      const type = (event: Event) => {
        this.#now[field] = (event.target as HTMLInputElement).value
        this.requestUpdate()
      }
      return html`<label>${per} <input inputmode="decimal" autocomplete="off" aria-label="${what} ${per}" placeholder=${inherits(this.#scope) ? 'default' : 'no limit'} ?autofocus=${!this.#taken && field === 'max_active'} aria-invalid=${field === bad} aria-describedby=${field === bad ? 'refusal' : nothing} .value=${this.#now[field]} @input=${type} /></label>`
    })
    const why = () => sentence((this.error as Error).message.replace(`${bad} `, ''))
    return html`<fieldset class="thirds"><legend>${what}</legend>${inputs}
      ${bad ? html`<p id="refusal" role="alert">${why()}.</p>` : ''}</fieldset>`
  }

  #choice(taken: Limit[]): TemplateResult {
    const label = LABELS[this.#scope]
    const choose = (event: Event) => {
      this.#scope = (event.target as HTMLSelectElement).value as LimitScope
      this.#name = ''
      this.requestUpdate()
    }
    const type = (event: Event) => {
      this.#name = (event.target as HTMLInputElement).value.trim()
      this.requestUpdate()
    }
    const free = Object.entries(SCOPES).filter(([scope]) => scope in NAMES || !taken.some((l) => l.scope === scope))
    return html`<label>For <select autofocus @change=${choose}>${free.map(([scope, words]) => html`<option value=${scope}>${sentence(words)}</option>`)}</select></label>
      ${label ? html`<label>${label} <input spellcheck="false" autocomplete="off" .value=${this.#name} @input=${type} /></label>` : ''}`
  }

  #changes(): string[] {
    const text = (texts: Texts, field: LimitField) => limitText(texts[field].trim(), this.#scope, field)
    return GROUPS.flatMap(([what, fields]) =>
      fields.map(([field, per]) => changeText(`${what} ${per}`, text(this.#was, field), text(this.#now, field))),
    ).filter(Boolean)
  }

  protected body(): unknown {
    const changes = this.#changes()
    return html`${this.#taken ? this.#choice(this.#taken) : ''}
      ${GROUPS.map((group) => this.#group(group))}
      <p class="quiet">${inherits(this.#scope) ? 'Empty: as the default. -1: no limit.' : 'Empty: no limit.'} 0: none at all. Hours, days and months are those of UTC.</p>
      ${
        this.#taken && !this.#exists
          ? ''
          : html`<div class="changes" role="status">
        ${changes.length === 0 ? html`<p class="quiet">Nothing is changed.</p>` : html`<ul class="plain">${changes.map((c) => html`<li>${c}</li>`)}</ul>`}
      </div>`
      }
      <p class="quiet">It counts from the next submit. What is in work goes on.</p>`
  }

  /** Does it, unless the limit is another than was read: that is shown first. */
  async #ifSame(act: () => Promise<unknown>): Promise<void> {
    const limits = await admin.limits()
    const limit = this.#find(limits)
    // what is not known would be overwritten
    if (!limit && limits.length >= MOST_KNOWN)
      throw new Error('There are more limits than are shown here: change this one with SQL.')
    const is = textsOf(limit)
    if (FIELDS.every((field) => is[field] === this.#was[field])) return void (await act())
    for (const field of FIELDS) if (this.#now[field] === this.#was[field]) this.#now[field] = is[field]
    this.#was = is
    this.#exists = limit !== undefined
    throw new Error(
      'Somebody else has set this limit meanwhile. The fields that you left alone show it; what you change stands above. Do it again if that is right.',
    )
  }

  async #finish(words: string, act: () => Promise<unknown>): Promise<void> {
    await this.finish(words, () => this.#ifSame(act))
    await this.updateComplete
    this.querySelector<HTMLElement>('[aria-invalid=true]')?.focus()
  }

  protected override buttons(): unknown {
    const save = () => this.#finish('The limit is changed', () => admin.setLimit(this.#whose(), this.#now))
    const remove = () => this.#finish('The limit is removed', () => admin.deleteLimit(this.#whose()))
    return html`${this.#exists ? this.doer('Remove the limit', remove, false, 'danger') : ''}
      ${this.doer('Save', save, this.#scope in NAMES && !this.#name)}`
  }
}

define('vv-limit', LimitDialog)

/** The limit of somebody, of those that are known, or a new one of theirs; of nobody: one to be chosen. */
export function openLimit(known: Limit[], whose?: Whose): void {
  void openDialog(new LimitDialog(whose, known))
}
