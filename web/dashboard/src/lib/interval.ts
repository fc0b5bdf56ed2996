// PostgreSQL's intervals, as PostgREST passes them on: '00:04:10.5', '3 days 02:00:00', '-1 day +02:00:00'.

const UNITS: Record<string, number> = { year: 365.25 * 86400, mon: 30 * 86400, day: 86400 }

/** Seconds of an interval's text; null for none, or for one that cannot be read. */
export function parseInterval(text: string | null | undefined): number | null {
  if (!text) return null
  let seconds = 0
  let rest = text.trim()
  for (const part of rest.matchAll(/([+-]?\d+) (year|mon|day)s?/g)) {
    seconds += Number(part[1]) * (UNITS[part[2] as string] ?? 0)
    rest = rest.replace(part[0], '')
  }
  const clock = /([+-]?)(\d+):(\d\d):(\d\d(?:\.\d+)?)/.exec(rest)
  if (clock) {
    const size = Number(clock[2]) * 3600 + Number(clock[3]) * 60 + Number(clock[4])
    seconds += clock[1] === '-' ? -size : size
    rest = rest.replace(clock[0], '')
  }
  return rest.trim() === '' ? seconds : null
}
