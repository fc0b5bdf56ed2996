// What can go wrong with a call, sorted by what it means for the person who looks.

export type Trouble = 'signed_out' | 'denied' | 'missing' | 'bound' | 'offline' | 'crowded' | 'refused'

export interface Answer {
  status: number
  code?: string | null
  message?: string | null
  details?: string | null
  hint?: string | null
}

const EXPIRED = ['PGRST301', 'PGRST302', 'PGRST303']
// no function of that name, or none with these arguments
const NO_FUNCTION = ['PGRST202', '42883']

export function troubleOf(answer: Answer, timedOut: boolean): Trouble {
  const code = answer.code ?? ''
  if (timedOut || code === '57014') return 'bound'
  if (EXPIRED.includes(code)) return 'signed_out'
  if (code === '42501') return 'denied'
  if (NO_FUNCTION.includes(code)) return 'missing'
  if (answer.status === 401) return 'signed_out'
  if (answer.status === 429) return 'crowded'
  if (answer.status === 0 || answer.status >= 502) return 'offline'
  return 'refused'
}

export class ApiError extends Error {
  readonly trouble: Trouble
  readonly status: number
  readonly code: string | null
  readonly details: string | null
  readonly hint: string | null

  constructor(answer: Answer, timedOut = false) {
    super(answer.message || 'no answer')
    this.trouble = troubleOf(answer, timedOut)
    this.status = answer.status
    this.code = answer.code ?? null
    this.details = answer.details ?? null
    this.hint = answer.hint ?? null
  }
}

/** Whether it may well work in a moment; the frame says so, above what was read before. */
export function isPassing(error: unknown): boolean {
  return error instanceof ApiError && ['bound', 'offline', 'crowded'].includes(error.trouble)
}

/** Whether an act may have been done all the same: its answer is what is missing. */
export function isUncertain(error: unknown): boolean {
  return (
    error instanceof ApiError && (error.trouble === 'offline' || (error.trouble === 'bound' && error.code !== '57014'))
  )
}

const SENTENCES: Partial<Record<Trouble, string>> = {
  signed_out: 'You are signed out: your session has expired.',
  bound: 'A call was stopped at its time limit: the server has a lot to do.',
  offline: 'The server cannot be reached.',
  crowded: 'The server asks for fewer calls.',
  missing:
    'This server does not have the function that this page needs: the extension is of another version, or PostgREST has not read its schema again (NOTIFY pgrst).',
}

export const UNEXPECTED = 'This cannot be shown: the server has answered something else than was expected.'

/** What went wrong, as a sentence. */
export function errorSentence(error: unknown): string {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error)
  const known = SENTENCES[error.trouble]
  if (known) return known
  const first = error.message.charAt(0).toUpperCase() + error.message.slice(1)
  return [`${first}.`, error.details, error.hint].filter(Boolean).join(' ')
}
