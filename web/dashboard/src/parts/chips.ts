// The parts of a filter, each with a button that takes it away.

import { html, type TemplateResult } from 'lit'
import { type Chip, chips, type Filter, without } from '../lib/filter'
import { icon } from './icon'

export function filterChips(filter: Filter, change: (filter: Filter) => void): TemplateResult {
  const remove = (chip: Chip) => change(without(filter, chip.key, chip.value))
  return html`<ul class="chips" aria-label="Filters">
    ${chips(filter).map(
      (chip) => html`<li>
        <span>${chip.label}</span
        ><button type="button" aria-label="Remove filter ${chip.label}" @click=${() => remove(chip)}>
          ${icon('close')}
        </button>
      </li>`,
    )}
  </ul>`
}
