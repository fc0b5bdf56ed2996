// The screens. On a narrow page behind a button.

import { html, nothing, type TemplateResult } from 'lit'
import { PLACES } from '../app/keys'
import { overview } from '../app/overview'
import { link, route } from '../app/route'
import { mayAct } from '../app/session'
import { number } from '../lib/format'
import { Watch } from '../lib/store'
import { define, Part } from './base'
import { type IconName, icon } from './icon'

class Nav extends Part {
  #open = false
  #here = route.value

  constructor() {
    super()
    new Watch(this, route, overview)
  }

  override willUpdate(): void {
    if (route.value !== this.#here) this.#open = false
    this.#here = route.value
  }

  #toggle(): void {
    this.#open = !this.#open
    this.requestUpdate()
  }

  #count(screen: string): TemplateResult | typeof nothing {
    const now = overview.value
    if (!now) return nothing
    const lost = now.needs_you_by_kind?.lost_submit ? 1 : 0
    if (screen === 'overview' && now.needs_you > 0)
      return html`<span class="count" title="need you">${number(now.needs_you)}<span class="unseen"> need you</span></span>`
    if (screen === 'lost' && lost)
      return html`<span class="count" title="wait for a decision">!<span class="unseen"> wait for a decision</span></span>`
    return nothing
  }

  override render() {
    const here = route.value.screen === 'job' ? 'jobs' : route.value.screen
    return html`<nav class="rail" aria-label="Screens"><div class="brand">
        <a href=${link('overview')}>${icon('film')}vibevideo</a>
        <button type="button" class="tiny burger" aria-expanded=${this.#open} aria-controls="places" aria-label="Screens" @click=${this.#toggle}>
          ${icon('menu')}
        </button>
      </div>
      <div id="places" class=${this.#open ? 'open' : ''}>
        ${PLACES.filter(([, screen]) => screen !== 'audit' || mayAct()).map(
          ([
            ,
            screen,
            label,
          ]) => html`<a href=${link(screen)} class=${screen === here ? 'on' : ''} aria-current=${screen === here ? 'page' : nothing}>
            ${icon(screen as IconName)}<span>${label}</span>${this.#count(screen)}
          </a>`,
        )}
      </div></nav>`
  }
}

define('vv-nav', Nav)
