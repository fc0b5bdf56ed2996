/*
 * element.ts
 *   <vibe-video>: shows the video of one row, and what becomes of it until then.
 */
import { html, nothing, render, type TemplateResult } from 'lit/html.js'
import { isActive, isMade, isRejected, isUncharged, loading, watch, type Action, type Client, type Snapshot, type Video, type Watch } from './core.js'
import { english, type Labels } from './labels.js'
import { styles } from './styles.js'

type Content = TemplateResult | typeof nothing

const picture = (path: string) => html`<svg part="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${path} /></svg>`
const CIRCLE = 'M3 12a9 9 0 1 0 18 0 9 9 0 1 0-18 0'
const FILM = 'M5 5h14a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2m5.5 4.5 4 2.5-4 2.5z'
const FAILED = `${CIRCLE}m9-4.5v5.25m0 3.5v.01`
const CANCELLED = `${CIRCLE}m2.6-6.4 12.8 12.8`

/** A server has no elements, and imports this all the same. */
const Base = globalThis.HTMLElement ?? class {}

/** Attributes, and the properties that they set. */
const ATTRIBUTES: Record<string, string> = { 'vibelog-id': 'vibelogId', poster: 'poster', price: 'price', realtime: 'realtime' }
const PROPERTIES = [...Object.values(ATTRIBUTES), 'client', 'labels', 'source']

let sheet: CSSStyleSheet | undefined

export class VibeVideoElement extends Base {
  static observedAttributes = Object.keys(ATTRIBUTES)

  // accessors, defined below
  declare vibelogId: string | number | null
  declare poster: string | null
  declare price: string | null
  declare realtime: boolean
  declare client: Client | null
  declare labels: Partial<Labels> | null
  declare source: ((video: Video) => string | Promise<string>) | null

  #values: Record<string, any> = {}
  #root: ShadowRoot
  #watch: Watch | null = null
  /** what the watch was made from */
  #key: unknown[] = []
  /** nothing of it was shown yet */
  #fresh = true
  #leave: (() => void) | null = null
  /** what is shown, and was told of by events */
  #shown = loading
  #due = false
  /** whether it asks if the video is to be cancelled, and whether it did when it was shown last */
  #asks = false
  #asked = false
  #announcement = ''
  /** the address to play, of which video it is, and whether it is the second one since something was played */
  #src: string | null = null
  #srcOf = ''
  #signedAgain = false

  constructor() {
    super()
    this.#root = this.attachShadow({ mode: 'open' })
    if (!sheet) {
      sheet = new CSSStyleSheet()
      sheet.replaceSync(styles)
    }
    this.#root.adoptedStyleSheets = [sheet]
  }

  static {
    for (const name of PROPERTIES) {
      Object.defineProperty(this.prototype, name, {
        get(this: VibeVideoElement) { return this.#values[name] ?? (name === 'realtime' ? false : null) },
        set(this: VibeVideoElement, value) {
          this.#values[name] = value
          this.#changed()
        },
        enumerable: true,
      })
    }
  }

  attributeChangedCallback(name: string, _: string | null, value: string | null) {
    (this as any)[ATTRIBUTES[name]!] = name === 'realtime' ? value !== null : value
  }

  get snapshot(): Snapshot { return this.#watched().getSnapshot() }
  get video(): Video | null { return this.snapshot.video }

  submit(): Promise<Snapshot> { return this.#act('submit') }
  cancel(): Promise<Snapshot> { return this.#act('cancel') }
  retry(): Promise<Snapshot> { return this.#act('retry') }
  refresh(): Promise<Snapshot> { return this.#watched().refresh() }

  // ---- following

  connectedCallback() {
    // what was set before the element was defined hides the accessors
    for (const name of PROPERTIES) {
      if (!Object.hasOwn(this, name)) continue
      const value = (this as any)[name]
      delete (this as any)[name]
      ;(this as any)[name] = value
    }
    this.#changed()
    this.#update()
  }

  disconnectedCallback() {
    this.#unfollow()
  }

  #unfollow() {
    this.#leave?.()
    this.#leave = null
  }

  /** What the properties say now, even before it is shown. */
  #watched(): Watch {
    const { vibelogId, client, realtime } = this
    const key = [vibelogId, client, realtime]
    if (!this.#watch || key.some((value, nth) => value !== this.#key[nth])) {
      this.#key = key
      this.#watch = watch(vibelogId, { client, realtime })
      this.#unfollow()
      // what was shown, and asked, was about another row
      this.#fresh = true
      this.#asks = this.#signedAgain = false
      this.#src = null
      this.#srcOf = ''
    }
    return this.#watch
  }

  #act(action: Action) {
    this.#asks = false
    return this.#watched()[action]()
  }

  #ask(asks: boolean) {
    this.#asks = asks
    this.#changed()
  }

  /** Several changes are shown at once. */
  #changed() {
    if (this.#due || !this.isConnected) return
    this.#due = true
    queueMicrotask(() => {
      if (this.#due && this.isConnected) this.#update()
    })
  }

  #update() {
    this.#due = false
    const watched = this.#watched()
    this.#leave ??= watched.subscribe(() => this.#changed())
    const before = this.#shown
    const { state, video } = this.#shown = watched.getSnapshot()
    if (this.#asks && (state === 'copying' || !isActive(video) || video?.waits_for === 'cancel')) this.#asks = false
    const entered = this.#fresh || state !== before.state || video?.attempt !== before.video?.attempt
    this.#fresh = false
    if (entered) this.#announcement = this.#words()
    if (state === 'ready') this.#findSource(video!)

    const root = this.#root
    const hadFocus = root.activeElement
    this.setAttribute('state', state)
    render(this.#render(), root, { host: this })
    this.#moveFocus(hadFocus !== null)
    this.#tell(before, entered)
  }

  /** What had the focus may be gone, and whoever uses a keyboard should not begin at the top again. */
  #moveFocus(hadFocus: boolean) {
    const focus = (what: string) => this.#root.querySelector<HTMLElement>(what)?.focus()
    if (this.#asks && !this.#asked) focus('.safe')
    if (this.#asked && !this.#asks && hadFocus) focus('.stage button')
    if (hadFocus && !this.#root.activeElement) focus('.stage')
    this.#asked = this.#asks
  }

  /** A private bucket wants a signed address. */
  #findSource(video: Video) {
    const of = `${this.source !== null} ${video.attempt} ${video.video_url}`
    if (this.#srcOf === of) return
    this.#srcOf = of
    this.#src = this.source ? null : video.video_url
    if (!this.source) return
    Promise.resolve(video).then(this.source).then((src) => {
      if (this.#srcOf !== of) return
      this.#src = src
      this.#changed()
    }, (error) => this.#emit('vibe-error', { video, error }))
  }

  /** A signed address does not work for ever. */
  #signAgain() {
    if (!this.source || this.#signedAgain) return
    this.#signedAgain = true
    this.#srcOf = ''
    this.#changed()
  }

  #tell(before: Snapshot, entered: boolean) {
    const { state, video, error, stale } = this.#shown
    if (state !== before.state || video !== before.video) this.#emit('vibe-status', { state, video })
    if (entered && state === 'ready') this.#emit('vibe-ready', { video })
    if (entered && state === 'failed') this.#emit('vibe-error', { video, error: null })
    if (entered && state === 'unavailable') this.#emit('vibe-error', { video, error: stale })
    if (error && error !== before.error) this.#emit('vibe-error', { video, error })
  }

  #emit(name: string, detail: object) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }))
  }

  // ---- showing

  get #labels(): Labels {
    return { ...english, ...this.labels }
  }

  /** What is told to those who do not see it, once for each state. */
  #words(): string {
    const { state, video, stale } = this.#shown
    const words = this.#labels
    switch (state) {
      case 'waiting': case 'generating': case 'ready': return words.message(video!)
      case 'copying': return words.copying
      case 'failed': return `${words.failed}. ${words.reason(video!)}`
      case 'cancelled': return words.cancelled
      case 'unavailable': return stale ? words.unavailable(stale) : ''
      default: return ''
    }
  }

  #render(): TemplateResult {
    const { state, error, stale, video, tooLate } = this.#shown
    const words = this.#labels
    return html`
      <div part="stage ${state}" class="stage ${state}" role="group" aria-label=${words.video} tabindex="-1">
        <slot name=${state}>${this.#content()}</slot>
      </div>
      ${tooLate ? html`<p part="note" class="detail under">${words.tooLate}</p>` : nothing}
      ${stale && isActive(video) ? html`<p part="note" class="detail under">${words.stale}</p>` : nothing}
      <div role="alert">${error ? html`<div part="error" class="error"><p>${words.refused(error)}</p></div>` : nothing}</div>
      <p class="unseen" role="status">${this.#announcement}</p>`
  }

  #content(): Content {
    const { state, video, stale } = this.#shown
    const words = this.#labels
    switch (state) {
      case 'loading': return html`${picture(FILM)}<p class="unseen">${words.loading}</p>`
      case 'unavailable': return html`${picture(FAILED)}<p part="message" class="detail">${stale ? words.unavailable(stale) : nothing}</p>`
      case 'idle': return html`${picture(FILM)}${this.#buttons(this.#button('submit', words.submit, words.submitting))}${this.#price()}`
      case 'ready': return this.#player()
      case 'failed': return this.#failed(video!)
      case 'cancelled': return html`${picture(CANCELLED)}<p part="title" class="title">${words.cancelled}</p>${this.#charge(video!)}
        ${this.#buttons(this.#button('retry', words.again, words.retrying, true))}${this.#price()}`
      default: return this.#progress(video!)
    }
  }

  /** What can be told of a job that has not ended: no part of a time that nobody knows. */
  #progress(video: Video): Content {
    const words = this.#labels
    const copying = video.status === 'processing'
    const ending = video.waits_for === 'cancel'
    return html`
      ${video.status === 'queued' ? html`<div class="dots" aria-hidden="true"><i></i><i></i><i></i></div>` : nothing}
      <p part="message" class="title tabular">${ending ? words.cancelling : words.message(video)}</p>
      ${video.estimate_seconds && !copying && !ending ? html`<p part="estimate" class="detail tabular">${words.estimate(video.estimate_seconds)}</p>` : nothing}
      ${video.status === 'queued' ? nothing : this.#bar(copying ? words.copying : words.generating, copying ? video.progress : null)}
      ${copying || ending ? nothing : this.#asks ? this.#question() : this.#buttons(this.#button('cancel', words.cancel, words.cancelling, true, () => this.#ask(true)))}`
  }

  #bar(name: string, done: number | null): Content {
    const percent = done === null ? undefined : Math.round(done * 100)
    return html`<div part="progress" class="bar ${percent === undefined ? 'unknown' : ''}" role="progressbar" aria-label=${name}
        aria-valuemin="0" aria-valuemax="100" aria-valuenow=${percent ?? nothing}>
      <div part="progress-value" .style=${percent === undefined ? '' : `inline-size: ${percent}%`}></div></div>`
  }

  #question(): Content {
    const words = this.#labels
    return html`<div part="question" class="ask" role="group" aria-labelledby="question" aria-describedby="hint" @keydown=${(event: KeyboardEvent) => {
      if (event.key === 'Escape') this.#ask(false)
    }}>
      <p id="question" class="note">${words.cancelQuestion}</p>
      <p id="hint" class="detail">${words.cancelHint}</p>
      ${this.#buttons(html`${this.#button('cancel', words.cancelYes, words.cancelling)}
        <button part="button quiet" class="quiet safe" type="button" @click=${() => this.#ask(false)}>${words.cancelNo}</button>`)}
    </div>`
  }

  #player(): Content {
    const src = this.#src
    if (!src) return html`${picture(FILM)}<p class="unseen">${this.#labels.loading}</p>`
    return html`${this.#picture(src)}${this.#generated()}`
  }

  #picture(src: string): Content {
    // models that make animated pictures
    if (/\.gif(\?|$)/i.test(src)) return html`<img part="video" src=${src} alt=${this.#labels.video}>`
    return html`<video part="video" controls playsinline preload="none" poster=${this.poster ?? nothing} src=${src} aria-label=${this.#labels.video}
      @loadeddata=${() => { this.#signedAgain = false }} @error=${() => this.#signAgain()}></video>`
  }

  /** Whoever sees it is told so, as the law asks for in more and more places. */
  #generated(): Content {
    return this.#labels.generated ? html`<p part="generated" class="generated">${this.#labels.generated}</p>` : nothing
  }

  #failed(video: Video): Content {
    const words = this.#labels
    const rejected = isRejected(video)
    const made = isMade(video)
    return html`${picture(FAILED)}
      <p part="title" class="title">${words.failed}</p>
      <p part="message" class="detail">${words.reason(video)}</p>
      ${rejected ? html`<p part="note" class="detail">${words.rejected}</p>` : nothing}
      ${made ? html`<p part="note" class="detail">${words.made}</p>` : this.#charge(video)}
      ${this.#buttons(made ? this.#button('retry', words.save, words.retrying)
        : rejected ? this.#button('submit', words.submitChanged, words.submitting, true)
        : this.#button('retry', words.retry, words.retrying))}
      ${made ? nothing : this.#price()}`
  }

  #charge(video: Video): Content {
    return isUncharged(video) ? html`<p part="charge" class="detail">${this.#labels.uncharged(video.attempt ?? 1)}</p>` : nothing
  }

  #price(): Content {
    return this.price ? html`<p part="price" class="detail">${this.#labels.price(this.price)}</p>` : nothing
  }

  #buttons(buttons: Content): Content {
    return html`<div part="actions" class="actions">${buttons}</div>`
  }

  /** It keeps the focus while its call is under way, so it is not disabled. */
  #button(action: Action, name: string, meanwhile: string, quiet = false, click = () => { this.#act(action) }): Content {
    const { busy } = this.#shown
    return html`<button part="button ${quiet ? 'quiet' : ''}" class=${quiet ? 'quiet' : ''} type="button" aria-disabled=${busy ? 'true' : nothing}
      @keydown=${(event: KeyboardEvent) => { if (event.repeat) event.preventDefault() }}
      @click=${() => { if (!busy) click() }}>${busy === action ? meanwhile : name}</button>`
  }
}
