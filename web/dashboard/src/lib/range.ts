// Times to look back over, as they are in the URL.

export interface Range {
  name: string
  label: string
  seconds: number
  /** of a series */
  step: string
}

export const LOOKS_BACK: Range[] = [
  { name: '1h', label: '1 hour', seconds: 3600, step: '1 minute' },
  { name: '24h', label: '24 hours', seconds: 86_400, step: '10 minutes' },
  { name: '7d', label: '7 days', seconds: 7 * 86_400, step: '1 hour' },
  { name: '30d', label: '30 days', seconds: 30 * 86_400, step: '4 hours' },
]

/** The one that the URL names, else another. */
export function readRange(name: string | null, otherwise: string): Range {
  return (LOOKS_BACK.find((r) => r.name === name) ?? LOOKS_BACK.find((r) => r.name === otherwise)) as Range
}

export function rangeStart(range: Range, now: Date): Date {
  return new Date(now.getTime() - range.seconds * 1000)
}
