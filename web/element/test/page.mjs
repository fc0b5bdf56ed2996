// A page of its own for each test: time, tabs and visibility are moved by hand.

/** Lets everything happen that waits for nothing but promises. */
export const settle = () => new Promise((resolve) => setImmediate(resolve))

/** Lets things happen until that is so, which needs few turns, if it is to be. */
export async function until(what, isSo) {
  for (let turns = 0; turns < 20000; turns++) {
    if (isSo()) return
    await settle()
  }
  throw new Error(`it never came to this: ${what}`)
}

export function page({ tabs = new Set() } = {}) {
  const timers = new Map()
  let last = 0
  const document = Object.assign(new EventTarget(), { visibilityState: 'visible' })
  const window = new EventTarget()
  const environment = {
    setTimeout(callback, ms) {
      timers.set(++last, { callback, seconds: ms / 1000 })
      return last
    },
    clearTimeout: (timer) => timers.delete(timer),
    document, window,
    BroadcastChannel: class {
      constructor(name) { this.name = name; tabs.add(this) }
      postMessage(data) { for (const tab of tabs) if (tab !== this && tab.name === this.name) tab.onmessage({ data }) }
      close() { tabs.delete(this) }
    },
  }
  return {
    environment, tabs,
    /** how long it is going to wait, in seconds: none or one */
    waits: () => [...timers.values()].map(({ seconds }) => seconds),
    async pass() {
      const [[timer, { callback }]] = timers
      timers.delete(timer)
      callback()
      await settle()
    },
    async see(visible) {
      document.visibilityState = visible ? 'visible' : 'hidden'
      document.dispatchEvent(new Event('visibilitychange'))
      await settle()
    },
    async fire(name) {
      window.dispatchEvent(new Event(name))
      await settle()
    },
  }
}

/** A promise, and how to keep it. */
export function later() {
  let resolve
  const promise = new Promise((keep) => { resolve = keep })
  return { promise, resolve }
}
