// Small pictures, drawn with the text's colour. They are never the only thing that says something.

import { html, type TemplateResult } from 'lit'

const PATHS = {
  overview: 'M2 8 8 2.5 14 8M4 7v6.5h8V7',
  jobs: 'M5.5 4H14M5.5 8H14M5.5 12H14M2 4h.5M2 8h.5M2 12h.5',
  lost: 'M6 6a2 2 0 1 1 3 1.8c-.7.4-1 .8-1 1.7M8 12v.5M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13',
  errors: 'M8 2 1.5 13.5h13L8 2ZM8 6.5v3.5M8 11.8v.2',
  users:
    'M6 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5ZM1.5 13.5c.3-2.7 2-4 4.5-4s4.2 1.3 4.5 4M11 3a2.3 2.3 0 0 1 0 4.5M12 9.7c1.5.5 2.3 1.8 2.5 3.8',
  charts: 'M2 2v12h12M4.5 10.5 7.5 7l2.5 2 4-5',
  limits: 'M2 5h6M12 5h2M2 11h2M8 11h6M10 3v4M6 9v4',
  health: 'M1.5 8h3l2-5 3 10 2-5h3',
  audit: 'M4 1.5h6L13 4.5v10H4v-13ZM6 7h5M6 10h5',
  ledger: 'M3 2h10v12H3V2ZM6 2v12M8.5 5H11M8.5 8H11',
  ok: 'm3 8.5 3.3 3.3L13 5',
  busy: 'M8 2a6 6 0 1 1-6 6',
  wait: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2ZM8 5v3.3l2 1.7',
  warn: 'M8 2 1.5 13.5h13L8 2ZM8 6.5v3.5M8 11.8v.2',
  bad: 'M4 4l8 8M12 4l-8 8',
  idle: 'M4 8h8',
  search: 'M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM10.3 10.3 14 14',
  close: 'M4 4l8 8M12 4l-8 8',
  copy: 'M5.5 5.5h8v8h-8v-8ZM10.5 5.5v-3h-8v8h3',
  refresh: 'M13.5 8a5.5 5.5 0 1 1-1.7-4M13.5 2v3h-3',
  menu: 'M2 4h12M2 8h12M2 12h12',
  film: 'M2 3h12v10H2V3ZM5 3v10M11 3v10M2 6.5h3M2 9.5h3M11 6.5h3M11 9.5h3',
  play: 'M5 3v10l8-5-8-5Z',
  more: 'm4 6 4 4 4-4',
  link: 'M9 3h4v4M13 3 7.5 8.5M11 9v4H3V5h4',
  theme: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2ZM8 2v12M10.5 3v10M13 5v6',
  filter: 'M2 3h12L9.5 8.5V13l-3-1.5v-3L2 3Z',
}

export type IconName = keyof typeof PATHS

export function icon(name: IconName, className = ''): TemplateResult {
  return html`<svg class="icon ${className}" viewBox="0 0 16 16" aria-hidden="true"><path d=${PATHS[name]} /></svg>`
}
