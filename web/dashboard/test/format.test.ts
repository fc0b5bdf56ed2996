import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ago, bytes, count, duration, localTime, NONE, percent, shortDuration, usd, utcTime } from '../src/lib/format'
import { parseInterval } from '../src/lib/interval'

const plain = (text: string) => text.replace(/\s/g, ' ')

describe('intervals', () => {
  const cases: [text: string | null, seconds: number | null][] = [
    ['00:00:00', 0],
    ['00:04:10.5', 250.5],
    ['123:00:00', 442800],
    ['3 days 02:00:00', 266400],
    ['1 day', 86400],
    ['-1 days +02:00:00', -79200],
    ['-00:00:01.25', -1.25],
    ['1 mon 1 day', 31 * 86400],
    ['1 year', 365.25 * 86400],
    ['', null],
    [null, null],
    ['soon', null],
    ['00:00:01 and more', null],
  ]
  for (const [text, seconds] of cases) test(`${text} is ${seconds}`, () => assert.equal(parseInterval(text), seconds))
})

describe('numbers', () => {
  test('durations have at most two units', () => {
    const cases: [number, string][] = [
      [0, '0 s'],
      [0.42, '0.4 s'],
      [12.4, '12 s'],
      [99, '99 s'],
      [99.6, '1 min 40 s'],
      [100, '1 min 40 s'],
      [120, '2 min'],
      [250, '4 min 10 s'],
      [3599.7, '60 min'],
      [3600, '1 h'],
      [11100, '3 h 5 min'],
      [20 * 60, '20 min'],
      [25 * 60 + 7, '25 min'],
      [86400, '1 d'],
      [2 * 86400 + 4 * 3600, '2 d 4 h'],
      [30 * 86400, '30 d'],
    ]
    for (const [seconds, text] of cases) assert.equal(duration(seconds), text)
    assert.equal(duration(-5), '0 s')
    assert.equal(duration(null), NONE)
  })
  test('short ones have one', () => {
    const cases: [number, string][] = [
      [5.25, '5.3 s'],
      [90, '90 s'],
      [99.5, '2 min'],
      [5400, '90 min'],
      [7200, '2 h'],
      [172800, '2 d'],
    ]
    for (const [seconds, text] of cases) assert.equal(shortDuration(seconds), text)
  })
  test('sizes', () => {
    const cases: [number, string][] = [
      [0, '0 B'],
      [999, '999 B'],
      [999.6, '1 kB'],
      [976000, '976 kB'],
      [999_600, '1 MB'],
      [19_240_000, '19.2 MB'],
      [5e9, '5 GB'],
    ]
    for (const [size, text] of cases) assert.equal(bytes(size), text)
  })
  test('money: cents, and more digits only below a dollar', () => {
    assert.match(plain(usd(0.5)), /^\$0\.50$/)
    assert.match(plain(usd(0.0425)), /^\$0\.0425$/)
    assert.match(plain(usd('1234.5678')), /^\$1,234\.57$/)
    assert.equal(usd(null), NONE)
  })
  test('counts and parts', () => {
    assert.equal(count(1, 'job'), '1 job')
    assert.equal(count(1204, 'job'), '1,204 jobs')
    assert.equal(count(2, 'failed try', 'failed tries'), '2 failed tries')
    assert.equal(percent(0.618), '62%')
  })
})

describe('times', () => {
  const now = new Date('2026-11-29T14:05:11Z')
  const at = (text: string) => new Date(text)
  test('how long ago', () => {
    assert.equal(ago(at('2026-11-29T14:05:10Z'), now), 'now')
    assert.equal(ago(at('2026-11-29T14:01:11Z'), now), '4 min ago')
    assert.equal(ago(at('2026-11-29T14:05:31Z'), now), 'in 20 s')
    assert.equal(ago(at('2026-11-24T14:05:11Z'), now), '5 d ago')
  })
  test('local in the text, UTC in the tooltip', () => {
    assert.equal(localTime(at('2026-11-29T13:58:02Z'), now), '14:58:02')
    assert.equal(localTime(at('2026-11-29T13:58:02Z'), now, false), '14:58')
    assert.match(localTime(at('2026-11-28T23:30:00Z'), at('2026-11-28T22:00:00Z')), /29 Nov.*00:30/)
    assert.match(localTime(at('2025-11-28T12:00:00Z'), now), /2025/)
    assert.equal(utcTime(at('2026-11-29T13:58:02.123Z')), '2026-11-29 13:58:02 UTC')
  })
})
