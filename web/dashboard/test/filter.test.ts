import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { chips, type Filter, fromApi, isEmpty, readFilter, without, writeFilter } from '../src/lib/filter'

const read = (query: string) => readFilter(new URLSearchParams(query))

describe('a filter in the URL', () => {
  const all: Filter = {
    state: ['failed', 'cancelled'],
    status: ['queued'],
    error_code: ['http_503'],
    class: ['provider'],
    model: ['fal-ai/minimax/video-01'],
    user: ['a&b=c', '<img src=x>'],
    request_id: ['r-1'],
    key: ['k%20'],
    job_id: ['17'],
    since: '2 hours',
    until: '2026-11-28 13:00Z',
    prompt: 'a fox & a boat #1',
    attempts: 2,
    cost: 0.5,
    orphan: false,
    paid_not_stored: true,
  }
  test('is the same when it is read again', () => assert.deepEqual(read(writeFilter(all).toString()), all))
  test('has the same text, whatever the order it was written in', () => {
    assert.equal(
      writeFilter(read('cost=1&state=failed')).toString(),
      writeFilter(read('state=failed&cost=1')).toString(),
    )
  })
  test('leaves out what is none', () => {
    assert.deepEqual(read('nonsense=1&state=&attempts=two&orphan=maybe&cost=&q=x'), {})
    assert.ok(isEmpty(read('')))
  })
  test('names a value once', () => assert.deepEqual(read('state=failed&state=failed'), { state: ['failed'] }))
})

describe('its chips', () => {
  const filter = read(
    'state=failed&state=cancelled&class=policy&user=u&since=24+hours&paid_not_stored=true&orphan=true&cost=0.5&attempts=2',
  )
  test('are in words', () => {
    const labels = chips(filter).map((chip) => chip.label)
    assert.deepEqual(labels, [
      'Failed',
      'Cancelled',
      'Error: Content policy',
      'user: u',
      'Last 24 hours',
      '2 attempts or more',
      '$0.5 or more',
      'Without a saved row',
      'Paid for, not stored',
    ])
  })
  test('of unknown values have those', () => assert.equal(chips(read('state=new_one'))[0]?.label, 'new_one'))
  test('can be taken away, one by one, until nothing is left', () => {
    let left = filter
    for (const { key, value } of chips(filter)) {
      const before = chips(left).length
      left = without(left, key, value)
      assert.equal(chips(left).length, before - 1)
    }
    assert.ok(isEmpty(left))
    assert.deepEqual(filter, read(writeFilter(filter).toString()), 'the filter itself is not changed')
  })
})

test('a filter of the database has numbers and single values', () => {
  const filter = fromApi({
    job_id: [1996, 1990],
    error_code: 'EntityTooLarge',
    paid_not_stored: true,
    since: '7d',
    unknown: 1,
  })
  assert.deepEqual(filter, {
    job_id: ['1996', '1990'],
    error_code: ['EntityTooLarge'],
    paid_not_stored: true,
    since: '7d',
  })
  assert.deepEqual(fromApi(null), {})
  assert.deepEqual(fromApi('x'), {})
})

test('a chip says what the address says, whatever that is', () => {
  for (const word of ['constructor', '__proto__', 'toString', '<b>']) {
    const found = chips(readFilter(new URLSearchParams({ state: word, class: word })))
    assert.deepEqual(
      found.map(({ label }) => label),
      [word, `Error: ${word}`],
    )
  }
})
