// Which lines of a list are selected; with Shift all between two.

export class Selection {
  readonly ids = new Set<number>()
  #last: number | null = null

  clear(): void {
    this.ids.clear()
    this.#last = null
  }

  /** order: the lines as they are on the page. */
  toggle(id: number, on: boolean, through: boolean, order: number[]): void {
    const from = this.#last === null ? -1 : order.indexOf(this.#last)
    const to = order.indexOf(id)
    const [low, high] = through && from >= 0 ? [Math.min(from, to), Math.max(from, to)] : [to, to]
    for (const one of order.slice(low, high + 1)) {
      if (on) this.ids.add(one)
      else this.ids.delete(one)
    }
    this.#last = id
  }
}
