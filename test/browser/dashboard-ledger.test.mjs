// The screen "Ledger": whether fal.ai's bill is read, what it says beside our books, and
// what an operator says of what has no counterpart. Nobody is asked: the pages of the
// bill are handed over.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, test } from 'node:test'
import { examine, launch, onVisit } from './lib/browser.mjs'
import { button, dialog, enter, goTo, heading, main, refresh, settled } from './lib/dashboard.mjs'
import { literal, raw } from './lib/sql.mjs'
import { addJob } from './seed.mjs'
import { PEOPLE, World } from './world.mjs'

const MODEL = 'fal-ai/minimax/video-01'
const OTHER = 'fal-ai/kling-video/v2/master/text-to-video'
const { operator, viewer } = PEOPLE
const LONG_ID = `r-<b>${'w'.repeat(180)}`

let world
let browser

before(async () => {
  [world, browser] = await Promise.all([World.start(), launch()])
  // the worker asks for no bill
  await world.db.run("UPDATE vibevideo_internal.errand SET next_at = 'infinity' WHERE name IN ('usage', 'balance')")
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
const row = (page, table, words) => page.getByRole('table', { name: table }).getByRole('row').filter({ hasText: words })
const fact = (page, name) => main(page).locator('.facts > div').filter({ has: page.getByText(name, { exact: true }) }).locator('dd').textContent()

/** Noon of a day of UTC, so many days ago: that of yesterday may not be over for the bill. */
const noon = (days) => new Date((Math.floor(Date.now() / 86_400_000) - days) * 86_400_000 + 43_200_000)
const dayOf = (days) => noon(days).toISOString().slice(0, 10)

async function addMade(request, usd, days, model = MODEL) {
  const at = raw(`'${noon(days).toISOString()}'::timestamptz`)
  const { job } = await addJob(world, { prompt: request, state: 'completed', model, request_id: request, cost_usd: usd, created_at: at, sent_at: at, submitted_at: at,
    generated_at: at, completed_at: at, media_url: 'https://v3.fal.media/files/b/x.mp4', video_url: `${world.url}/x.mp4` })
  return job
}

const item = (request, usd, days, more = {}) => ({ request_id: request, endpoint_id: MODEL, timestamp: noon(days).toISOString(), output_units: 1, unit_price: usd,
  cost_total: usd, cost_estimate_nano_usd: Math.round(usd * 1e9), auth_method: 'Production Key', ...more })
const take = (items) => world.db.run(`SELECT vibevideo_internal.take_usage(${literal({ billing_events: items })})`)
const fail = (status, why) => world.db.run(`SELECT vibevideo_internal.usage_hears('{}', ${status}, NULL, ${literal(why)})`)
const wasRead = () => world.db.run("SELECT vibevideo_internal.lock_bill(); SELECT vibevideo_internal.bill_was_read(now() - interval '20 days', clock_timestamp())")

test('without a key it says what to do', as(operator, async (shown) => {
  const { page } = shown
  await goTo(page, 'ledger')
  await main(page).getByText('there is no API key of scope ADMIN. Create a new key of scope ADMIN at fal.ai/dashboard/keys').waitFor()
  await see(shown, 'ledger-no-key')
}))

test('with a key it waits for the bill, and then shows both sums', as(operator, async (shown) => {
  const { page } = shown
  await world.db.run("ALTER SYSTEM SET vibevideo.fal_admin_key = 'key-id:admin'")
  await world.db.run('SELECT pg_reload_conf()')
  await world.db.until("SELECT vibevideo_internal.key_source('vibevideo.fal_admin_key') IS NOT NULL")
  await goTo(page, 'ledger')
  await main(page).getByText('bill has not been read yet').waitFor()
  await world.configure({ ledger_tolerance_usd: '0.1' })
  await wasRead()
  await refresh(page)
  await main(page).getByText('Nothing was billed in these days').waitFor()
  await main(page).getByText('Nothing is left to explain.').waitFor()
  await see(shown, 'ledger-empty')

  for (const [request, usd, days, model] of [['r-same', 0.5, 2], ['r-dearer', 0.5, 3], ['r-kling', 1.4, 3, OTHER], ['r-free', 0.5, 4], ['r-new', 0.5, 1]]) {
    await addMade(request, usd, days, model)
  }
  await take([item('r-same', 0.5, 2), item('r-dearer', 0.75, 3), item('r-kling', 1.4, 3, { endpoint_id: OTHER }),
    item(LONG_ID, 0.9, 2, { endpoint_id: 'acme/another-program', auth_method: 'Other Key' }), item(null, 0.2, 3)])
  await wasRead()
  await refresh(page)
  await row(page, 'Days', OTHER).waitFor()
  const cells = (words, more = '') => row(page, 'Days', words).filter({ hasText: more }).locator('td').evaluateAll((all) => all.map((td) => td.textContent.trim()))
  assert.deepEqual((await cells(OTHER)).slice(1), [OTHER, '$1.40', '$1.40', '$0.00', '$0.00', '0', '0', 'Closed'])
  assert.deepEqual((await cells(dayOf(3), MODEL)).slice(2), ['$0.50', '$0.95', '$0.45', '$0.25', '0', '1', 'Open'])
  assert.deepEqual((await cells('acme/another-program')).slice(2), ['$0.00', '$0.90', '$0.90', '$0.00', '0', '1', 'Open'])
  const days = await page.getByRole('table', { name: 'Days' }).locator('td.first').evaluateAll((all) => all.map((td) => td.textContent.trim()))
  assert.deepEqual(days, [...days].sort().reverse(), 'the last day comes first')
  assert.equal(await fact(page, 'Difference'), '$0.35')
  await see(shown, 'ledger')
}))

test('the days are saved as a file for a spreadsheet', as(operator, async ({ page }) => {
  await goTo(page, 'ledger')
  const [file] = await Promise.all([page.waitForEvent('download'), button(page, 'Save as CSV').click()])
  assert.match(file.suggestedFilename(), /^ledger-.*\.csv$/)
  const lines = (await readFile(await file.path(), 'utf8')).split('\r\n')
  assert.match(lines[0], /^day,model,ours_usd,fal_usd,/)
  assert.equal(lines.length, 2 + Number(await world.db.value('SELECT count(*) FROM vibevideo.ledger')))
}))

test('a viewer reads it, and has no button', as(viewer, async ({ page }) => {
  await goTo(page, 'ledger')
  await row(page, 'Unmatched', 'r-free').waitFor()
  assert.equal(await main(page).getByRole('button', { name: /Explain/ }).count(), 0)
}))

test('an operator explains: it leaves the list, and its day closes', as(operator, async (shown) => {
  const { page, watch } = shown
  watch.expect(/400/)
  await goTo(page, 'overview')
  await main(page).getByRole('heading', { name: 'The bill does not close' }).first().waitFor()
  await main(page).getByRole('link', { name: 'Ledger', exact: true }).first().click()
  await heading(page, 'Ledger').waitFor()
  await button(page, `Explain ${LONG_ID}`).click()
  await dialog(page).getByText('Item without job, $0.90: of another program on the account').waitFor()
  await button(page, 'Explain').click()
  await dialog(page).getByRole('alert').getByText('Note must say something').waitFor()
  await dialog(page).getByLabel('What it is').fill('the batch job of marketing')
  await see(shown, 'dialog-explain')
  await button(page, 'Explain').click()
  await dialog(page).waitFor({ state: 'detached' })
  await row(page, 'Unmatched', 'ww').waitFor({ state: 'detached' })
  await row(page, 'Days', 'acme/another-program').getByText('Closed').waitFor()
  const [{ note, explained_by: who }] = await world.db.rows(`SELECT note, explained_by FROM vibevideo.fal_usage WHERE request_id = ${literal(LONG_ID)}`)
  assert.equal(note, 'the batch job of marketing')
  assert.match(who, new RegExp(operator.id))

  await button(page, 'Explain r-free').click()
  await dialog(page).getByText('The job costs nothing then').waitFor()
  await dialog(page).getByLabel('What it is').fill('a gift')
  await page.keyboard.press('Tab')
  await button(page, 'Explain').click()
  await row(page, 'Unmatched', 'r-free').waitFor({ state: 'detached' })
  await row(page, 'Days', dayOf(4)).getByText('Closed').waitFor()
  assert.equal(await world.db.value("SELECT cost_usd FROM vibevideo.job WHERE request_id = 'r-free'"), '0')
}))

test('a bill that is not shown: since when, why, and what to do', as(operator, async (shown) => {
  const { page } = shown
  await fail(403, 'HTTP 403: This endpoint requires an API key of scope <b>ADMIN</b>')
  await goTo(page, 'ledger')
  await main(page).getByText(/HTTP 403: This endpoint .*The key must be one of scope ADMIN/).waitFor()
  await main(page).getByText('Failing since').waitFor()
  await see(shown, 'ledger-failing')
  await wasRead()
  await refresh(page)
  await main(page).getByText('HTTP 403').waitFor({ state: 'detached' })
}))
