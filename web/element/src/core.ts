/*
 * core.ts
 *   Follows the video of one row, and asks for it.  Without a framework.
 *
 * The row is the memory: nothing is kept in the browser.  Whoever watches the
 * same row in a page shares one watch, other tabs are told of what was asked
 * for, and other devices find out when they look.  It looks by itself only while
 * the page is seen and the job is active.
 */

export type Status = 'queued' | 'generating' | 'processing' | 'completed' | 'failed' | 'cancelled'

/** What vibevideo_submit, _status, _cancel and _retry return: type vibevideo.video. */
export interface Video {
  vibelog_id: string
  /** null: no video was ever requested */
  status: Status | null
  request_id: string | null
  video_url: string | null
  /** one sentence for the user */
  message: string
  /** how many are ahead at fal.ai */
  queue_position: number | null
  /** 0 to 1, of the copy */
  progress: number | null
  attempt: number | null
  /** for programs */
  error_code: string | null
  /** what is wrong, for the user */
  error: string | null
  submitted_at: string | null
  updated_at: string | null
  completed_at: string | null
  /** until the video is there; null if nobody can tell */
  estimate_seconds: number | null
  /** for programs: what holds it */
  waits_for: string | null
}

export type State = 'loading' | 'idle' | 'waiting' | 'generating' | 'copying' | 'ready' | 'failed' | 'cancelled' | 'unavailable'
export type Action = 'submit' | 'cancel' | 'retry'

/** Why a call came to nothing: what PostgREST said, or the network. */
export interface Problem {
  message: string
  hint: string
  /** an SQLSTATE, or PostgREST's own; empty if it was neither that answered */
  code: string
  /** of HTTP; 0 if there was no answer */
  status: number
}

export interface Snapshot {
  readonly state: State
  readonly video: Video | null
  /** what has been asked for and is not answered yet */
  readonly busy: Action | null
  /** why the last thing asked for was not done, until the next */
  readonly error: Problem | null
  /** why the video could not be looked at just now, so that it may have changed */
  readonly stale: Problem | null
  /** it was finished before it could be cancelled */
  readonly tooLate: boolean
}

/** A client of supabase-js or postgrest-js. */
export interface Client {
  rpc(name: any, args?: any, options?: any): PromiseLike<{ data: any; error: any; status: number }>
  channel?(topic: string, options?: any): any
  getChannels?(): any[]
  removeChannel?(channel: any): any
}

/** What it needs of a browser; tests have their own. */
export interface Environment {
  setTimeout(callback: () => void, ms: number): any
  clearTimeout(timer: any): void
  document?: Pick<Document, 'visibilityState' | 'addEventListener'> | undefined
  window?: Pick<Window, 'addEventListener'> | undefined
  BroadcastChannel?: typeof BroadcastChannel | undefined
}

export interface Options {
  /** if it is not the one given to setClient */
  client?: Client | null | undefined
  /** the table was attached with realtime => true, and the client has Realtime */
  realtime?: boolean | undefined
  environment?: Environment | undefined
}

export interface Watch {
  /** the same object until something changes */
  readonly getSnapshot: () => Snapshot
  /** Follows the video until the last subscriber has left; returns how to leave. */
  readonly subscribe: (listener: () => void, signal?: AbortSignal) => () => void
  readonly refresh: () => Promise<Snapshot>
  readonly submit: () => Promise<Snapshot>
  readonly cancel: () => Promise<Snapshot>
  readonly retry: () => Promise<Snapshot>
}

const STATES: Record<Status, State> = {
  queued: 'waiting', generating: 'generating', processing: 'copying',
  completed: 'ready', failed: 'failed', cancelled: 'cancelled',
}

/** Before anything is known; what a server renders. */
export const loading: Snapshot = { state: 'loading', video: null, busy: null, error: null, stale: null, tooLate: false }

export function isActive(video: Video | null): boolean {
  return ['queued', 'generating', 'processing'].includes(video?.status ?? '')
}

// ---- what is known of an end --------------------------------------------------

/**
 * Nothing can have been charged for this attempt: fal.ai has never accepted it,
 * and no answer of its was lost.  false: it may have been, nobody can tell here.
 */
export function isUncharged(video: Video): boolean {
  return (video.status === 'failed' || video.status === 'cancelled') && video.request_id === null && video.submitted_at === null &&
    video.error_code !== 'submit_lost' && video.error_code !== 'answer_lost'
}

// The sentences of the extension's function shown_error tell what its codes do not:
// how far the job had come, and of which class its trouble is.

/** The video was made, and only its copy failed: a retry copies it again, free of charge. */
export function isMade(video: Video): boolean {
  return video.status === 'failed' && (video.error ?? '').startsWith('The video was made')
}

/** The model objects to the text or the image: the same one fails again. */
export function isRejected(video: Video): boolean {
  return video.status === 'failed' && /^The provider (rejects this content|cannot use this input)/.test(video.error ?? '')
}

// ---- how often to look ---------------------------------------------------------

const FIRST = 5
const FIRST_COPYING = 2
const SLOWEST = 60
/** whatever a server asks for: a timer of more than 24 days fires at once */
const LEAST = 1
const MOST = 3600

/**
 * Seconds until the next look: like the extension's own polls they are first
 * every so often, then after a tenth of the time that has passed already.
 */
export function pause(video: Video, known: { waited: number; retryAfter: number | null; heard: boolean }): number {
  const copying = video.status === 'processing'
  const first = copying ? Math.min(known.retryAfter ?? FIRST_COPYING, FIRST_COPYING) : known.retryAfter ?? FIRST
  const slowest = Math.min(6 * first, Math.max(first, SLOWEST))
  // Realtime reports a change of status, but not how far a copy is
  if (known.heard && !copying) return slowest
  const seconds = Math.min(slowest, Math.max(first, known.waited / 10))
  return video.estimate_seconds ? Math.min(seconds, Math.max(first, video.estimate_seconds)) : seconds
}

/** After so many failed looks in a row. */
export function backoff(failures: number, retryAfter: number | null): number {
  return Math.max(retryAfter ?? 0, Math.min(SLOWEST, 2 ** failures))
}

/** Seconds that a timer may be given. */
function bounded(seconds: number): number {
  return Number.isFinite(seconds) ? Math.min(MOST, Math.max(LEAST, seconds)) : SLOWEST
}

/** Another time it may be answered.  401: a token that has run out is renewed, and people sign in. */
function isTemporary({ status }: Problem): boolean {
  return [0, 401, 408, 425, 429].includes(status) || status >= 500
}

// ---- one call -------------------------------------------------------------------

interface Reply {
  video: Video | null
  problem: Problem | null
  retryAfter: number | null
}

/** How long an answer is waited for, in seconds: a connection may hang for as long as nobody ends it. */
const PATIENCE_LOOKING = 30
const PATIENCE_ACTING = 90

const isVideo = (value: any): boolean => typeof value?.vibelog_id === 'string' && 'status' in value

/** Whatever has answered: what is not of its type is not known. */
function cleaned(value: any): Video {
  const video = { ...value, message: typeof value.message === 'string' ? value.message : '' }
  for (const name of ['request_id', 'video_url', 'error_code', 'error', 'submitted_at', 'updated_at', 'completed_at', 'waits_for']) {
    if (typeof video[name] !== 'string') video[name] = null
  }
  for (const name of ['queue_position', 'progress', 'attempt', 'estimate_seconds']) if (!Number.isFinite(video[name])) video[name] = null
  return video
}

function problemOf(error: any, status: number): Problem {
  return { message: String(error?.message ?? ''), hint: String(error?.hint ?? ''), code: String(error?.code ?? ''), status }
}

/** Answered in time, or given up: by the signal, or because it takes too long. */
async function answered<T>(request: PromiseLike<T>, seconds: number, stop: AbortController, environment: Environment): Promise<T> {
  let timer: any
  const late = new Promise<never>((_, give) => {
    stop.signal.addEventListener('abort', () => give(new Error('no answer')))
    timer = environment.setTimeout(() => stop.abort(), seconds * 1000)
  })
  try {
    return await Promise.race([request, late])
  } finally {
    environment.clearTimeout(timer)
  }
}

async function call(client: Client, name: string, id: string, environment: Environment, signal?: AbortSignal): Promise<Reply> {
  const reply: Reply = { video: null, problem: null, retryAfter: null }
  const looks = name === 'vibevideo_status'
  const stop = new AbortController()
  signal?.addEventListener('abort', () => stop.abort())
  try {
    const request: any = client.rpc(name, { vibelog_id: id }, { get: looks })
    // postgrest-js shows no headers to those who call it
    const send = request.fetch
    if (typeof send === 'function') {
      request.fetch = async (...args: unknown[]) => {
        const answer = await send(...args)
        const seconds = parseInt(answer?.headers?.get?.('retry-after') ?? '', 10)
        if (seconds > 0) reply.retryAfter = bounded(seconds)
        return answer
      }
    }
    request.abortSignal?.(stop.signal)
    // it is tried again here, and told meanwhile
    request.retry?.(false)
    const { data, error, status } = await answered<any>(request, looks ? PATIENCE_LOOKING : PATIENCE_ACTING, stop, environment)
    // of a submit that fal.ai has refused (HTTP 502) the error is the failed video
    const video = isVideo(data) ? data : isVideo(error) ? error : null
    if (video) reply.video = cleaned(video)
    else reply.problem = problemOf(error, error ? status : 500)
  } catch (error) {
    reply.problem = problemOf(error, 0)
  }
  return reply
}

// ---- how many at a time -----------------------------------------------------------

/** Looks of a page with one client, however many rows it shows: the server has others to answer. */
const AT_ONCE = 8
const lines = new WeakMap<object, { under: number, waiting: (() => void)[] }>()

async function inTurn<T>(client: object, work: () => Promise<T>): Promise<T> {
  const line = lines.get(client) ?? { under: 0, waiting: [] }
  lines.set(client, line)
  if (line.under < AT_ONCE) line.under++
  else await new Promise<void>((go) => { line.waiting.push(go) })
  try {
    return await work()
  } finally {
    const next = line.waiting.shift()
    if (next) next()
    else line.under--
  }
}

// ---- watching -------------------------------------------------------------------

/** Stands for the client of setClient, which may not have been called yet. */
const DEFAULT = {}
/** Between two looks that are due; a job has fewer changes. */
const MOST_BROADCASTS = 20
let defaultClient: Client | null = null
// weakly: most of what a server, or a render that is given up, makes is never used
const shared = new WeakMap<object, Map<string, WeakRef<Follower>>>()
// and not its name either: a server sees many
const unused = new FinalizationRegistry<{ known: Map<string, WeakRef<Follower>>, name: string }>(({ known, name }) => {
  if (!known.get(name)?.deref()) known.delete(name)
})

/** The client of all that are not given one. */
export function setClient(client: Client | null): void {
  defaultClient = client
  for (const follower of shared.get(DEFAULT)?.values() ?? []) follower.deref()?.restart()
}

function browser(): Environment {
  const { document, window, BroadcastChannel } = globalThis as any
  return {
    setTimeout: (callback, ms) => setTimeout(callback, ms),
    clearTimeout: (timer) => clearTimeout(timer),
    // Node.js has a BroadcastChannel, which would keep it running
    document, window, BroadcastChannel: document && BroadcastChannel,
  }
}

class Follower implements Watch {
  #snapshot = loading
  #listeners = new Set<() => void>()
  #end: AbortController | null = null
  #reading: AbortController | null = null
  /** a look was asked for during another, whose answer may be older than the reason */
  #again = false
  /** counts looks and actions: only the newest may change anything */
  #turn = 0
  #timer: any = null
  #waited = 0
  #failures = 0
  /** of the last answer that had one, and of the last failure */
  #rhythm: number | null = null
  #retryAfter: number | null = null
  #heard = false
  /** since a change, or a look that was due */
  #broadcasts = 0
  /** the look that was begun when somebody came back */
  #returned = 0
  #cancelling = false
  #tabs: BroadcastChannel | null = null

  constructor(readonly id: string, readonly options: Options, readonly environment: Environment) {}

  get #client(): Client | null {
    return this.options.client ?? defaultClient
  }

  readonly getSnapshot = () => this.#snapshot
  readonly submit = () => this.#act('submit')
  readonly cancel = () => this.#act('cancel')
  readonly retry = () => this.#act('retry')

  readonly refresh = async () => {
    this.#failures = 0
    await this.#look()
    return this.#snapshot
  }

  readonly subscribe = (listener: () => void, signal?: AbortSignal) => {
    // an own object for each, so that one listener may be there twice
    const heard = () => listener()
    const leave = () => {
      this.#listeners.delete(heard)
      // a component that is moved, or that React mounts twice, is back by then
      queueMicrotask(() => { if (this.#listeners.size === 0) this.#stop() })
    }
    if (signal?.aborted) return leave
    signal?.addEventListener('abort', leave, { once: true })
    this.#listeners.add(heard)
    if (!this.#end) this.#start()
    return leave
  }

  #set(change: Partial<Snapshot>) {
    const before = this.#snapshot
    const next = { ...before, ...change }
    if (JSON.stringify(next.video) === JSON.stringify(before.video)) next.video = before.video
    const { video, stale } = next
    next.state = video ? video.status !== null ? Object.hasOwn(STATES, video.status) ? STATES[video.status] : 'unavailable' : 'idle' : stale && !isTemporary(stale) ? 'unavailable' : 'loading'
    if (JSON.stringify(next) === JSON.stringify(before)) return
    this.#snapshot = next
    for (const listener of [...this.#listeners]) listener()
  }

  // -- beginning and end

  #start() {
    if (!this.id) return
    const { document, window, BroadcastChannel } = this.environment
    const end = this.#end = new AbortController()
    const options = { signal: end.signal }
    document?.addEventListener('visibilitychange', () => this.#isHidden() ? this.#rest() : this.#lookAgain(), options)
    window?.addEventListener('focus', () => this.#lookAgain(), options)
    window?.addEventListener('online', () => this.#lookAgain(), options)
    window?.addEventListener('offline', () => this.#set({ stale: this.#snapshot.stale ?? problemOf(null, 0) }), options)
    if (BroadcastChannel) {
      this.#tabs = new BroadcastChannel('vibe-video')
      this.#tabs.onmessage = ({ data }) => { if (data === this.id) this.#look() }
    }
    try {
      this.#join(end.signal)
    } catch {
      // a channel that the app has joined may not be joined again: it polls
    }
    this.#look()
  }

  /** There is another client. */
  restart() {
    const started = this.#end !== null
    this.#stop()
    if (started) this.#start()
  }

  #stop() {
    this.#rest()
    this.#turn++
    this.#reading?.abort()
    this.#reading = null
    this.#end?.abort()
    this.#end = null
    this.#tabs?.close()
    this.#tabs = null
    this.#cancelling = false
    // whoever comes next may be another user
    this.#set({ ...loading })
  }

  #rest() {
    if (this.#timer !== null) this.environment.clearTimeout(this.#timer)
    this.#timer = null
  }

  #isHidden() {
    return this.environment.document?.visibilityState === 'hidden'
  }

  // -- Realtime: tells that there is something to look at

  #join(signal: AbortSignal) {
    const client = this.#client
    if (!this.options.realtime || !client?.channel) return
    const topic = `vibelog:${this.id}`
    const before = [...client.getChannels?.() ?? []]
    const channel = client.channel(topic, { config: { private: true } })
    channel.on('broadcast', { event: 'status' }, () => {
      if (signal.aborted) return
      // somebody makes them up: then it polls as without it
      this.#heard = ++this.#broadcasts <= MOST_BROADCASTS
      if (this.#heard) this.#look()
    }).subscribe((status: string) => {
      if (signal.aborted) return
      // what happened before, or while it was away, was told to nobody
      if (status === 'SUBSCRIBED') this.#look()
      else this.#heard = false
    })
    // the app may have this channel for itself
    if (!before.includes(channel)) signal.addEventListener('abort', () => client.removeChannel?.(channel))
  }

  // -- looking

  /** Somebody is back; a finished video is not looked at for that. */
  #lookAgain() {
    this.#failures = this.#broadcasts = 0
    if (this.#snapshot.state === 'ready' && !this.#snapshot.stale || this.#isHidden()) return
    // a tab that is seen again gets the focus, too
    if (this.#reading && this.#returned === this.#turn) return
    const idle = !this.#reading
    this.#look()
    if (idle) this.#returned = this.#turn
  }

  async #look() {
    const client = this.#client
    if (!this.#end || !client || this.#snapshot.busy) return
    if (this.#reading) {
      this.#again = true
      return
    }
    this.#rest()
    const turn = ++this.#turn
    this.#reading = new AbortController()
    const { signal } = this.#reading
    const reply = await inTurn(client, async () => signal.aborted ? null : await call(client, 'vibevideo_status', this.id, this.environment, signal))
    if (turn !== this.#turn || !reply) return
    this.#reading = null
    this.#take(reply)
    if (this.#again) {
      this.#again = false
      await this.#look()
    } else {
      this.#plan()
    }
  }

  #take({ video, problem, retryAfter }: Reply) {
    if (!video) {
      this.#failures++
      this.#retryAfter = retryAfter
      // a row that is gone, or not to be seen any more, has no video
      this.#set(isTemporary(problem!) ? { stale: problem } : { stale: problem, video: null })
      return
    }
    const before = this.#snapshot.video
    this.#failures = 0
    this.#rhythm = retryAfter ?? this.#rhythm
    if (before?.status !== video.status || before?.attempt !== video.attempt) this.#waited = this.#broadcasts = 0
    const finished = video.status === 'processing' || video.status === 'completed'
    this.#set({ video, stale: null, tooLate: this.#snapshot.tooLate && finished || this.#cancelling && finished })
    if (!isActive(video)) this.#cancelling = false
  }

  #plan() {
    const { video, stale, busy } = this.#snapshot
    this.#rest()
    if (!this.#end || busy || this.#isHidden()) return
    let seconds
    if (stale) {
      if (!isTemporary(stale)) return
      seconds = backoff(this.#failures, this.#retryAfter)
    } else {
      if (!isActive(video)) return
      seconds = pause(video!, { waited: this.#waited, retryAfter: this.#rhythm, heard: this.#heard })
    }
    seconds = bounded(seconds)
    this.#timer = this.environment.setTimeout(() => {
      this.#timer = null
      this.#broadcasts = 0
      this.#waited += seconds
      this.#look()
    }, seconds * 1000)
  }

  // -- acting

  async #act(action: Action): Promise<Snapshot> {
    const client = this.#client
    // of many clicks, the first
    if (!client || !this.id || this.#snapshot.busy) return this.#snapshot
    this.#rest()
    const turn = ++this.#turn
    this.#reading?.abort()
    this.#reading = null
    this.#again = false
    this.#cancelling = action === 'cancel'
    this.#set({ busy: action, error: null, tooLate: false })
    const problem = await this.#ask(client, action, (reply) => { if (turn === this.#turn) this.#take(reply) })
    // everybody has left meanwhile
    if (turn !== this.#turn) return this.#snapshot
    if (problem) this.#cancelling = false
    this.#set({ busy: null, error: problem })
    this.#tabs?.postMessage(this.id)
    this.#plan()
    return this.#snapshot
  }

  /** Why it was not done, null if it was. */
  async #ask(client: Client, action: Action, take: (reply: Reply) => void): Promise<Problem | null> {
    const seen = this.#snapshot.video
    const moved = ({ video }: Reply) => video !== null &&
      (seen ? video.status !== seen.status || video.attempt !== seen.attempt : isActive(video))

    // What has ended is paid for again, and may have been asked for elsewhere since it was seen
    if (action !== 'cancel') {
      const now = await call(client, 'vibevideo_status', this.id, this.environment)
      if (!now.video) return now.problem
      take(now)
      if (moved(now)) return null
    }
    const reply = await call(client, `vibevideo_${action}`, this.id, this.environment)
    if (reply.video) {
      take(reply)
      return null
    }
    // it may have arrived all the same
    const later = reply.problem!.status === 0 || reply.problem!.status >= 500 ? await call(client, 'vibevideo_status', this.id, this.environment) : null
    if (later?.video) take(later)
    return later && (moved(later) || action === 'cancel' && later.video?.waits_for === 'cancel') ? null : reply.problem
  }
}

/** The video of a row, shared by all in this page that watch it with the same client. */
export function watch(id: string | number | null | undefined, options: Options = {}): Watch {
  const key = options.environment ?? options.client ?? DEFAULT
  const name = `${options.realtime ? 'realtime' : ''}:${id ?? ''}`
  const known = shared.get(key)?.get(name)?.deref()
  if (known) return known
  const follower = new Follower(String(id ?? ''), options, options.environment ?? browser())
  const all = shared.get(key) ?? new Map<string, WeakRef<Follower>>()
  shared.set(key, all.set(name, new WeakRef(follower)))
  unused.register(follower, { known: all, name })
  return follower
}
