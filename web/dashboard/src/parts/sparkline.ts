// A small chart of a few numbers; the numbers themselves are its label.

import { html, svg, type TemplateResult } from 'lit'

const WIDTH = 96
const HEIGHT = 24

export function sparkline(values: number[], what: string): TemplateResult {
  const top = Math.max(1, ...values)
  const width = WIDTH / Math.max(1, values.length)
  const bars = values.map((value, nth) => {
    const height = value === 0 ? 1 : Math.max(2, (value / top) * HEIGHT)
    return svg`<rect class=${value === 0 ? 'none' : ''} x=${nth * width} y=${HEIGHT - height}
      width=${width - 2} height=${height} />`
  })
  return html`<svg class="spark" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${what}: ${values.join(', ')}">
    ${bars}
  </svg>`
}
