// Debian's Chromium, and what tests do with pages in it.

import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import axe from 'axe-core'
import { chromium } from 'playwright-core'
import { PATIENCE_MS } from './wait.mjs'
import { Watch } from './watch.mjs'

const EXECUTABLE = '/usr/bin/chromium'
const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']
export const WIDE = { width: 1280, height: 800 }
export const NARROW = { width: 360, height: 780 }
export const SCHEMES = ['light', 'dark']
const SHOTS = `${process.env.WORK}/screenshots`
const TALLEST_SHOT = 3000

/** Its sandbox wants a user other than root, and namespaces, which not every container has. */
export async function launch() {
  const options = { executablePath: EXECUTABLE, headless: true, args: ['--disable-dev-shm-usage'] }
  if (process.getuid() !== 0) {
    try {
      return await chromium.launch({ ...options, chromiumSandbox: true })
    } catch (e) {
      if (!/sandbox/i.test(e.message)) throw e
    }
  }
  return chromium.launch({ ...options, chromiumSandbox: false })
}

/** Opens pages that are watched; close() fails if one of them did what it should not. */
export class Visit {
  static async begin(browser, { scheme = 'light', viewport = WIDE, reducedMotion = 'no-preference', timezoneId = 'Europe/Vienna', locale = 'en-GB',
    ...more } = {}) {
    const visit = new Visit()
    visit.watch = new Watch()
    visit.context = await browser.newContext({ colorScheme: scheme, viewport, reducedMotion, timezoneId, locale, ...more })
    visit.context.setDefaultTimeout(PATIENCE_MS)
    visit.page = await visit.open()
    return visit
  }

  /** One more tab. */
  async open() {
    const page = await this.context.newPage()
    await this.watch.attach(page)
    return page
  }

  async close() {
    const owned = []
    for (const page of this.context.pages()) owned.push(await page.evaluate(() => window.owned).catch(() => undefined))
    await this.context.close()
    this.watch.check()
    assert.deepEqual(owned.filter((value) => value !== undefined), [], 'a text was run as a script')
  }
}

/** Runs a test on a visit of its own, and closes that however the test ends. */
export function onVisit(getBrowser, options, run) {
  return async (t) => {
    const visit = await Visit.begin(getBrowser(), options)
    let failed = true
    try {
      await run(visit, t)
      failed = false
    } finally {
      if (failed) await keepPicture(visit.page, `failed-${t.name.replace(/\W+/g, '-').slice(0, 80)}`).catch(() => {})
      await visit.close().catch((e) => { if (!failed) throw e; t.diagnostic(e.message) })
    }
  }
}

async function keepPicture(page, name) {
  mkdirSync(SHOTS, { recursive: true })
  await page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: false })
}

/** A picture of the whole page, as far as it is not endless; of a dialog what the window shows. */
export async function screenshot(page, name) {
  mkdirSync(SHOTS, { recursive: true })
  const { width, height } = page.viewportSize()
  const { full, covered } = await page.evaluate(() => ({ full: document.documentElement.scrollHeight,
    covered: document.querySelector('dialog[open]') !== null }))
  const whole = covered ? {} : { fullPage: true, clip: { x: 0, y: 0, width, height: Math.min(Math.max(full, height), TALLEST_SHOT) } }
  await page.screenshot({ path: `${SHOTS}/${name}.png`, animations: 'disabled', caret: 'hide', ...whole })
}

/**
 * Pictures in both schemes and widths; axe once in each scheme and width, the wide one
 * light and the narrow one dark: colours do not depend on the width. settle: waits
 * until it is drawn.
 */
export async function examine(visit, name, { settle = async () => {}, schemes = SCHEMES, sizes = { wide: WIDE, narrow: NARROW } } = {}) {
  const { page } = visit
  const faults = []
  const note = (fault) => faults.push(fault.message)
  for (const scheme of schemes) {
    for (const [size, viewport] of Object.entries(sizes)) {
      const what = `${name}, ${scheme}, ${size}`
      await page.setViewportSize(viewport)
      await page.emulateMedia({ colorScheme: scheme })
      await settle(page)
      await screenshot(page, `${name}-${scheme}-${size}`)
      if (schemes.length === 1 || (scheme === 'light') === (size === 'wide')) await checkAccessible(visit, what).catch(note)
      await checkNoSidewaysScroll(page, what).catch(note)
    }
  }
  await page.setViewportSize(WIDE)
  await page.emulateMedia({ colorScheme: 'light' })
  assert.equal(faults.length, 0, faults.join('\n'))
}

/** No violation of WCAG 2.2 AA, as far as axe can tell. include: a selector. */
export async function checkAccessible(visit, what, include) {
  const { page } = visit
  const violations = await visit.watch.pausing(async () => {
    await page.evaluate(`${axe.source}; undefined`)
    const result = await page.evaluate(([where, tags]) => window.axe.run(where ?? document, { runOnly: { type: 'tag', values: tags },
      resultTypes: ['violations'] }),
      [include ?? null, WCAG])
    return result.violations
  })
  const told = violations.map(({ id, help, nodes }) => `${id}: ${help}\n${nodes.slice(0, 5).map((n) => `    ${n.target.join(' ')}  ${n.html.slice(0, 160)}\n      ${n.failureSummary.replace(/\n\s*/g, ' ')}`).join('\n')}`)
  assert.equal(violations.length, 0, `axe, ${what}:\n  ${told.join('\n  ')}`)
}

/** Nothing is wider than the window, unless it scrolls by itself. */
export async function checkNoSidewaysScroll(page, what) {
  const { wide, seen, who } = await page.evaluate(() => {
    const root = document.documentElement
    const beyond = root.scrollWidth > root.clientWidth
      ? [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > root.clientWidth + 1).slice(0,
        5).map((e) => e.outerHTML.slice(0, 120)) : []
    return { wide: root.scrollWidth, seen: root.clientWidth, who: beyond }
  })
  assert.ok(wide <= seen, `${what}: ${wide} px wide in a window of ${seen}: ${who.join(' | ')}`)
}
