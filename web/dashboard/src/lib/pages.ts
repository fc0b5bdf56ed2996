// A list that is read page by page, by cursors. What was read stays in its place, however the jobs move on
// meanwhile; a job that comes again on a later page is shown once.

export interface Page<Row, Cursor> {
  rows: Row[]
  next: Cursor | null
  bound: string | null
}

export class Pages<Row, Cursor> {
  pages: Row[][] = []
  next: Cursor | null = null
  bound: string | null = null
  /** the last page had nothing that was not there, and says that there is more */
  stalled = false
  readonly #idOf: (row: Row) => number

  constructor(idOf: (row: Row) => number) {
    this.#idOf = idOf
  }

  get size(): number {
    return this.pages.reduce((n, page) => n + page.length, 0)
  }

  get rows(): Row[] {
    return this.pages.flat()
  }

  /** Begins anew with a first page. */
  start(page: Page<Row, Cursor>): void {
    this.pages = [page.rows]
    this.stalled = false
    this.next = page.next
    this.bound = page.bound
  }

  /** Adds the page that the last one's cursor led to. */
  append(page: Page<Row, Cursor>): void {
    const known = new Set(this.rows.map(this.#idOf))
    const fresh = page.rows.filter((row) => !known.has(this.#idOf(row)))
    if (fresh.length > 0) this.pages = [...this.pages, fresh]
    this.stalled = fresh.length === 0 && page.next !== null
    this.next = page.next
    this.bound = page.bound
  }

  /** Puts newer rows in the place of those with their numbers. */
  patch(rows: Row[]): void {
    const newer = new Map(rows.map((row) => [this.#idOf(row), row]))
    this.pages = this.pages.map((page) => page.map((row) => newer.get(this.#idOf(row)) ?? row))
  }

  /** How many of a newly read first page are not in the list. */
  unseen(rows: Row[]): number {
    const known = new Set(this.rows.map(this.#idOf))
    return rows.filter((row) => !known.has(this.#idOf(row))).length
  }
}
