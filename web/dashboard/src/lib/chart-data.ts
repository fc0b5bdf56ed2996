// The series of the database as the lines of our charts.

import type { SeriesRow } from '../api/types'
import type { ChartData, Line } from '../parts/chart'
import { duration, number, shortDuration, usd } from './format'
import { type Column, fullestLabel, most, sumColumn, timesOf, total } from './series'

export type Phase = 'wait' | 'render' | 'copy' | 'total'

export const PHASES: [phase: Phase, label: string][] = [
  ['wait', 'until fal.ai has it'],
  ['render', 'rendering'],
  ['copy', 'copying'],
  ['total', 'in all'],
]

export interface SeriesSet {
  backlog: SeriesRow[]
  p50: SeriesRow[]
  p95: SeriesRow[]
  completed: SeriesRow[]
  failed: SeriesRow[]
  cancelled: SeriesRow[]
  spend: SeriesRow[]
}

function add(columns: Column[]): Column {
  return (columns[0] ?? []).map((_, nth) => {
    const known = columns.map((column) => column[nth]).filter((v): v is number => v != null)
    return known.length > 0 ? known.reduce((a, b) => a + b, 0) : null
  })
}

const upTo = (format: (n: number) => string) => (column: Column) => {
  const top = most(column)
  return top === null ? 'unknown' : `up to ${format(top)}`
}

function line(ink: Line['ink'], label: string, column: Column, summary: (column: Column) => string): Line {
  return { ink, label, column, summary: summary(column) }
}

export function backlogChart(set: SeriesSet, times: number[]): ChartData {
  const of = (...states: string[]) => add(states.map((state) => sumColumn(set.backlog, times, state)))
  return {
    title: 'In work',
    times,
    format: number,
    lines: [
      line('quiet', 'Waiting', of('pending', 'submitting', 'submit_unknown'), upTo(number)),
      line('accent', 'At fal.ai', of('queued', 'generating'), upTo(number)),
      line('ok', 'Copying', of('processing'), upTo(number)),
    ],
  }
}

export function waitsChart(set: SeriesSet, times: number[], phase: Phase, model: string | null): ChartData {
  const label = model ?? fullestLabel(set.p50) ?? ''
  const words = PHASES.find(([p]) => p === phase)?.[1] ?? ''
  return {
    title: `Time ${words}`,
    times,
    format: shortDuration,
    lines: [
      line('accent', 'Typical (median)', sumColumn(set.p50, times, label), upTo(duration)),
      line('warn', 'Slow (1 in 20 takes longer)', sumColumn(set.p95, times, label), upTo(duration)),
    ],
  }
}

export function finishedChart(set: SeriesSet, times: number[]): ChartData {
  const sum = (column: Column) => `${number(total(column))} in all`
  return {
    title: 'Ended',
    times,
    format: number,
    lines: [
      line('ok', 'Done', sumColumn(set.completed, times), sum),
      line('bad', 'Failed', sumColumn(set.failed, times), sum),
      line('quiet', 'Cancelled', sumColumn(set.cancelled, times), sum),
    ],
  }
}

export function spendChart(set: SeriesSet, times: number[]): ChartData {
  const column = sumColumn(set.spend, times)
  return {
    title: 'Spent',
    times,
    format: usd,
    lines: [line('accent', 'Videos made', column, (c) => `${usd(total(c))} in all`)],
  }
}

/** Nothing was in work, ended or was spent: there is no line to be seen. */
export function isBlank(charts: ChartData[]): boolean {
  return charts.every(({ lines }) => lines.every(({ column }) => (most(column) ?? 0) === 0))
}

/** All charts have the same times, so that they can be read one below the other. */
export function sharedTimes(set: SeriesSet): number[] {
  return timesOf([set.backlog, set.p50, set.completed, set.spend])
}
