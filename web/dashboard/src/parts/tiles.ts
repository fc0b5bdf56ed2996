// The figures of the overview. Each leads to its list, and says something also where there is nothing.

import { html, nothing, type TemplateResult } from 'lit'
import type { Overview } from '../api/types'
import { jobLink, link } from '../app/route'
import { serverNow } from '../app/session'
import { count, number, sentence, usd } from '../lib/format'
import type { Tone } from '../lib/words'
import { icon } from './icon'
import { since, when } from './time'

interface Tile {
  name: string
  figure: unknown
  note: unknown
  href: string
  tone?: Tone
}

const TODAY = 'today (UTC)'
/** The filter takes it as a time: midnight UTC. */
const midnight = () => `${serverNow().toISOString().slice(0, 10)} 00:00Z`

function statuses(...names: string[]): URLSearchParams {
  return new URLSearchParams(names.map((name) => ['state', name]))
}

function inWork(o: Overview): Tile {
  const all = o.waiting + o.at_fal + o.copying
  const href = link('jobs', statuses('pending', 'submitting', 'submit_unknown', 'queued', 'generating', 'processing'))
  if (all === 0)
    return {
      name: 'In work',
      figure: 'Idle',
      note: o.idle_since ? html`since ${when(o.idle_since, false)}` : 'no job yet',
      href,
    }
  const parts = [
    o.waiting > 0 ? `${number(o.waiting)} waiting` : '',
    o.at_fal > 0 ? `${number(o.at_fal)} at fal.ai` : '',
    o.copying > 0 ? `${number(o.copying)} copying` : '',
  ].filter(Boolean)
  return {
    name: 'In work',
    figure: html`${o.more ? 'more than ' : ''}${number(all)}`,
    note: parts.join(', '),
    href,
    tone: 'busy',
  }
}

function oldest(o: Overview): Tile {
  const name = 'Oldest waiting'
  if (o.oldest_waiting_job_id === null)
    return { name, figure: 'None', note: 'everything is sent', href: link('jobs', statuses('pending')) }
  return {
    name,
    figure: since(o.oldest_waiting_since),
    note: sentence(o.oldest_waiting_why ?? ''),
    href: jobLink(o.oldest_waiting_job_id),
    tone: 'wait',
  }
}

function done(o: Overview): Tile {
  const href = link('jobs', { state: 'completed', since: midnight() })
  const last = o.last_completed_at ? html`last one ${since(o.last_completed_at)}` : 'none so far'
  if (o.done_today === 0) return { name: `Done ${TODAY}`, figure: 'None', note: last, href }
  return { name: `Done ${TODAY}`, figure: number(o.done_today), note: last, href, tone: 'ok' }
}

function failed(o: Overview): Tile {
  const name = `Failed ${TODAY}`
  const cancelled = o.cancelled_today > 0 ? `${number(o.cancelled_today)} cancelled` : 'none cancelled'
  const href = link('jobs', { state: 'failed', since: midnight() })
  if (o.failed_today === 0) return { name, figure: 'None', note: cancelled, href }
  return { name, figure: number(o.failed_today), note: cancelled, href, tone: 'bad' }
}

function money(o: Overview): Tile {
  const name = `Spent ${TODAY}`
  const reserved = Number(o.reserved_today_usd)
  const parts = [
    reserved > 0 ? `${usd(reserved)} more reserved` : '',
    o.budget_usd === null ? 'no budget is set' : `${usd(o.left_usd)} left of ${usd(o.budget_usd)}`,
  ].filter(Boolean)
  const short = o.budget_usd !== null && Number(o.left_usd) <= 0.2 * Number(o.budget_usd)
  const figure = Number(o.spent_today_usd) === 0 ? 'Nothing' : usd(o.spent_today_usd)
  return { name, figure, note: parts.join('; '), href: link('users'), tone: short ? 'warn' : undefined }
}

function health(o: Overview): Tile {
  const href = link('health')
  if (o.paused)
    return { name: 'Worker', figure: 'Paused', note: html`<span dir="auto">${o.paused}</span>`, href, tone: 'warn' }
  const down = o.fal_down_until ? 'fal.ai' : o.storage_down_until ? 'Storage' : null
  if (down)
    return {
      name: 'Worker',
      figure: `${down} is down`,
      note: html`tried again ${since(o.fal_down_until ?? o.storage_down_until)}`,
      href,
      tone: 'bad',
    }
  const words = { running: 'Running', slow: 'Slow', idle: 'Idle', down: 'Down' } as const
  const tones = { running: 'ok', slow: 'warn', idle: 'ok', down: 'bad' } as const
  return { name: 'Worker', figure: words[o.worker], note: o.worker_detail, href, tone: tones[o.worker] }
}

function tile(t: Tile): TemplateResult {
  return html`<li>
    <a class="tile ${t.tone ?? ''}" href=${t.href} data-line>
      <span class="tile-name">${t.name}</span>
      <span class="tile-figure">${t.tone && t.tone !== 'busy' ? icon(t.tone) : nothing}<span>${t.figure}</span></span>
      <span class="tile-note">${t.note}</span>
    </a>
  </li>`
}

export function tiles(o: Overview): TemplateResult {
  const label = `Figures; ${count(o.needs_you, 'thing')} to look at`
  return html`<ul class="tiles" aria-label=${label}>${[inWork, oldest, done, failed, money, health].map((make) => tile(make(o)))}</ul>`
}
