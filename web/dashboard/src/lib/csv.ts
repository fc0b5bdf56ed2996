// Rows as a table that a spreadsheet reads: RFC 4180, with a line of names.

import type { JobRow } from '../api/types'

const COLUMNS = [
  'job_id',
  'vibelog_id',
  'status',
  'state',
  'message',
  'why',
  'model',
  'user_id',
  'attempt',
  'tries',
  'error_class',
  'error_code',
  'error',
  'cost_usd',
  'orphan',
  'paid_not_stored',
  'created_at',
  'submitted_at',
  'generated_at',
  'completed_at',
  'waited',
  'rendered',
  'copied',
  'request_id',
  'video_url',
  'prompt',
] as const satisfies readonly (keyof JobRow)[]

/**
 * A spreadsheet would take these for formulas, and what stands in a prompt would be run; where it splits lines at
 * semicolons, it would do so behind each of them.
 */
function defuse(text: string): string {
  const inside = text.replace(/([;\t]\s*)(?=[=+\-@＝＋－＠])/g, "$1'")
  return /^[\s]*[=+\-@＝＋－＠]|^[\t\r\n]/.test(inside) ? `'${inside}` : inside
}

function cell(value: unknown): string {
  const text = typeof value === 'string' ? defuse(value) : String(value ?? '')
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** Of jobs, if no columns are named. */
export function toCsv<Row extends object>(rows: Row[], columns: readonly string[] = COLUMNS): string {
  const lines = rows.map((row) => columns.map((column) => cell(row[column as keyof Row])).join(','))
  return `${[columns.join(','), ...lines].join('\r\n')}\r\n`
}
