// What a job could cost, what it has cost, and how that is known.

import type { JobDetails } from '../api/types'
import { count, usd } from './format'
import { isActive } from './words'

type Costs = Pick<JobDetails, 'cost_estimated_usd' | 'cost_source' | 'billable_units' | 'held_usd'> & {
  job: Pick<JobDetails['job'], 'state' | 'cost_usd'>
}

const SOURCES = {
  bill: 'as fal.ai has billed it',
  units: 'as fal.ai says it bills',
  duration: 'by the length of the stored video',
  estimate: 'as estimated by what was asked for',
}

export function costFacts({
  job,
  cost_estimated_usd: most,
  cost_source: source,
  billable_units: units,
  held_usd: held,
}: Costs) {
  const cost = job.cost_usd
  const active = isActive(job.state)
  const how = source ? SOURCES[source] : held !== null ? 'so far' : Number(cost) === 0 ? 'nothing was billed' : ''
  const said = source === 'units' && units !== null ? ` (${count(Number(units), 'unit')})` : ''
  const has = cost === null ? 'not known' : [usd(cost), how].filter(Boolean).join(', ') + said
  const could = most !== null ? `${usd(most)} at most` : active ? 'not known' : null
  return [
    ['Could cost', could],
    ['Has cost', source || !active ? has : null],
    ['May cost', held === null ? null : `${usd(held)}, until fal.ai’s bill says`],
  ] as [string, string | null][]
}
