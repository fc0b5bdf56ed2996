// The steps of a job, and how long each took: as a bar, and as a list.

import { html, nothing, svg, type TemplateResult } from 'lit'
import type { JobStep } from '../api/types'
import { duration } from '../lib/format'
import { parseInterval } from '../lib/interval'
import { STEPS } from '../lib/words'
import { when } from './time'

const WIDTH = 1000
const LEAST = 6

/** What goes on after a step. */
const NEXT: Record<string, string> = { requested: 'sent', sent: 'accepted', accepted: 'rendered', rendered: 'copying' }

interface Stretch {
  phase: string
  seconds: number
}

/** The phase that a step ends; the last one of a job in work goes on. */
function phaseOf(steps: JobStep[], nth: number): string {
  const step = steps[nth]?.step ?? ''
  return step === 'now' ? (NEXT[steps[nth - 1]?.step ?? ''] ?? step) : step
}

function stretches(steps: JobStep[]): Stretch[] {
  return steps
    .map(({ took }, nth) => ({ phase: phaseOf(steps, nth), seconds: Math.max(0, parseInterval(took) ?? 0) }))
    .slice(1)
}

function bar(parts: Stretch[]): TemplateResult | typeof nothing {
  const total = parts.reduce((sum, part) => sum + part.seconds, 0)
  if (total === 0) return nothing
  const scale = (WIDTH - LEAST * parts.length) / total
  let x = 0
  const rects = parts.map(({ seconds, phase }) => {
    const width = LEAST + seconds * scale
    const rect = svg`<rect class="part-${phase}" x=${x} y="0" width=${width - 3} height="8" rx="2" />`
    x += width
    return rect
  })
  return html`<svg class="stretch" viewBox="0 0 ${WIDTH} 8" preserveAspectRatio="none" aria-hidden="true">${rects}</svg>`
}

export function timeline(steps: JobStep[]): TemplateResult {
  return html`${bar(stretches(steps))}
    <ol class="steps">
      ${steps.map(
        ({ step, at, took }, nth) => html`<li>
          <span class="dot part-${phaseOf(steps, nth)}" aria-hidden="true"></span>
          <span class="step-name">${STEPS[step] ?? step}</span>
          <span>${when(at)}</span>
          <span class="quiet">${nth > 0 ? `after ${duration(parseInterval(took))}` : ''}</span>
        </li>`,
      )}
    </ol>`
}
