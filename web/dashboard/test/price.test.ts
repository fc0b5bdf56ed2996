import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { PriceRule } from '../src/api/types'
import { appliesText, priceText, quantityText, rulesInForce } from '../src/lib/price-text'

const rule = (change: Partial<PriceRule>): PriceRule => ({
  endpoint: 'acme/x',
  source: 'operator',
  applies: {},
  valid_from: '2026-01-01T00:00:00+00:00',
  unit: 'video',
  unit_price_usd: 0.5,
  quantity: null,
  quantity_default: null,
  allowance: 0,
  note: null,
  changed_at: '2026-01-01T00:00:00+00:00',
  keys: Object.keys(change.applies ?? {}).length,
  ...change,
})
const NOW = Date.parse('2026-06-01T00:00:00Z')
const prices = (rules: PriceRule[]) => rulesInForce(rules, NOW).map((r) => r.unit_price_usd)

describe('a price rule in words', () => {
  test('what a unit costs', () => {
    assert.equal(priceText(rule({})), '$0.50 a video')
    assert.equal(priceText(rule({ unit: 'second', unit_price_usd: 0.168 })), '$0.168 a second')
    assert.equal(priceText(rule({ unit: 'custom', unit_price_usd: 0 })), '$0.00 a unit')
    assert.equal(priceText(rule({ unit_price_usd: null })), 'unknown')
  })
  test('what it asks for', () => {
    assert.equal(appliesText({ applies: {} }), 'any')
    assert.equal(
      appliesText({ applies: { resolution: '4k', audio: false, voice_ids: [], camera: {}, seed: null } }),
      'resolution "4k", audio false, voice_ids, camera, seed null',
    )
  })
  test('how many there are', () => {
    assert.equal(quantityText(rule({})), '')
    assert.equal(quantityText(rule({ quantity: '$."duration"' })), '$.duration')
    assert.equal(
      quantityText(rule({ quantity: '$."duration"', quantity_default: 5, allowance: 0.1 })),
      '$.duration, else 5, +0.1',
    )
    assert.equal(quantityText(rule({ quantity_default: 4 })), '× 4')
    assert.equal(quantityText(rule({ quantity: '($."a b" / $."fps")' })), '($."a b" / $.fps)')
  })
})

describe('the rules in force', () => {
  test('of one kind the newest, and those to come', () => {
    assert.deepEqual(
      prices([
        rule({ unit_price_usd: 9, valid_from: '2027-01-01T00:00:00Z' }),
        rule({ unit_price_usd: 3, valid_from: '2026-05-01T00:00:00Z' }),
        rule({ unit_price_usd: 2, valid_from: '2026-04-01T00:00:00Z' }),
        rule({ unit_price_usd: 1, endpoint: 'acme/y' }),
      ]),
      [9, 3, 1],
    )
  })
  test('an operator’s for any input goes before all others of the model', () => {
    const builtin = rule({ source: 'built-in', unit_price_usd: 1, applies: { size: '4k' } })
    assert.deepEqual(prices([rule({ unit_price_usd: 2 }), builtin]), [2])
    assert.deepEqual(prices([rule({ unit_price_usd: 2, applies: { size: '4k' } }), builtin]), [2, 1])
    assert.deepEqual(prices([rule({ unit_price_usd: 2, valid_from: '2027-01-01T00:00:00Z' }), builtin]), [2, 1])
    assert.deepEqual(prices([rule({ unit_price_usd: 2, endpoint: 'acme/y' }), builtin]), [2, 1])
  })
  test('fal.ai’s before a built-in one that asks for the same', () => {
    const fal = rule({ source: 'fal', unit_price_usd: 2, applies: { size: '4k' } })
    assert.deepEqual(prices([fal, rule({ source: 'built-in', unit_price_usd: 1, applies: { size: '4k' } })]), [2])
    assert.deepEqual(prices([fal, rule({ source: 'built-in', unit_price_usd: 1 })]), [2, 1])
  })
})
