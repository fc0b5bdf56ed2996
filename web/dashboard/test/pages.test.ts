import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { backlogChart, isBlank, type SeriesSet } from '../src/lib/chart-data'
import { Pages } from '../src/lib/pages'
import { fullestLabel, labelsOf, most, sumColumn, timesOf, total } from '../src/lib/series'
import { Selection } from '../src/parts/selection'

interface Row {
  id: number
  state: string
}
const row = (id: number, state = 'queued'): Row => ({ id, state })
const list = () => new Pages<Row, { after: number }>((r) => r.id)
const ids = (pages: { rows: Row[] }) => pages.rows.map((r) => r.id)

describe('a list that is read page by page', () => {
  test('keeps the order in which it was read, and shows a job once', () => {
    const pages = list()
    pages.start({ rows: [row(5), row(4)], next: { after: 4 }, bound: 'max_jobs' })
    pages.append({ rows: [row(4), row(3), row(5), row(2)], next: null, bound: null })
    assert.deepEqual(ids(pages), [5, 4, 3, 2])
    assert.equal(pages.next, null)
    assert.equal(pages.size, 4)
  })
  test('goes on after a page without anything, which a time bound may leave', () => {
    const pages = list()
    pages.start({ rows: [], next: { after: 9 }, bound: 'time' })
    pages.append({ rows: [], next: { after: 8 }, bound: 'time' })
    assert.deepEqual(pages.next, { after: 8 })
    assert.equal(pages.pages.length, 1)
  })
  test('is not read further by itself where pages bring nothing and name more', () => {
    const pages = list()
    pages.start({ rows: [row(5)], next: { after: 5 }, bound: 'max_jobs' })
    assert.equal(pages.stalled, false)
    pages.append({ rows: [row(5)], next: { after: 5 }, bound: 'max_jobs' })
    assert.equal(pages.stalled, true)
    pages.append({ rows: [row(4)], next: null, bound: null })
    assert.equal(pages.stalled, false)
  })
  test('is patched in place', () => {
    const pages = list()
    pages.start({ rows: [row(5), row(4)], next: null, bound: null })
    pages.patch([row(4, 'completed'), row(77, 'completed')])
    assert.deepEqual(pages.rows, [row(5), row(4, 'completed')])
  })
  test('knows what is new', () => {
    const pages = list()
    pages.start({ rows: [row(5), row(4)], next: null, bound: null })
    assert.equal(pages.unseen([row(7), row(6), row(5)]), 2)
  })
})

describe('a selection', () => {
  const order = [9, 8, 7, 6, 5]
  test('goes from one to another with Shift, upwards too, and back', () => {
    const selection = new Selection()
    selection.toggle(6, true, false, order)
    selection.toggle(8, true, true, order)
    assert.deepEqual([...selection.ids].sort(), [6, 7, 8])
    selection.toggle(7, false, true, order)
    assert.deepEqual([...selection.ids], [6])
  })
  test('without a beginning takes the one', () => {
    const selection = new Selection()
    selection.toggle(7, true, true, order)
    assert.deepEqual([...selection.ids], [7])
  })
})

describe('series', () => {
  const at = (minute: number) => `2026-11-29T14:0${minute}:00+00:00`
  const rows = [
    { at: at(0), label: 'a', value: 1 },
    { at: at(0), label: 'b', value: 2 },
    { at: at(1), label: 'a', value: null },
    { at: at(1), label: 'b', value: 5 },
    { at: at(2), label: 'a', value: null },
  ]
  const times = timesOf([rows, [{ at: at(3), label: 'a', value: 0 }]])
  test('have one axis', () => assert.equal(times.length, 4))
  test('are summed over labels; nothing known is not nothing', () => {
    assert.deepEqual(sumColumn(rows, times), [3, 5, null, null])
    assert.deepEqual(sumColumn(rows, times, 'a'), [1, null, null, null])
  })
  test('have no times and numbers that a chart cannot draw', () => {
    const odd = [
      ...rows,
      { at: 'never', label: 'a', value: 1 },
      { at: at(0), label: 'c', value: 'Infinity' as unknown as number },
    ]
    assert.deepEqual(timesOf([odd]), timesOf([rows]))
    assert.deepEqual(sumColumn(odd, times), [3, 5, null, null])
    assert.equal(total([3, null, 5]), 8)
    assert.equal(most([null, 3, 2]), 3)
    assert.equal(most([null]), null)
  })
  test('have labels', () => {
    assert.deepEqual(labelsOf(rows), ['a', 'b'])
    assert.equal(fullestLabel(rows), 'b')
    assert.equal(fullestLabel([]), null)
  })
  test('in which nothing happened make blank charts', () => {
    const chart = (value: number | null) =>
      backlogChart({ backlog: [{ at: at(0), label: 'queued', value }] } as unknown as SeriesSet, times)
    assert.ok(isBlank([chart(null), chart(0)]))
    assert.ok(!isBlank([chart(0), chart(1)]))
  })
})
