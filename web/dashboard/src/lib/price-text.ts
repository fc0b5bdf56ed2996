// Price rules: those that count now, and in words.

import type { PriceRule, PriceUnit } from '../api/types'
import { usd } from './format'

export const UNITS: Record<PriceUnit, string> = {
  video: 'a video',
  second: 'a second',
  image: 'an image',
  megapixel: 'a megapixel',
  custom: 'a unit',
}

export function priceText({
  unit_price_usd: price,
  unit,
}: {
  unit_price_usd: number | string | null
  unit: PriceUnit
}) {
  return price === null ? 'unknown' : `${usd(price)} ${UNITS[unit]}`
}

/** What an input must contain: 'resolution "4k", voice_ids', or 'any'. */
export function appliesText({ applies }: Pick<PriceRule, 'applies'>): string {
  const words = Object.entries(applies).map(([key, value]) =>
    value !== null && typeof value === 'object' ? key : `${key} ${JSON.stringify(value)}`,
  )
  return words.join(', ') || 'any'
}

/** Where the input says how many: '$.duration, else 5, +0.1'; '' if it is one. */
export function quantityText({ quantity, quantity_default: usual, allowance }: PriceRule): string {
  const path = quantity?.replace(/"(\w+)"/g, '$1')
  return [path, usual && (path ? `else ${usual}` : `× ${usual}`), +allowance && `+${allowance}`]
    .filter(Boolean)
    .join(', ')
}

/** Those that count, or will; not those that another goes before. A kind's newest is its first. */
export function rulesInForce(rules: PriceRule[], now: number): PriceRule[] {
  const begun = (r: PriceRule) => Date.parse(r.valid_from) <= now
  const kind = (r: PriceRule) => JSON.stringify([r.endpoint, r.applies])
  const before = (o: PriceRule, r: PriceRule) =>
    o.source === r.source || (o.source === 'fal' && r.source !== 'operator')
      ? kind(o) === kind(r)
      : o.source === 'operator' && o.keys === 0 && o.endpoint === r.endpoint
  return rules.filter((r, nth) => !begun(r) || !rules.slice(0, nth).some((o) => begun(o) && before(o, r)))
}
