// Numbers, money, sizes and times for people, by Intl.

const whole = new Intl.NumberFormat()
const share = new Intl.NumberFormat(undefined, { style: 'percent', maximumFractionDigits: 0 })
const dollars = { style: 'currency', currency: 'USD', currencyDisplay: 'narrowSymbol' } as const
const money = new Intl.NumberFormat(undefined, dollars)
const smallMoney = new Intl.NumberFormat(undefined, { ...dollars, maximumFractionDigits: 4 })
const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const shortTime = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const dayTime = new Intl.DateTimeFormat(undefined, {
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
})
const yearTime = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' })

const utcClock = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZone: 'UTC' } as const
const utcShort = new Intl.DateTimeFormat(undefined, utcClock)
const utcDay = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', ...utcClock })

export const NONE = '–'

export function number(n: number | null | undefined): string {
  return n == null ? NONE : whole.format(n)
}

/** A sentence of the database's, which has none of its first letters large. */
export function sentence(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1)
}

/** '1 job', '1,204 jobs'. */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${whole.format(n)} ${n === 1 ? one : many}`
}

export function usd(amount: number | string | null | undefined): string {
  if (amount == null || amount === '') return NONE
  return (Math.abs(Number(amount)) < 1 ? smallMoney : money).format(Number(amount))
}

export function percent(part: number | null | undefined): string {
  return part == null ? NONE : share.format(part)
}

/** 976 kB, 19.2 MB: by thousands, as file managers and networks count. */
export function bytes(n: number | null | undefined): string {
  if (n == null) return NONE
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let size = n
  let unit = 0
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000
    unit += 1
  }
  const digits = unit > 1 && size < 100 ? 1 : 0
  return `${new Intl.NumberFormat(undefined, { maximumFractionDigits: digits }).format(size)} ${units[unit]}`
}

/** 0.4 s, 12 s, 4 min 10 s, 3 h 5 min, 2 d 4 h. */
export function duration(seconds: number | null | undefined): string {
  if (seconds == null) return NONE
  const s = Math.max(0, seconds)
  if (s < 10) return `${new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 }).format(s)} s`
  if (s < 99.5) return `${Math.round(s)} s`
  const steps: [number, string, number, string][] = [
    [60, 'min', 1, 's'],
    [3600, 'h', 60, 'min'],
    [86400, 'd', 3600, 'h'],
  ]
  const [size, unit, small, smallUnit] = steps.findLast(([least]) => s >= least) as [number, string, number, string]
  const rounded = Math.round(s / small) * small
  const left = Math.round((rounded % size) / small)
  const first = Math.floor(rounded / size)
  return first < 20 && left > 0 ? `${first} ${unit} ${left} ${smallUnit}` : `${Math.round(s / size)} ${unit}`
}

/** 12 s, 4 min, 3 h, 5 d: one unit, where there is little room. */
export function shortDuration(seconds: number | null | undefined): string {
  if (seconds == null) return NONE
  const s = Math.max(0, seconds)
  if (s < 10) return `${new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 }).format(s)} s`
  if (s < 99.5) return `${Math.round(s)} s`
  if (s < 99.5 * 60) return `${Math.round(s / 60)} min`
  return s < 47.5 * 3600 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`
}

/** '4 min ago', 'in 20 s', 'now'. */
export function ago(at: Date, now: Date): string {
  const seconds = (now.getTime() - at.getTime()) / 1000
  if (Math.abs(seconds) < 1.5) return 'now'
  const span = shortDuration(Math.round(Math.abs(seconds)))
  return seconds > 0 ? `${span} ago` : `in ${span}`
}

/** A local time: of today without its date, of this year without that. */
export function localTime(at: Date, now: Date, exact = true): string {
  if (at.toDateString() === now.toDateString()) return (exact ? time : shortTime).format(at)
  return (at.getFullYear() === now.getFullYear() ? dayTime : yearTime).format(at)
}

/** '00:00 UTC'; more than a day away '1 Dec, 00:00 UTC'. */
export function utcEnd(at: Date, now: Date): string {
  return `${(at.getTime() - now.getTime() > 86_400_000 ? utcDay : utcShort).format(at)} UTC`
}

/** '2026-11-29 14:05:11 UTC', for tooltips. */
export function utcTime(at: Date): string {
  return `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
