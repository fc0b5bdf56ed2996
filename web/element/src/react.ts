/*
 * react.ts
 *   A hook, and the element's attributes for JSX.
 */
import { useMemo, useSyncExternalStore, type DetailedHTMLProps, type HTMLAttributes } from 'react'
import { loading, watch, type Client, type Options, type Snapshot, type Video, type Watch } from './core.js'
import type { VibeVideoElement, VibeVideoEvents } from './index.js'

export { setClient } from './core.js'

export type VibeVideo = Snapshot & Pick<Watch, 'submit' | 'cancel' | 'retry' | 'refresh'>

/** The video of a row, and how to ask for it; null while there is no row yet. */
export function useVibeVideo(id: string | number | null | undefined, options: Options = {}): VibeVideo {
  const { client, realtime, environment } = options
  const watched = useMemo(() => watch(id, { client, realtime, environment }), [id, client, realtime, environment])
  const snapshot = useSyncExternalStore(watched.subscribe, watched.getSnapshot, () => loading)
  return useMemo(() => {
    const { submit, cancel, retry, refresh } = watched
    return { ...snapshot, submit, cancel, retry, refresh }
  }, [watched, snapshot])
}

/** What JSX takes for <vibe-video>. */
export interface VibeVideoAttributes extends DetailedHTMLProps<HTMLAttributes<VibeVideoElement>, VibeVideoElement> {
  'vibelog-id'?: string | number | undefined
  poster?: string | undefined
  price?: string | undefined
  realtime?: boolean | undefined
  client?: Client | undefined
  labels?: VibeVideoElement['labels'] | undefined
  source?: ((video: Video) => string | Promise<string>) | undefined
  'onvibe-status'?: ((event: VibeVideoEvents['vibe-status']) => void) | undefined
  'onvibe-ready'?: ((event: VibeVideoEvents['vibe-ready']) => void) | undefined
  'onvibe-error'?: ((event: VibeVideoEvents['vibe-error']) => void) | undefined
}

declare module 'react' {
  namespace JSX {
    interface IntrinsicElements {
      'vibe-video': VibeVideoAttributes
    }
  }
}
