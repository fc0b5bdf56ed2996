// The bar at the top: search, refreshing, theme, who is signed in.

import { html, type TemplateResult } from 'lit'
import { INTERVALS, refresher } from '../app/refresh'
import { go, link, route } from '../app/route'
import { me, session, signOut } from '../app/session'
import { nextTheme, theme } from '../app/theme'
import { localTime } from '../lib/format'
import { Watch } from '../lib/store'
import { define, Part } from './base'
import { openHelp } from './help-dialog'
import { icon } from './icon'

const LABELS: Record<number, string> = { 2: 'every 2 s', 5: 'every 5 s', 15: 'every 15 s', 60: 'every min', 0: 'never' }

class TopBar extends Part {
  constructor() {
    super()
    new Watch(this, session, theme, route, refresher.interval, refresher.updatedAt, refresher.busy)
  }

  override connectedCallback(): void {
    super.connectedCallback()
    document.addEventListener('click', this.#leaveMenu)
    document.addEventListener('focusin', this.#leaveMenu)
  }

  override disconnectedCallback(): void {
    document.removeEventListener('click', this.#leaveMenu)
    document.removeEventListener('focusin', this.#leaveMenu)
    super.disconnectedCallback()
  }

  /** Somebody goes on elsewhere: the menu would lie over it. A dialog that it has opened gives the focus back to it. */
  #leaveMenu = (event: Event) => {
    const menu = this.querySelector('.person') as HTMLDetailsElement
    const to = event.target as Element
    if (!menu.contains(to) && !to.closest('dialog')) menu.open = false
  }

  #closeMenu(event: KeyboardEvent): void {
    const menu = event.currentTarget as HTMLDetailsElement
    if (event.key !== 'Escape' || !menu.open) return
    menu.open = false
    menu.querySelector('summary')?.focus()
  }

  #search(event: Event): void {
    event.preventDefault()
    const q = (this.querySelector('#search') as HTMLInputElement).value.trim()
    if (q) go(link('find', { q }))
  }

  #refreshControl(): TemplateResult {
    const at = refresher.updatedAt.value
    const choose = (event: Event) => refresher.interval.set(Number((event.target as HTMLSelectElement).value))
    const seconds = refresher.interval.value
    return html`<div class="refresh">
      <span class="quiet" title="When what is shown was read">${at ? localTime(at, new Date()) : ''}</span>
      <label><span class="unseen">Refresh</span>
        <select @change=${choose} title="How often what is shown is read again">
          ${INTERVALS.map((n) => html`<option value=${n} ?selected=${n === seconds}>${LABELS[n]}</option>`)}
        </select></label>
      <button type="button" class="tiny" aria-label="Refresh now" title="Refresh now (r)" @click=${() => refresher.now(true)}>
        ${icon('refresh', refresher.busy.value ? 'turning' : '')}
      </button>
    </div>`
  }

  #person(): TemplateResult {
    const now = session.value
    const email = now.phase === 'ready' ? now.email : null
    const who = me()
    return html`<details class="person" @keydown=${this.#closeMenu}>
      <summary aria-label="Account and help">${icon('users')}</summary>
      <div class="menu">
        <p><strong class="break">${who?.note ?? email ?? who?.name}</strong><span class="quiet break">${who?.note ? email : ''}</span><span class="quiet">${who?.level}${who?.see_input ? ', may see prompts' : ''}</span></p>
        <p class="quiet">vibevideo ${who?.version}</p>
        <button type="button" @click=${openHelp}>Keyboard …</button>
        <button type="button" @click=${() => signOut()}>Sign out</button>
      </div>
    </details>`
  }

  override render() {
    return html`
      <form class="search" role="search" @submit=${this.#search}>
        ${icon('search')}
        <input id="search" type="search" aria-label="Search jobs by any id" placeholder="Job, row, request, user, error …" autocomplete="off" spellcheck="false" />
        <kbd aria-hidden="true">/</kbd>
      </form>
      ${this.#refreshControl()}
      <button type="button" class="tiny" title="Theme: ${theme.value} (t)" aria-label="Theme: ${theme.value}" @click=${nextTheme}>${icon('theme')}</button>
      ${this.#person()}
    `
  }
}

define('vv-top-bar', TopBar)
