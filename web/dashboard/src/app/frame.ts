// What is around the screens, and which one is shown.

import { html, type TemplateResult } from 'lit'
import type { Overview } from '../api/types'
import { Watch } from '../lib/store'
import { define, Part } from '../parts/base'
import { announce } from './announce'
import { PLACES } from './keys'
import { overview } from './overview'
import { Poll } from './poll'
import { route, type Screen } from './route'
import { admin } from './session'

const SHOW: Record<Screen, () => TemplateResult> = {
  overview: () => html`<vv-overview></vv-overview>`,
  jobs: () => html`<vv-jobs></vv-jobs>`,
  job: () => html`<vv-job></vv-job>`,
  find: () => html`<vv-find></vv-find>`,
  lost: () => html`<vv-lost></vv-lost>`,
  errors: () => html`<vv-errors></vv-errors>`,
  users: () => html`<vv-users></vv-users>`,
  charts: () => html`<vv-charts></vv-charts>`,
  limits: () => html`<vv-limits></vv-limits>`,
  health: () => html`<vv-health></vv-health>`,
  audit: () => html`<vv-audit></vv-audit>`,
  ledger: () => html`<vv-ledger></vv-ledger>`,
}

class Frame extends Part {
  #screen: Screen | null = null
  #needs: number | null = null
  readonly #poll = new Poll<Overview>(this, async (signal) => {
    const now = await admin.overview(signal)
    overview.set(now)
    this.#tellNeeds(now.needs_you)
    return now
  })

  constructor() {
    super()
    new Watch(this, route)
  }

  #tellNeeds(needs: number): void {
    if (this.#needs !== null && needs !== this.#needs)
      announce(needs === 0 ? 'Nothing needs you any more' : `${needs} to look at`)
    this.#needs = needs
  }

  #title(): string {
    const { screen, id } = route.value
    if (screen === 'job') return `Job ${id}`
    return screen === 'find' ? 'Search' : (PLACES.find(([, place]) => place === screen)?.[2] ?? 'vibevideo')
  }

  override updated(): void {
    const needs = this.#poll.data?.needs_you ?? 0
    document.title = `${needs > 0 ? `(${needs}) ` : ''}${this.#title()} – vibevideo`
    const { screen } = route.value
    if (this.#screen !== null && this.#screen !== screen) void this.#arrive()
    this.#screen = screen
  }

  /** After going to another screen the focus is on its heading. */
  async #arrive(): Promise<void> {
    await new Promise(requestAnimationFrame)
    if (route.value.screen !== 'jobs') scrollTo(0, 0)
    if (document.querySelector('dialog[open]')) return
    this.querySelector<HTMLElement>('main h1')?.focus({ preventScroll: true })
  }

  override render() {
    return html`
      <a class="skip" href="#main" @click=${this.#skip}>To the content</a>
      <vv-nav></vv-nav>
      <div class="page">
        <header class="top"><vv-top-bar></vv-top-bar></header>
        <vv-notices></vv-notices>
        <main id="main" tabindex="-1">${SHOW[route.value.screen]()}</main>
      </div>
    `
  }

  #skip(event: Event): void {
    event.preventDefault()
    this.querySelector<HTMLElement>('#main')?.focus()
  }
}

define('vv-frame', Frame)
