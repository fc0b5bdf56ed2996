// Series, as the database has them (a row for each time and label), as columns for charts.

import type { SeriesRow } from '../api/types'

export type Column = (number | null)[]

const seconds = (at: string): number => Date.parse(at) / 1000

/** All times of several series, in order, as seconds since 1970. */
export function timesOf(all: SeriesRow[][]): number[] {
  return [...new Set(all.flatMap((rows) => rows.map((row) => seconds(row.at))))]
    .filter(Number.isFinite)
    .sort((a, b) => a - b)
}

export function labelsOf(rows: SeriesRow[]): string[] {
  return [...new Set(rows.map((row) => row.label))].sort()
}

/** One column: the sum over labels; null where nothing is known. */
export function sumColumn(rows: SeriesRow[], times: number[], label?: string): Column {
  const sums = new Map<number, number | null>()
  for (const row of rows) {
    if (label !== undefined && row.label !== label) continue
    const at = seconds(row.at)
    const before = sums.get(at)
    // a chart has no room for what is not finite
    const value = row.value === null ? Number.NaN : Number(row.value)
    sums.set(at, Number.isFinite(value) ? (before ?? 0) + value : (before ?? null))
  }
  return times.map((at) => sums.get(at) ?? null)
}

/** The label of which most is known. */
export function fullestLabel(rows: SeriesRow[]): string | null {
  const known = new Map<string, number>()
  for (const row of rows) known.set(row.label, (known.get(row.label) ?? 0) + (row.value === null ? 0 : 1))
  return [...known].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]))[0]?.[0] ?? null
}

export function total(column: Column): number {
  return column.reduce<number>((sum, value) => sum + (value ?? 0), 0)
}

export function most(column: Column): number | null {
  return column.reduce<number | null>((top, value) => (value === null ? top : Math.max(top ?? value, value)), null)
}
