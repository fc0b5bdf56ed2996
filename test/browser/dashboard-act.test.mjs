// The page, acted on: what operators do is done, says before what it costs, and is in
// the audit; what viewers and customers may not do is refused by the database.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { checkAccessible, examine, launch, onVisit } from './lib/browser.mjs'
import { button, dialog, enter, go, goTo, main, refresh, settled } from './lib/dashboard.mjs'
import { literal } from './lib/sql.mjs'
import { MARKUP } from './lib/texts.mjs'
import { until } from './lib/wait.mjs'
import { addJob } from './seed.mjs'
import { PEOPLE, World } from './world.mjs'

let world
let seeded
let browser
const { operator, viewer, customer } = PEOPLE

before(async () => {
  [world, browser] = await Promise.all([World.start(), launch()])
  seeded = await world.seed({ history: 300 })
  // what is asked for here is not to be refused because of it
  await world.db.run("UPDATE vibevideo.limit SET spend_per_day_usd = 10000 WHERE scope = 'global'")
})
after(async () => {
  await browser?.close()
  await world?.stop()
})

const visit = (run) => onVisit(() => browser, {}, run)
const as = (person, run) => visit(async (shown, t) => {
  await enter(shown.page, world, person)
  await run(shown, t)
})
const jobOf = async (id) => (await world.db.rows(`SELECT * FROM vibevideo.job WHERE job_id = ${id}`))[0]
const newestOf = async (row) => (await world.db.rows(`SELECT * FROM vibevideo.job WHERE vibelog_id = ${literal(row)} ORDER BY job_id DESC LIMIT 1`))[0]
const lastAct = async () => (await world.db.rows('SELECT who, action, arguments, jobs, cost_usd, outcome FROM vibevideo.audit ORDER BY at DESC, audit_id DESC LIMIT 1'))[0]
const lead = (page) => dialog(page).getByRole('status').first()
const said = (page, words) => page.getByRole('status').getByText(words).first().waitFor()

/** A call as the page makes it, by somebody who is not kept from it by the page. */
async function call(person, name, body) {
  const answer = await fetch(`${world.url}/rest/v1/rpc/vibevideo_admin_${name}`, { method: 'POST', body: JSON.stringify(body),
    headers: { apikey: world.apikey, 'content-type': 'application/json', ...(person ? { authorization: `Bearer ${world.token(person)}` } : {}) } })
  const text = await answer.text()
  return { status: answer.status, data: text ? JSON.parse(text) : null }
}

describe('who may not', () => {
  const LOOKS = { overview: {}, inbox: {}, list_jobs: {}, find: { q: '1' }, job: { job_id: 1 }, errors: {}, users: {}, series: { metric: 'failed' }, lost: {}, estimate: { endpoint: 'x', input: {} },
    retry_cost: { job_id: 1 }, health: {}, worker: {}, limits: {}, limit_use: {}, prices: {}, settings: {}, ledger: {} }
  const ACTS = { plan: { action: 'retry', filter: {} }, act: { token: crypto.randomUUID() }, cancel: { job_id: 1 }, retry: { job_id: 1 },
    resolve: { job_id: 1, verdict: 'not_sent' },
    pause: {}, resume: {}, probe_now: {}, set_limit: { scope: 'global', user_id: null, max_active: 1, submits_per_day: 1, spend_per_day_usd: 1 },
      delete_limit: { scope: 'global', user_id: null },
    set_price: { endpoint: 'x', unit_price_usd: 0 }, delete_price: { endpoint: 'x' }, explain_usage: { what: 'x', note: 'x' }, health: { network: true }, audit: {} }

  test('a viewer has no buttons that act', as(viewer, async (shown) => {
    const { page } = shown
    const acts = /^(Retry|Cancel|Set aside|Send|Enter its request|It was not sent|This is it|Change|Limit …|Add a|Pause|Resume|Ask fal\.ai|Check over|Remove|Explain)/
    for (const path of ['overview', 'jobs', 'lost', 'errors', 'users', 'limits', 'health', 'ledger', `job/${seeded.failures[3].job}`, `job/${seeded.lost.job}`,
      `job/${seeded.pending[0]}`]) {
      await go(page, path)
      const names = await main(page).getByRole('button').evaluateAll((all) => all.map((b) => b.getAttribute('aria-label') ?? b.textContent.trim()))
      assert.deepEqual(names.filter((name) => acts.test(name)), [], path)
      assert.equal(await main(page).getByRole('checkbox').count(), 0, `${path}: nothing to select`)
    }
    await goTo(page, 'audit').catch(() => {})
    await checkAccessible(shown, "a viewer's audit")
  }))

  test('the database refuses a viewer what acts, and nothing has happened', async () => {
    const before_ = await world.db.value('SELECT count(*) FROM vibevideo.audit')
    for (const [name, body] of Object.entries(ACTS)) {
      const { status, data } = await call(viewer, name, body)
      assert.deepEqual([name, status, data.code], [name, 403, '42501'])
    }
    assert.equal(await world.db.value('SELECT count(*) FROM vibevideo.audit'), before_)
    assert.equal(await world.db.value('SELECT paused FROM vibevideo.binding'), 'f')
  })

  test('and a customer, or nobody at all, anything', async () => {
    for (const [name, body] of Object.entries({ ...LOOKS, ...ACTS })) {
      const refused = await call(customer, name, body)
      assert.deepEqual([name, refused.status, refused.data.code], [name, 403, '42501'])
      assert.ok([401, 403].includes((await call(null, name, body)).status), `${name} without a token`)
    }
    const { data: nobody } = await call(customer, 'me', {})
    assert.equal([nobody].flat()[0].level, null)
  })

  test('whoever loses the right in the middle is refused at the next click', as(operator, async ({ page, watch }) => {
    watch.expect(/403/)
    const { job } = await addJob(world, { prompt: 'Refused in the middle', state: 'failed', error_code: 'http_500', error: 'no' })
    await go(page, `job/${job}`)
    const retry = main(page).getByRole('button', { name: /^Retry: pays/ })
    await retry.waitFor()
    await world.db.run(`UPDATE vibevideo.operator SET level = 'viewer' WHERE user_id = '${operator.id}'`)
    try {
      await retry.click()
      await dialog(page).getByRole('button', { name: /^Retry, pay/ }).click()
      await dialog(page).getByRole('alert').waitFor()
      assert.equal((await jobOf(job)).state, 'failed')
    } finally {
      await world.db.run(`UPDATE vibevideo.operator SET level = 'operator' WHERE user_id = '${operator.id}'`)
    }
  }))
})

describe('one job', () => {
  test('a retry that is only a copy is free, and says so', as(operator, async (shown) => {
    const { page } = shown
    await go(page, `job/${seeded.notStored.job}`)
    await main(page).getByRole('button', { name: /free, only the copy/ }).click()
    await dialog(page).getByText('It is only copied again, which is free.').waitFor()
    await examine(shown, 'dialog-retry-free', { schemes: ['light'] })
    await dialog(page).getByRole('button', { name: 'Retry, free' }).click()
    await said(page, 'started again')
    await world.db.until(`SELECT state = 'completed' FROM vibevideo.job WHERE job_id = ${seeded.notStored.job}`)
    await page.getByText('Done', { exact: true }).first().waitFor()
    const act = await lastAct()
    assert.equal(act.action, 'retry')
    assert.match(act.who, new RegExp(operator.id))
    assert.equal(act.arguments.job, seeded.notStored.job)
  }))

  test('one that is a new render says what it pays, and does nothing if told so', as(operator, async ({ page }) => {
    const { job, row } = await addJob(world, { prompt: 'A new render', state: 'failed', error_code: 'http_500', error: 'no' })
    await go(page, `job/${job}`)
    const retry = main(page).getByRole('button', { name: /^Retry: pays about (US)?\$0\.50/ })
    await retry.click()
    await dialog(page).getByText('It costs at most').waitFor()
    await button(page, 'Do nothing').click()
    assert.equal((await newestOf(row)).job_id, job)
    await retry.click()
    await dialog(page).getByRole('button', { name: /^Retry, pay about (US)?\$0\.50/ }).click()
    await said(page, 'started again')
    assert.notEqual((await newestOf(row)).job_id, job)
  }))

  test('a cancel of one that waits', as(operator, async ({ page }) => {
    const id = seeded.pending[5]
    await go(page, `job/${id}`)
    await main(page).getByRole('button', { name: 'Cancel …' }).click()
    await dialog(page).getByText('nothing is charged').waitFor()
    await dialog(page).getByRole('button', { name: 'Cancel the job' }).click()
    await said(page, 'cancel requested')
    await until('it is cancelled', async () => (await jobOf(id)).state === 'cancelled')
    await page.getByText('Cancelled', { exact: true }).first().waitFor()
  }))

  test('what somebody else was faster with is not paid twice', as(operator, async ({ page, watch }) => {
    watch.expect(/4\d\d/)
    const { job, row } = await addJob(world, { prompt: 'Somebody else was first', state: 'failed', error_code: 'http_500', error: 'no' })
    await go(page, `job/${job}`)
    await main(page).getByRole('button', { name: /^Retry: pays/ }).click()
    await dialog(page).getByRole('button', { name: /^Retry, pay/ }).waitFor()
    await world.db.run(`SELECT vibevideo.retry(${job})`)
    const { job_id: newest } = await newestOf(row)
    await dialog(page).getByRole('button', { name: /^Retry, pay/ }).click()
    await until('it is answered', async () => await dialog(page).count() === 0 || await dialog(page).getByRole('alert').count() > 0)
    assert.equal((await newestOf(row)).job_id, newest)
  }))
})

describe('what a job costs', () => {
  const fact = (page, name) => main(page).locator('.facts > div').filter({ has: page.getByText(name, { exact: true }) }).locator('dd')

  test('is what it can cost at most, and nothing that it has cost, while it is made', as(operator, async ({ page }) => {
    const { job } = await addJob(world, { prompt: 'Being made', state: 'generating' })
    await go(page, `job/${job}`)
    assert.match(await fact(page, 'Could cost').textContent(), /^(US)?\$0\.50 at most$/)
    assert.equal(await fact(page, 'Has cost').count(), 0)
  }))

  test('is said in words when it is known, with how', as(operator, async (shown) => {
    const { page } = shown
    const SAYS = { units: 'as fal.ai says it bills (8.4 units)', bill: 'as fal.ai has billed it', duration: 'by the length of the stored video',
      estimate: 'as estimated by what was asked for' }
    const { job } = await addJob(world, { prompt: 'Made, and billed', state: 'completed', video_url: seeded.filmUrl })
    for (const [source, words] of Object.entries(SAYS)) {
      await world.db.run(`UPDATE vibevideo.job SET cost_usd = 0.84, cost_source = '${source}', billable_units = 8.4 WHERE job_id = ${job}`)
      await go(page, 'overview')
      await go(page, `job/${job}`)
      assert.equal((await fact(page, 'Has cost').textContent()).replace('US', ''), `$0.84, ${words}`)
      assert.match(await fact(page, 'Could cost').textContent(), /^(US)?\$0\.50 at most$/)
      if (source === 'units') await examine(shown, 'job-cost', { settle: settled })
    }
    await go(page, `jobs?job_id=${job}`)
    await page.getByRole('row').filter({ hasText: 'Made, and billed' }).getByText(/^(US)?\$0\.84$/).waitFor()
    await go(page, `job/${seeded.cancelled.job}`)
    assert.equal((await fact(page, 'Has cost').textContent()).replace('US', ''), '$0.00, nothing was billed')
  }))
})

describe('lost submits', () => {
  const item = (page, id) => main(page).getByRole('listitem').filter({ has: page.getByRole('link', { name: `Job ${id}`, exact: true }) })

  test('one of its candidates is adopted: nothing is paid twice', as(operator, async (shown) => {
    const { page } = shown
    await goTo(page, 'lost')
    const accepted = (await world.fal.control('GET', 'ledger?jobs=0')).accepted
    const row = item(page, seeded.lostAtFal).getByRole('row').filter({ hasText: seeded.strangers[0] })
    await row.getByRole('button', { name: /This is it/ }).click()
    await dialog(page).getByText(seeded.strangers[0]).waitFor()
    await examine(shown, 'dialog-adopt', { schemes: ['dark'] })
    await dialog(page).getByRole('button', { name: 'Adopt it, free' }).click()
    await said(page, 'adopted')
    await world.db.until(`SELECT state = 'completed' FROM vibevideo.job WHERE job_id = ${seeded.lostAtFal}`)
    assert.equal((await jobOf(seeded.lostAtFal)).request_id, seeded.strangers[0])
    assert.equal((await world.fal.control('GET', 'ledger?jobs=0')).accepted, accepted)
    await until('it is off the list', async () => await item(page, seeded.lostAtFal).count() === 0)
  }))

  test('a request that somebody has found at fal.ai is entered', as(operator, async ({ page, watch }) => {
    watch.expect(/400/)
    await goTo(page, 'lost')
    await item(page, seeded.lost.job).getByRole('button', { name: 'Enter its request id …' }).click()
    const field = dialog(page).getByLabel('Request id')
    await field.fill('no such id!')
    await dialog(page).getByRole('button', { name: 'Adopt it, free' }).click()
    await dialog(page).getByRole('alert').waitFor()
    await field.fill(seeded.strangers[1])
    await dialog(page).getByRole('button', { name: 'Adopt it, free' }).click()
    await said(page, 'adopted')
    await until('it follows that request', async () => (await jobOf(seeded.lost.job)).request_id === seeded.strangers[1])
  }))

  test('one that was not sent is sent again, which pays', as(operator, async ({ page }) => {
    await goTo(page, 'lost')
    await item(page, seeded.lostLate.job).getByRole('button', { name: /^It was not sent/ }).click()
    await dialog(page).getByText(/paid for twice/).waitFor()
    await dialog(page).getByRole('button', { name: /^Send 1 job again, pay about/ }).click()
    await lead(page).getByText('1 job sent again.').waitFor()
    await button(page, 'Close').first().click()
    await until('it waits again, or is sent', async () => (await jobOf(seeded.lostLate.job)).state !== 'submit_unknown')
    await page.getByText('No answer is lost.').waitFor()
  }))
})

describe('many jobs', () => {
  const COUNT = 6

  test('a retry that costs money: the plan, the words, the result, the audit', as(operator, async (shown) => {
    const { page } = shown
    await world.configure({ confirm_over_usd: 1 })
    const jobs = []
    for (let n = 0; n < COUNT; n += 1) jobs.push((await addJob(world, { owner: `bulk-${n % 3}`, prompt: `Bulk ${n}`, state: 'failed',
      error_code: 'bulk_error', error: MARKUP })).job)
    await go(page, 'jobs?error_code=bulk_error')
    await main(page).getByRole('button', { name: 'Retry …' }).click()
    await lead(page).getByText(/Retry 6 jobs of 3 users\. About (US)?\$3\.00\./).waitFor()
    assert.equal((await jobOf(jobs[0])).state, 'failed', 'a plan changes nothing')
    await examine(shown, 'dialog-plan')
    const act = dialog(page).getByRole('button', { name: /^Retry 6 jobs, pay about (US)?\$3\.00/ })
    assert.ok(await act.isDisabled())
    const words = await dialog(page).locator('kbd').textContent()
    assert.match(words, /^spend 3\.00$/)
    await dialog(page).getByLabel(/To confirm, type/).fill('spend 2')
    assert.ok(await act.isDisabled(), 'not by other words')
    await dialog(page).getByLabel(/To confirm, type/).fill(words)
    // one of them is dealt with by somebody else meanwhile
    await world.db.run(`UPDATE vibevideo.job SET error_code = 'another' WHERE job_id = ${jobs[0]}`)
    await act.click()
    await lead(page).getByText(/5 jobs started again\. That spends about (US)?\$2\.50\./).waitFor()
    await dialog(page).getByText('1 has changed since the plan').waitFor()
    await examine(shown, 'dialog-result', { schemes: ['light'] })
    await button(page, 'Close').first().click()
    const noted = await lastAct()
    assert.deepEqual([noted.action, noted.jobs, Number(noted.cost_usd)], ['act: retry', 5, 2.5])
    await goTo(page, 'audit')
    await page.getByRole('row').filter({ hasText: '$2.50' }).first().waitFor()
    await world.configure({ confirm_over_usd: null })
  }))

  test('what is selected is what is meant, and passed over is what does not fit', as(operator, async ({ page }) => {
    const failed = await addJob(world, { owner: 'picked', prompt: 'Picked', state: 'failed', error_code: 'http_500', error: 'no' })
    const done = await addJob(world, { owner: 'picked', prompt: 'Picked, too', state: 'cancelled' })
    const left = await addJob(world, { owner: 'picked', prompt: 'Not picked', state: 'failed', error_code: 'http_500', error: 'no' })
    await go(page, 'jobs?user=picked')
    await page.getByLabel(`Select job ${failed.job}`).check()
    await page.getByLabel(`Select job ${done.job}`).check()
    await page.getByText('2 jobs selected').waitFor()
    await main(page).getByRole('button', { name: 'Set aside …' }).click()
    await lead(page).getByText('Set aside 1 job of 1 user. Free.').waitFor()
    await dialog(page).getByText('1 has not failed').waitFor()
    await dialog(page).getByRole('button', { name: /^Set aside 1 job/ }).click()
    await lead(page).getByText('1 job set aside.').waitFor()
    assert.notEqual((await jobOf(failed.job)).forgotten_at, null)
    assert.equal((await jobOf(left.job)).forgotten_at, null)
  }))

  test('Shift selects all between', as(operator, async ({ page }) => {
    await go(page, 'jobs?error_code=bulk_error')
    const boxes = page.getByRole('checkbox', { name: /^Select job/ })
    await boxes.nth(0).check()
    await boxes.nth(3).click({ modifiers: ['Shift'] })
    await page.getByText('4 jobs selected').waitFor()
    await button(page, 'Clear the selection').click()
    await page.getByText('All that match:').waitFor()
  }))

  test('from the inbox: what needs somebody is dealt with, and gone', as(operator, async ({ page }) => {
    await goTo(page, 'overview')
    const need = main(page).getByRole('listitem').filter({ hasText: 'A video without a saved row' })
    await need.getByRole('button', { name: /^Retry/ }).click()
    await dialog(page).getByRole('button', { name: /^Retry/ }).click()
    await world.db.until(`SELECT state IN ('processing', 'completed') FROM vibevideo.job WHERE job_id = ${seeded.orphan.job}`)
    await until('it is gone', async () => { await refresh(page); return await need.count() === 0 })
  }))

  test('a plan is good for one time', as(operator, async ({ page, watch }) => {
    watch.expect(/4\d\d/)
    await addJob(world, { owner: 'twice', prompt: 'Planned twice', state: 'failed', error_code: 'twice', error: 'no' })
    await go(page, 'jobs?user=twice')
    await main(page).getByRole('button', { name: 'Set aside …' }).click()
    await lead(page).getByText('Set aside 1 job').waitFor()
    // nobody else's plan goes with it
    await world.db.run("DELETE FROM vibevideo_internal.planned WHERE filter ->> 'user' LIKE '%twice%'")
    await dialog(page).getByRole('button', { name: /^Set aside 1 job/ }).click()
    await dialog(page).getByRole('alert').waitFor()
    await button(page, 'Plan again').click()
    await dialog(page).getByRole('alert').waitFor({ state: 'detached' })
    await dialog(page).getByRole('button', { name: /^Set aside 1 job/ }).click()
    await lead(page).getByText('1 job set aside.').waitFor()
  }))
})

describe('limits and prices', () => {
  const prices = (page) => page.getByRole('table', { name: 'Prices', exact: true }).getByRole('row')
  const builtIn = (page) => page.getByRole('table', { name: 'Built-in prices' }).getByRole('row')
  const unfold = (page) => main(page).locator('summary', { hasText: /built-in prices$/ }).click()
  const field = (page, name) => dialog(page).getByLabel(name, { exact: true })
  const limitOf = async (who) => (await world.db.rows(`SELECT max_active, submits_per_hour, submits_per_day, submits_per_month, spend_per_hour_usd::float,
    spend_per_day_usd::float, spend_per_month_usd::float FROM vibevideo.limit WHERE who = ${literal(who)}`))[0]
  const ALL = { max_active: 1, submits_per_hour: 2, submits_per_day: 3, submits_per_month: 4, spend_per_hour_usd: 5.25, spend_per_day_usd: 6.5,
    spend_per_month_usd: 7.75 }
  const LABELS = { max_active: 'Videos in work at a time', submits_per_hour: 'Videos requested an hour', submits_per_day: 'Videos requested a day',
    submits_per_month: 'Videos requested a month', spend_per_hour_usd: 'USD spent an hour', spend_per_day_usd: 'USD spent a day',
    spend_per_month_usd: 'USD spent a month' }
  /** Until the dialog is closed: what is said may have been said before. */
  const save = async (page) => {
    await button(page, 'Save').click()
    await dialog(page).waitFor({ state: 'detached' })
  }
  const NONE = Object.fromEntries(Object.keys(ALL).map((name) => [name, null]))
  const priceOf = (endpoint) => world.db.value(`SELECT unit_price_usd::float FROM vibevideo.price_rule WHERE endpoint = '${endpoint}' AND source = 'operator' ORDER BY valid_from DESC LIMIT 1`)

  test('a limit is changed, with what it was and is', as(operator, async (shown) => {
    const { page } = shown
    await goTo(page, 'limits')
    await button(page, 'Change limit of each user without a limit of their own').click()
    await field(page, 'Videos in work at a time').fill('7')
    await dialog(page).getByText('Videos in work at a time: 5 → 7').waitFor()
    await examine(shown, 'dialog-limit')
    await button(page, 'Save').click()
    await said(page, 'The limit is changed')
    assert.equal(await world.db.value("SELECT max_active FROM vibevideo.limit WHERE scope = 'default'"), '7')
    const { arguments: args } = await lastAct()
    assert.deepEqual([args.was[0].max_active, args.is[0].max_active], [5, 7])
    await page.getByRole('row').filter({ hasText: 'each user without' }).getByText('7', { exact: true }).waitFor()
  }))

  test('a user gets one, and loses it', as(operator, async ({ page }) => {
    const id = customer.id.replace(/3$/, '9')
    await goTo(page, 'limits')
    await button(page, 'Add a limit …').click()
    assert.ok(await button(page, 'Save').isDisabled(), 'without whom it is for')
    await field(page, 'User id').fill(id)
    await field(page, 'USD spent a day').fill('2.5')
    await button(page, 'Save').click()
    await said(page, 'The limit is changed')
    assert.equal(await world.db.value(`SELECT spend_per_day_usd::float FROM vibevideo.limit WHERE user_id = '${id}'`), '2.5')
    await button(page, `Change limit of user ${id}`).click()
    await button(page, 'Remove the limit').click()
    await said(page, 'The limit is removed')
    assert.equal(await world.db.value(`SELECT count(*) FROM vibevideo.limit WHERE user_id = '${id}'`), '0')
  }))

  test('of all that a limit has, what is not touched stays', as(operator, async ({ page }) => {
    await world.db.run(`INSERT INTO vibevideo.limit (scope, user_id, ${Object.keys(ALL)}) VALUES ('user', 'all-seven', ${Object.values(ALL)})`)
    await goTo(page, 'limits')
    await button(page, 'Change limit of user all-seven').click()
    for (const [name, label] of Object.entries(LABELS)) assert.equal(await field(page, label).inputValue(), String(ALL[name]), name)
    await field(page, LABELS.max_active).fill('9')
    await save(page)
    assert.deepEqual(await limitOf('user:all-seven'), { ...ALL, max_active: 9 })
    // and by way of the user
    await addJob(world, { owner: 'all-seven', prompt: 'Whose limit is changed', state: 'generating' })
    await goTo(page, 'users')
    await button(page, 'Limit of all-seven').click()
    await field(page, LABELS.submits_per_hour).fill('')
    await dialog(page).getByText('Videos requested an hour: 2 → as the default').waitFor()
    await field(page, LABELS.submits_per_month).fill('-1')
    await field(page, LABELS.spend_per_hour_usd).fill('0')
    await save(page)
    assert.deepEqual(await limitOf('user:all-seven'), { ...ALL, max_active: 9, submits_per_hour: null, submits_per_month: -1, spend_per_hour_usd: 0 })
  }))

  test('each scope gets a limit, and loses it', as(operator, async (shown) => {
    const { page } = shown
    await goTo(page, 'limits')
    const SCOPES = [['Each tenant without a limit of its own', null, 'default_tenant', 'each tenant without a limit of its own'],
      ['A tenant', 'Tenant', 'tenant:acme & söhne', 'tenant acme & söhne'], ['A model', 'fal.ai’s endpoint id', 'model:fal-ai/veo3', 'model fal-ai/veo3']]
    for (const [choice, label, who, words] of SCOPES) {
      await button(page, 'Add a limit …').click()
      await dialog(page).getByRole('combobox', { name: 'For' }).selectOption({ label: choice })
      assert.equal(await dialog(page).getByLabel(/User id|Tenant|endpoint id/).count(), label ? 1 : 0)
      if (label) await field(page, label).fill(who.replace(/^\w+:/, ''))
      for (const [name, value] of Object.entries(ALL)) await field(page, LABELS[name]).fill(String(value))
      if (who.startsWith('model')) await examine(shown, 'dialog-limit-new')
      await save(page)
      assert.deepEqual(await limitOf(who), ALL, who)
      const row = page.getByRole('table', { name: 'Limits' }).getByRole('row').filter({ hasText: words })
      for (const text of ['2 an hour', '3 a day', '4 a month', /\$5\.25 an hour/, /\$6\.50 a day/, /\$7\.75 a month/])
        await row.getByText(text).waitFor()
    }
    await examine(shown, 'limits-all-scopes', { settle: settled })
    // of what there is one of there are not two
    await button(page, 'Add a limit …').click()
    assert.deepEqual(await dialog(page).getByRole('combobox', { name: 'For' }).locator('option').allTextContents(), ['A user', 'A tenant', 'A model'])
    await button(page, 'Close').first().click()
    for (const [, , who, words] of SCOPES) {
      await button(page, `Change limit of ${words}`).click()
      await button(page, 'Remove the limit').click()
      await until('it is gone', async () => await limitOf(who) === undefined)
      await dialog(page).waitFor({ state: 'detached' })
    }
  }))

  test('what is refused is said at its field', as(operator, async (shown) => {
    const { page } = shown
    shown.watch.expect(/400/)
    await goTo(page, 'limits')
    await button(page, 'Change limit of each user without a limit of their own').click()
    const before_ = await limitOf('default')
    for (const [name, text, words] of [['max_active', '20000', 'Must be -1 or a number from 0 to 10000.'],
      ['submits_per_month', 'many', 'Invalid input syntax for type integer: "many".'], ['spend_per_hour_usd', '-2', 'Must be -1 or a number from 0 to 10000000.']]) {
      const input = field(page, LABELS[name])
      const was = await input.inputValue()
      await input.fill(text)
      await button(page, 'Save').click()
      await dialog(page).getByRole('alert').getByText(words, { exact: true }).waitFor()
      assert.equal(await dialog(page).getByRole('alert').count(), 1, 'once')
      assert.deepEqual(await dialog(page).locator('[aria-invalid=true]').evaluateAll((all) => all.map((e) => [e.ariaLabel,
        document.getElementById(e.getAttribute('aria-describedby')).textContent, e === document.activeElement])), [[LABELS[name], words, true]])
      if (text === 'many') await examine(shown, 'dialog-limit-refused')
      await input.fill(was)
    }
    assert.deepEqual(await limitOf('default'), before_)
  }))

  test('what somebody else has set meanwhile is shown, and not overwritten unasked', as(operator, async (shown) => {
    const { page } = shown
    await world.db.run("INSERT INTO vibevideo.limit (user_id, max_active, submits_per_day) VALUES ('two-at-once', 5, 40)")
    await goTo(page, 'limits')
    await button(page, 'Change limit of user two-at-once').click()
    await field(page, LABELS.max_active).fill('6')
    await world.db.run("UPDATE vibevideo.limit SET max_active = 2, submits_per_day = 10, spend_per_month_usd = 99 WHERE user_id = 'two-at-once'")
    const theirs = { ...NONE, max_active: 2, submits_per_day: 10, spend_per_month_usd: 99 }
    await button(page, 'Save').click()
    await dialog(page).getByRole('alert').getByText(/Somebody else has set this limit meanwhile/).waitFor()
    assert.deepEqual(await limitOf('user:two-at-once'), theirs)
    await dialog(page).getByText('Videos in work at a time: 2 → 6').waitFor()
    assert.equal(await field(page, LABELS.submits_per_day).inputValue(), '10')
    await examine(shown, 'dialog-limit-changed')
    await save(page)
    assert.deepEqual(await limitOf('user:two-at-once'), { ...theirs, max_active: 6 })
    // nor is one removed that is another by now
    await button(page, 'Change limit of user two-at-once').click()
    await world.db.run("UPDATE vibevideo.limit SET submits_per_hour = 1 WHERE user_id = 'two-at-once'")
    await button(page, 'Remove the limit').click()
    await dialog(page).getByRole('alert').waitFor()
    assert.equal((await limitOf('user:two-at-once')).submits_per_hour, 1)
    await button(page, 'Close').first().click()
    // nor overwritten what the page did not know when it was to be added
    await button(page, 'Add a limit …').click()
    await field(page, 'User id').fill('two-at-once')
    await field(page, LABELS.spend_per_day_usd).fill('3')
    await button(page, 'Save').click()
    await dialog(page).getByRole('alert').waitFor()
    assert.equal(await field(page, LABELS.submits_per_hour).inputValue(), '1')
    await save(page)
    assert.deepEqual(await limitOf('user:two-at-once'), { ...theirs, max_active: 6, submits_per_hour: 1, spend_per_day_usd: 3 })
  }))

  test('a price is changed; a bad one is refused in words', as(operator, async ({ page, watch }) => {
    watch.expect(/400/)
    await goTo(page, 'limits')
    await button(page, 'Change price of fal-ai/veo3').click()
    await dialog(page).getByLabel('USD a video').fill('-1')
    await button(page, 'Save').click()
    await dialog(page).getByRole('alert').waitFor()
    await dialog(page).getByLabel('USD a video').fill('0.8')
    await dialog(page).getByText(/Price: (US)?\$0\.75 a video → (US)?\$0\.80 a video/).waitFor()
    await button(page, 'Save').click()
    await said(page, 'The price is changed')
    assert.equal(await priceOf('fal-ai/veo3'), '0.8')
    await prices(page).filter({ hasText: 'fal-ai/veo3' }).getByText(/\$0\.80 a video/).waitFor()
    await goTo(page, 'audit')
    const row = page.getByRole('row').filter({ hasText: /price/ }).first()
    await row.locator('summary').click()
    await row.getByText('0.8').first().waitFor()
  }))

  test('prices of yours come first, then those of fal.ai, then those that are built in', as(operator, async (shown) => {
    const { page } = shown
    await world.db.run(`INSERT INTO vibevideo.price_rule (endpoint, source, valid_from, unit, unit_price_usd) VALUES
      ('aaa/of-fal', 'fal', '2001-01-01', 'video', 0.3)`)
    await goTo(page, 'limits')
    const sources = await prices(page).evaluateAll((rows) => rows.slice(1).map((row) => row.cells[3].textContent.trim().split(/\s/)[0]))
    assert.deepEqual([...new Set(sources)], ['operator', 'fal'])
    // the keys pass over what is folded
    const folded = Number(await world.db.value("SELECT count(*) FROM vibevideo.price_rule WHERE source = 'built-in'"))
    await main(page).getByText(`${folded} built-in prices`).waitFor()
    await page.evaluate(() => document.activeElement.blur())
    await page.keyboard.press('k')
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'aaa/of-fal')
    await examine(shown, 'limits-folded', { settle: settled })
    await unfold(page)
    await examine(shown, 'limits-unfolded', { settle: settled, schemes: ['light'] })
    await refresh(page)
    assert.equal(await builtIn(page).count(), folded + 1, 'it stays unfolded')
    await world.db.run("DELETE FROM vibevideo.price_rule WHERE source = 'fal'")
  }))

  test('a flat price takes two fields, and is taken away', as(operator, async (shown) => {
    const { page } = shown
    await goTo(page, 'limits')
    await button(page, 'Add a price …').click()
    await dialog(page).getByLabel('fal.ai’s endpoint id').fill('acme/flat')
    await dialog(page).getByLabel('USD a video').fill('0.25')
    await examine(shown, 'dialog-price')
    await button(page, 'Save').click()
    await said(page, 'The price is changed')
    assert.equal(await priceOf('acme/flat'), '0.25')
    await button(page, 'Change price of acme/flat').click()
    await button(page, 'Remove the price').click()
    await said(page, 'The price is removed')
    assert.equal(await world.db.value("SELECT count(*) FROM vibevideo.price_rule WHERE endpoint = 'acme/flat'"), '0')
    await prices(page).filter({ hasText: 'acme/flat' }).waitFor({ state: 'detached' })
  }))

  test('a price by the second, for some inputs', as(operator, async (shown) => {
    const { page } = shown
    await goTo(page, 'limits')
    await button(page, 'Add a price …').click()
    await dialog(page).getByLabel('fal.ai’s endpoint id').fill('acme/by-the-second')
    await dialog(page).getByText('By length, by input').click()
    await dialog(page).getByLabel('Unit').selectOption({ label: 'a second' })
    await dialog(page).getByLabel('USD a second').fill('0.1')
    await dialog(page).getByLabel('Where the input says how many').fill('$.duration')
    await dialog(page).getByLabel('How many if it does not').fill('5')
    await dialog(page).getByLabel('How many more may be billed').fill('0.1')
    await dialog(page).getByLabel('Only for inputs with').fill('{"size": 4k}')
    await button(page, 'Save').click()
    await dialog(page).getByRole('alert').getByText(/JSON/).waitFor()
    await dialog(page).getByLabel('Only for inputs with').fill('{"size": "4k"}')
    await examine(shown, 'dialog-price-by-the-second')
    await button(page, 'Save').click()
    await said(page, 'The price is changed')
    assert.equal(await world.db.value(`SELECT cost_usd::float FROM vibevideo.estimate('acme/by-the-second', '{"size": "4k", "duration": "8s"}')`), '0.81')
    const row = prices(page).filter({ hasText: 'acme/by-the-second' })
    for (const text of [/\$0\.10 a second/, 'size "4k"', '$.duration, else 5, +0.1', 'operator']) await row.getByText(text).first().waitFor()
    // what it says is kept when only the price is changed
    await button(page, 'Change price of acme/by-the-second with size "4k"').click()
    await dialog(page).getByLabel('USD a second').fill('0.2')
    await button(page, 'Save').click()
    await row.getByText(/\$0\.20 a second/).waitFor()
    assert.equal(await world.db.value(`SELECT cost_usd::float FROM vibevideo.estimate('acme/by-the-second', '{"size": "4k", "duration": "8s"}')`), '1.62')
    await button(page, 'Change price of acme/by-the-second with size "4k"').click()
    await button(page, 'Remove the price').click()
    await said(page, 'The price is removed')
    assert.equal(await world.db.value("SELECT count(*) FROM vibevideo.price_rule WHERE endpoint = 'acme/by-the-second'"), '0')
  }))

  test('a built-in price is replaced, and comes back', as(operator, async ({ page }) => {
    await goTo(page, 'limits')
    const kling = 'fal-ai/kling-video/v3/pro/text-to-video'
    assert.equal(await builtIn(page).count(), 0, 'built-in ones are folded away')
    await unfold(page)
    await builtIn(page).filter({ hasText: kling }).getByText('built-in').nth(2).waitFor()
    await button(page, `Change price of ${kling}`).click()
    assert.equal(await button(page, 'Remove the price').count(), 0)
    await dialog(page).getByLabel('USD a second').fill('0.15')
    await button(page, 'Save').click()
    await said(page, 'The price is changed')
    await prices(page).filter({ hasText: kling }).getByText('operator').waitFor()
    assert.equal(await prices(page).filter({ hasText: kling }).count(), 1)
    assert.equal(await world.db.value(`SELECT cost_usd::float FROM vibevideo.estimate('${kling}', '{}')`), '0.765')
    await button(page, `Change price of ${kling}`).click()
    await button(page, 'Remove the price').click()
    await said(page, 'The price is removed')
    await builtIn(page).filter({ hasText: kling }).getByText('built-in').nth(2).waitFor()
  }))
})

describe('pausing', () => {
  test('pause says why to everybody, resume lets go', as(operator, async (shown) => {
    const { page } = shown
    await goTo(page, 'health')
    await button(page, 'Pause …').click()
    await dialog(page).getByLabel('Reason, for other operators').fill(`the bill ${MARKUP}`)
    await examine(shown, 'dialog-pause', { schemes: ['light'] })
    await dialog(page).getByRole('button', { name: 'Pause', exact: true }).click()
    await said(page, 'Paused')
    assert.equal(await world.db.value('SELECT pause_scope FROM vibevideo.binding'), 'sending')
    await goTo(page, 'overview')
    await main(page).getByText(/New videos wait/).waitFor()
    await examine(shown, 'overview-paused', { settle: settled, schemes: ['light'] })
    await goTo(page, 'health')
    await button(page, 'Resume …').click()
    await dialog(page).getByRole('button', { name: 'Resume', exact: true }).click()
    await said(page, 'Resumed')
    await until('it is so', async () => await world.db.value('SELECT paused FROM vibevideo.binding') === 'f')
  }))

  test('asking fal.ai and Storage, and checking over the network', as(operator, async ({ page }) => {
    await goTo(page, 'health')
    await button(page, 'Ask fal.ai and Storage now').click()
    await page.getByText(/Storage answers/).first().waitFor()
    await button(page, 'Check over the network, too').click()
    await page.getByRole('table', { name: 'Checks' }).getByText(/storage/i).first().waitFor()
    await settled(page)
  }))
})
