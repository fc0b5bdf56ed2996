import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JobRow } from '../src/api/types'
import { toCsv } from '../src/lib/csv'

const job = (change: Partial<JobRow>) => ({ job_id: 1, vibelog_id: 'a', state: 'failed', ...change }) as JobRow
const cellOf = (change: Partial<JobRow>, name: string) => {
  const [names, line] = toCsv([job(change)]).split('\r\n') as [string, string]
  return line.split(',')[names.split(',').indexOf(name)]
}

test('names, then a line a job', () => {
  const lines = toCsv([job({}), job({ job_id: 2 })]).split('\r\n')
  assert.equal(lines.length, 4)
  assert.match(lines[0] as string, /^job_id,vibelog_id,/)
  assert.match(lines[2] as string, /^2,a,/)
  assert.equal(toCsv([]).split('\r\n').length, 2)
})

test('commas, quotes and line ends stay within their cell', () => {
  assert.match(toCsv([job({ prompt: 'a "b", c\nd' })]), /,"a ""b"", c\nd"\r\n$/)
})

test('what looks like a formula is text; numbers are numbers', () => {
  for (const prompt of ['=1+1', '+1', '-1', '@x', '\tx']) assert.equal(cellOf({ prompt }, 'prompt'), `'${prompt}`)
  assert.match(toCsv([job({ prompt: '\r=1' })]), /,"'\r=1"\r\n$/)
  assert.equal(cellOf({ cost_usd: -0.5 }, 'cost_usd'), '-0.5')
})

test('nor does it become one where semicolons part cells', () => {
  assert.match(toCsv([job({ prompt: 'x; =HYPERLINK(1)' })]), /,x; '=HYPERLINK\(1\)\r\n$/)
  assert.match(toCsv([job({ prompt: 'x;y' })]), /,x;y\r\n$/)
  for (const prompt of [' =1', '＝1', '＋1']) assert.equal(cellOf({ prompt }, 'prompt'), `'${prompt}`)
})

test('what is not known is empty', () => {
  assert.equal(cellOf({ error_code: null }, 'error_code'), '')
  assert.equal(cellOf({ orphan: false }, 'orphan'), 'false')
})
