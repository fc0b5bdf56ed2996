// Signing in: with a password, by a link in a mail, or with a token where there is no sign-in service.

import { html, type TemplateResult } from 'lit'
import { apiName, hasAuth, isOwn, sendLink, signIn, useToken } from '../app/session'
import { tokenProblem } from '../lib/jwt'
import { define, Part } from '../parts/base'
import { icon } from '../parts/icon'

type Way = 'password' | 'link' | 'token'
const WAYS: [way: Way, label: string][] = [
  ['password', 'Password'],
  ['link', 'Email link'],
  ['token', 'Token'],
]

class Login extends Part {
  static override properties = { reason: {} }
  declare reason: string | null
  #way: Way = 'password'
  #auth: boolean | null = null
  #busy = false
  #problem: string | null = null
  #sent = ''

  override connectedCallback(): void {
    super.connectedCallback()
    void hasAuth().then((found) => {
      this.#auth = found
      if (!found) this.#way = 'token'
      this.requestUpdate()
    })
  }

  #choose(way: Way): void {
    this.#way = way
    this.#problem = null
    this.#sent = ''
    this.requestUpdate()
  }

  async #submit(event: Event): Promise<void> {
    event.preventDefault()
    if (this.#busy) return
    const form = new FormData(event.target as HTMLFormElement)
    const field = (name: string) => String(form.get(name) ?? '').trim()
    this.#busy = true
    this.#problem = null
    this.requestUpdate()
    try {
      this.#problem = await this.#enter(field)
    } catch (error) {
      this.#problem = error instanceof Error ? error.message : String(error)
    }
    this.#busy = false
    this.requestUpdate()
  }

  async #enter(field: (name: string) => string): Promise<string | null> {
    if (this.#way === 'password') return signIn(field('email'), field('password'))
    if (this.#way === 'token') {
      const problem = tokenProblem(field('token'), Date.now())
      if (!problem) await useToken(field('token'))
      return problem
    }
    const problem = await sendLink(field('email'))
    if (!problem) this.#sent = field('email')
    return problem
  }

  #fields(): TemplateResult {
    const email = html`<label>Email address <input name="email" type="email" required autocomplete="username" /></label>`
    if (this.#way === 'token') {
      return html`<label>JWT <textarea name="token" rows="4" required spellcheck="false" autocomplete="off"></textarea></label>
        <p class="quiet">It stays in this tab. Use one of your own, never the service_role key.</p>`
    }
    if (this.#way === 'link') return email
    return html`${email}<label>Password <input name="password" type="password" required autocomplete="current-password" /></label>`
  }

  override render() {
    const verb = this.#way === 'link' ? 'Send the link' : 'Sign in'
    return html`<main class="login">
      <h1>vibevideo</h1>
      <p class="quiet">${isOwn() ? 'Sign in at' : 'This page belongs to no server. It signs in at'} <strong class="break">${apiName()}</strong></p>
      ${this.reason ? html`<p class="line warn" role="status">${icon('warn')}${this.reason}</p>` : ''}
      <div class="tabs" role="group" aria-label="How to sign in">
        ${WAYS.map(
          ([way, label]) =>
            html`<button type="button" class=${way === this.#way ? 'on' : ''} aria-pressed=${way === this.#way} @click=${() => this.#choose(way)}>${label}</button>`,
        )}
      </div>
      ${this.#auth === false && this.#way !== 'token' ? html`<p class="line warn">There seems to be no sign-in service here. Use a token.</p>` : ''}
      <form class="fields" @submit=${this.#submit}>
        ${this.#fields()}
        ${this.#problem ? html`<p class="line bad" role="alert">${icon('bad')}${this.#problem}</p>` : ''}
        ${this.#sent ? html`<p class="line" role="status">If ${this.#sent} is known here, the link is on its way. Open it in this browser.</p>` : ''}
        <button class="primary" ?disabled=${this.#busy}>${this.#busy ? 'One moment …' : verb}</button>
      </form>
    </main>`
  }
}

define('vv-login', Login)
