// Waiting for a condition, never for a time.

export const PATIENCE_MS = 30000

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms) })

/** What probe gives, once that is true. what: for the message if it never is. */
export async function until(what, probe, patienceMs = PATIENCE_MS) {
  const end = Date.now() + patienceMs
  let last
  for (let ms = 5; ; ms = Math.min(ms * 2, 100)) {
    last = await probe()
    if (last) return last
    if (Date.now() > end) throw new Error(`gave up waiting until ${typeof what === 'function' ? await what() : what}`)
    await pause(ms)
  }
}
