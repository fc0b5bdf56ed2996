// A wait that ends with a signal, whatever it is for.

/** What the promise gives, unless the signal ends first. */
export function inTime<T>(promise: Promise<T>, signal: AbortSignal | null | undefined): Promise<T> {
  if (!signal) return promise
  const ended = new Promise<never>((_, fail) => {
    if (signal.aborted) fail(signal.reason)
    signal.addEventListener('abort', () => fail(signal.reason), { once: true })
  })
  return Promise.race([promise, ended])
}
