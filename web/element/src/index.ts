/*
 * index.ts
 *   The package: defines <vibe-video>, where there are elements to define.
 */
import type { Client, Problem, Snapshot, State, Video } from './core.js'
import { VibeVideoElement as Implementation } from './element.js'
import type { Labels } from './labels.js'

export * from './core.js'
export { english, type Labels } from './labels.js'

/** What <vibe-video> has beyond any element. */
export interface VibeVideoElement extends HTMLElement {
  /** the row's key; attribute vibelog-id */
  vibelogId: string | number | null
  /** an image that is shown until the video is played */
  poster: string | null
  /** what a video costs, as the user is to read it */
  price: string | null
  /** the table was attached with realtime => true */
  realtime: boolean
  /** if it is not the one given to setClient */
  client: Client | null
  /** words in place of the English ones */
  labels: Partial<Labels> | null
  /** gives the address to play, such as a signed one, in place of video_url */
  source: ((video: Video) => string | Promise<string>) | null
  readonly video: Video | null
  readonly snapshot: Snapshot
  /** a new attempt, which is paid for, if the row's last one has ended */
  submit(): Promise<Snapshot>
  cancel(): Promise<Snapshot>
  retry(): Promise<Snapshot>
  refresh(): Promise<Snapshot>
}

export const VibeVideoElement: { new (): VibeVideoElement; prototype: VibeVideoElement } = Implementation

/** All of them bubble, and leave the element's shadow. */
export interface VibeVideoEvents {
  /** something about the video has changed */
  'vibe-status': CustomEvent<{ state: State; video: Video | null }>
  /** it is there, also if it was when the page was opened */
  'vibe-ready': CustomEvent<{ video: Video }>
  /** it has failed (error is null), or a call has; in the latter case video may be null */
  'vibe-error': CustomEvent<{ video: Video | null; error: Problem | Error | null }>
}

declare global {
  interface HTMLElementTagNameMap {
    'vibe-video': VibeVideoElement
  }
  interface HTMLElementEventMap extends VibeVideoEvents {}
}

const { customElements } = globalThis
// two copies of the package in one page are one too many, but no reason to fail
if (customElements && !customElements.get('vibe-video')) customElements.define('vibe-video', Implementation)
