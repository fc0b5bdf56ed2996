// The screen "Limits and prices": how much of each limit is used.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { examine, launch, onVisit } from './lib/browser.mjs'
import { enter, goTo, main, refresh, settled } from './lib/dashboard.mjs'
import { literal } from './lib/sql.mjs'
import { LONG_WORD, MARKUP, RTL } from './lib/texts.mjs'
import { addJob } from './seed.mjs'
import { PEOPLE, World } from './world.mjs'

const MODEL = 'fal-ai/minimax/video-01'
const { operator, viewer } = PEOPLE

let world
let browser

before(async () => {
  [world, browser] = await Promise.all([World.start(), launch()])
  await world.db.run("SELECT vibevideo.pause('all')")
})
after(async () => {
  await browser?.close()
  await world?.stop()
})

const as = (person, run) => onVisit(() => browser, {}, async (shown, t) => {
  await enter(shown.page, world, person)
  await run(shown, t)
})
const see = (shown, name) => examine(shown, name, { settle: settled })
const rows = (page, name = /^Used/) => page.getByRole('table', { name }).getByRole('row')
const unfold = (page) => main(page).getByText(/^\d+ more$/)
const row = (page, whose, what) => rows(page).filter({ hasText: whose }).filter({ hasText: what })
const used = async (page, whose, what) => (await row(page, whose, what).locator('.use').innerText()).replace(/\s+/g, ' ')
const limit = (text) => world.db.run(`INSERT INTO vibevideo.limit ${text}`)
const panel = (page) => main(page).getByRole('heading', { name: 'Used', exact: true })

const make = (owner, n = 1, more = {}) => Promise.all(Array.from({ length: n }, () => addJob(world, { owner, state: 'generating', cost_usd: 0.5, ...more })))

test('without limits nothing is used, nor where nobody has used any', as(operator, async ({ page }) => {
  await goTo(page, 'limits')
  await main(page).getByText('Nothing is limited.').waitFor()
  assert.equal(await panel(page).count(), 0)
  await limit("(scope, max_active) VALUES ('default', 4)")
  await refresh(page)
  await main(page).getByText('Nobody has used anything of these limits.').waitFor()
}))

test('each limit says how much of it is used, and until when', as(operator, async (shown) => {
  const { page } = shown
  await make('ann', 3)
  await make(`${RTL} ${LONG_WORD.slice(0, 90)}`, 2)
  await make(MARKUP)
  const { job } = (await make('bob', 1))[0]
  await world.db.run(`UPDATE vibevideo.job SET state = 'cancelled', next_at = NULL, completed_at = now(), held_usd = 0.5 WHERE job_id = ${job}`)
  await limit(`(scope, user_id, model, max_active, submits_per_day, spend_per_hour_usd, spend_per_day_usd, spend_per_month_usd) VALUES
    ('global', NULL, NULL, NULL, 1000, NULL, 10.5, 100), ('model', NULL, ${literal(MODEL)}, 0, NULL, NULL, NULL, 3.5), ('user', 'bob', NULL, NULL, NULL, 2, 0.5, NULL)`)
  await world.db.run("UPDATE vibevideo.limit SET max_active = 3 WHERE scope = 'default'")
  await goTo(page, 'limits')
  await row(page, 'ann', 'Videos in work').waitFor()
  await unfold(page).click()
  assert.equal(await used(page, 'ann', 'Videos in work'), '3 of 3 Used up')
  assert.equal(await used(page, 'all users together', 'USD spent a day'), '$3.50 of $10.50, until 00:00 UTC of which fal.ai may yet bill $0.50')
  assert.equal(await used(page, 'all users together', 'Videos requested'), '7 of 1,000, until 00:00 UTC of which fal.ai may yet bill 1')
  assert.match(await used(page, MODEL, 'USD spent a month'), /^\$3\.50 of \$3\.50, until (\d+ \w+, )?00:00 UTC Used up of which fal\.ai may yet bill \$0\.50$/)
  assert.equal(await used(page, MODEL, 'Videos in work'), '6, and none allowed')
  assert.match(await used(page, 'bob', 'USD spent an hour'), /^\$0\.50 of \$2\.00, until \d\d:00 UTC/)
  assert.equal(await row(page, MARKUP, 'Videos in work').count(), 1, 'a name is a name')
  const bars = await rows(page).locator('progress').evaluateAll((all) => all.map((bar) => [bar.value, bar.getAttribute('aria-hidden')]))
  assert.deepEqual([bars[0], ...new Set(bars.map(([, hidden]) => hidden))], [[1, 'true'], 'true'], 'the bar only shows what is said, the fullest first')
  assert.ok(bars.every(([value], n) => n === 0 || value <= bars[n - 1][0]), 'and so on')
  await see(shown, 'limits-used')
}))

test('what is used changes when it is read again', as(viewer, async ({ page }) => {
  await goTo(page, 'limits')
  await row(page, MARKUP, 'Videos in work').waitFor()
  await world.db.run("DELETE FROM vibevideo.limit WHERE scope = 'model'")
  await make(MARKUP)
  await refresh(page)
  await row(page, MARKUP, 'Videos in work').getByText('2 of 3').waitFor()
  await row(page, 'ann', 'Videos in work').getByRole('link', { name: 'ann' }).press('Enter')
  await page.waitForURL(/#\/jobs\?user=ann$/)
}))

test('of many the fullest are there, the others can be unfolded', as(viewer, async (shown) => {
  const { page } = shown
  await limit("(user_id, submits_per_month) SELECT 'user-' || n, 10 + n FROM generate_series(10, 49) n")
  await goTo(page, 'limits')
  await rows(page).nth(10).waitFor()
  assert.equal(await rows(page, /^Used$/).count(), 11, 'and a head')
  await unfold(page).focus()
  await page.keyboard.press('Enter')
  const unfolded = page.getByRole('table', { name: 'Used, more' })
  await unfolded.getByText('0 of 59').waitFor()
  await refresh(page)
  await unfolded.getByText('0 of 59').waitFor()
  await examine(shown, 'limits-used-many', { settle: settled, schemes: ['dark'] })
}))
