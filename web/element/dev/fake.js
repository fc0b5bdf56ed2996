/*
 * fake.js
 *   An API without a server, for tests and for the gallery: rows that hold the
 *   video they are given, and calls that are answered when they are told to be.
 */

const EMPTY = {
  vibelog_id: '', status: null, request_id: null, video_url: null, message: 'No video has been requested', queue_position: null, progress: null,
  attempt: null, error_code: null, error: null, submitted_at: null, updated_at: null, completed_at: null, estimate_seconds: null, waits_for: null,
}
const SENT = { request_id: '6f3c8d52-0f3b-4c39-9d3e-6a5f0f3f8a11', submitted_at: '2026-11-29T14:05:11+00:00', attempt: 1 }

export const video = (fields = {}) => ({ ...EMPTY, vibelog_id: '1', ...fields })
export const queued = (fields) => video({ ...SENT, status: 'queued', message: 'Video queued, 3 ahead of you', queue_position: 3, estimate_seconds: 184, waits_for: 'fal_queue', ...fields })
export const waiting = (fields) => video({ status: 'queued', attempt: 1, message: 'Waiting to be sent, 3 ahead of you', estimate_seconds: 251, waits_for: 'max_active', ...fields })
export const generating = (fields) => video({ ...SENT, status: 'generating', message: 'AI is generating', estimate_seconds: 62, waits_for: 'rendering', ...fields })
export const copying = (fields) => video({ ...SENT, status: 'processing', message: 'Copying 62 %, 12 MB/s, 4 s left', progress: 0.62, estimate_seconds: 4, waits_for: 'copying', ...fields })
export const completed = (fields) => video({ ...SENT, status: 'completed', message: 'Your video is ready', progress: 1, video_url: 'https://storage.test/1.mp4', ...fields })
export const failed = (error, fields) => video({ ...SENT, status: 'failed', error, message: `Failed: ${error[0].toLowerCase()}${error.slice(1)}`, error_code: 'internal_error', ...fields })
export const cancelled = (fields) => video({ status: 'cancelled', attempt: 1, message: 'Cancelled', ...fields })

const answer = (data, status = 200) => ({ data, error: null, status })
export const refusal = (status, code, message, hint = null) => ({ data: null, error: { code, message, details: null, hint }, status })
export const noAnswer = () => ({ data: null, error: { message: 'TypeError: fetch failed', details: '', hint: '', code: '' }, status: 0 })

/**
 * rows: a key, its video.  next: what the next call of a name is answered with
 * instead, an answer or a function that makes one.
 */
export function fakeClient(rows = {}) {
  const client = {
    rows, calls: [], next: {}, aborted: 0,
    names: () => client.calls.map(({ name }) => name.replace('vibevideo_', '')),
    rpc(name, { vibelog_id: id }, options) {
      const call = { name, id, options }
      client.calls.push(call)
      const settle = async () => {
        const given = client.next[name]
        delete client.next[name]
        if (given) return typeof given === 'function' ? given() : given
        if (!(id in rows)) return refusal(404, 'PT404', 'there is no such row', 'Check the key.')
        if (name !== 'vibevideo_status') rows[id] = client.act[name](rows[id])
        return answer({ ...rows[id], vibelog_id: id }, name === 'vibevideo_status' || name === 'vibevideo_cancel' ? 200 : 202)
      }
      return {
        fetch: undefined,
        abortSignal(signal) { signal.addEventListener('abort', () => { client.aborted++ }) },
        then: (done, fail) => settle().then(done, fail),
      }
    },
    act: {
      vibevideo_submit: (row) => ['queued', 'generating', 'processing'].includes(row.status) ? row : waiting({ attempt: (row.attempt ?? 0) + 1 }),
      vibevideo_retry: (row) => ['queued', 'generating', 'processing', 'completed'].includes(row.status) ? row : waiting({ attempt: (row.attempt ?? 0) + 1 }),
      vibevideo_cancel: (row) => row.status === 'generating' || row.request_id && row.status === 'queued' ? { ...row, message: 'Cancelling', waits_for: 'cancel' }
        : row.status === 'queued' ? cancelled({ attempt: row.attempt }) : row,
    },
  }
  return client
}
