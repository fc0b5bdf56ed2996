// A table that becomes cards where it is narrow. The roles stay when the style takes the boxes apart.

import { html, nothing, type TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'

export interface Column<Row> {
  head: string
  cell: (row: Row) => unknown
  /** num: to the right; wide: takes what is left; first: the card's heading */
  kind?: 'num' | 'wide' | 'first' | 'act' | 'job' | 'trend' | 'seen' | 'does'
}

function headCell(column: Column<never>): TemplateResult {
  const label = column.head || html`<span class="unseen">Actions</span>`
  return html`<th role="columnheader" scope="col" class=${column.kind ?? nothing}>${label}</th>`
}

export function bodyCell<Row>(column: Column<Row>, row: Row): TemplateResult {
  return html`<td role="cell" class=${column.kind ?? nothing} data-label=${column.head}><div>${column.cell(row)}</div></td>`
}

export function dataTable<Row>(
  label: string,
  columns: Column<Row>[],
  rows: readonly Row[],
  key: (row: Row) => unknown,
  isOn?: (row: Row) => boolean,
): TemplateResult {
  return html`<table class="cards" role="table" aria-label=${label}>
    <thead role="rowgroup">
      <tr role="row">
        ${columns.map((column) => headCell(column as Column<never>))}
      </tr>
    </thead>
    <tbody role="rowgroup">
      ${repeat(
        rows,
        key,
        (row) => html`<tr role="row" class=${isOn?.(row) ? 'on' : nothing}>
          ${columns.map((column) => bodyCell(column, row))}
        </tr>`,
      )}
    </tbody>
  </table>`
}
