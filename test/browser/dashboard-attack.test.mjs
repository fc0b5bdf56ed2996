// The page under attack: by links that sign people in, by others in the same browser,
// by services that do not answer, and by an API that answers anything.

import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import { launch, onVisit } from './lib/browser.mjs'
import { button, dialog, enter, go, heading, main, SCREENS, signIn, signInByToken, stopRefreshing } from './lib/dashboard.mjs'
import { until } from './lib/wait.mjs'
import { addJob } from './seed.mjs'
import { PEOPLE, World } from './world.mjs'

let world
let browser
const { operator, viewer } = PEOPLE

before(async () => {
  [world, browser] = await Promise.all([World.start(), launch()])
  await world.seed({ history: 50 })
})
after(async () => {
  await browser?.close()
  await world?.stop()
})
afterEach(() => world.gateway.control('POST', 'reset'))

const visit = (run) => onVisit(() => browser, {}, run)
const as = (person, run) => visit(async (shown, t) => {
  await enter(shown.page, world, person)
  await run(shown, t)
})
const atLogin = (page) => page.getByLabel('Email address').waitFor()
const kept = (page) => page.evaluate(() => JSON.stringify([Object.entries(sessionStorage), Object.entries(localStorage)]))

/** Whoever has an account gets a link by mail, and may send it to others. */
async function linkOf({ email }) {
  const known = (await world.auth.control('GET', 'mails')).length
  await world.auth.control('POST', 'settings', { mailIntervalMs: 0 }).catch(() => {})
  const back = encodeURIComponent(world.dashboardUrl)
  await until('a mail', async () => {
    await fetch(`${world.url}/auth/v1/otp?redirect_to=${back}`, { method: 'POST', headers: { apikey: world.apikey, 'content-type': 'application/json' },
      body: JSON.stringify({ email, create_user: false }) })
    return (await world.auth.control('GET', 'mails')).length > known
  })
  return (await world.auth.control('GET', 'mails')).at(-1).link
}

describe('links that sign in', () => {
  test('as somebody else do not: nobody here has asked for one', visit(async ({ page }) => {
    await page.goto(await linkOf(viewer))
    await page.getByText('That link was not asked for in this browser').waitFor()
    assert.doesNotMatch(page.url(), /access_token/)
    assert.doesNotMatch(await kept(page), /refresh_token|eyJ/)
    await page.reload()
    await atLogin(page)
  }))

  test('nor while one is waited for, or somebody is signed in', visit(async ({ page }) => {
    await page.goto(world.dashboardUrl)
    await button(page, 'Email link').click()
    await page.getByLabel('Email address').fill(operator.email)
    await button(page, 'Send the link').click()
    await page.getByText('the link is on its way').waitFor()
    const own = (await world.auth.control('GET', 'mails')).at(-1).link
    await page.goto(await linkOf(viewer))
    await page.getByText('That link was not asked for in this browser').waitFor()
    // the one that was asked for is good, in another tab as well
    const tab = await page.context().newPage()
    await tab.goto(own)
    await heading(tab, 'Overview').waitFor()
    assert.doesNotMatch(await tab.evaluate(() => window.navigation.entries().map(({ url }) => url).join(' ')), /access_token/)
    await tab.goto(await linkOf(viewer))
    await heading(tab, 'Overview').waitFor()
    await button(tab, 'Account and help').or(tab.getByLabel('Account and help')).first().click()
    await tab.getByText(operator.name).first().waitFor()
  }))

  test('and put no words of theirs on the page', visit(async ({ page }) => {
    await page.goto(`${world.dashboardUrl}#error=x&error_code=y&error_description=${encodeURIComponent('Your account is locked: call +1 555 0100')}`)
    await page.getByText('That link does not work any more').waitFor()
    assert.doesNotMatch(await page.locator('body').textContent(), /locked|555/)
  }))

  test('a secret key in the address is told of, and not used', visit(async ({ page }) => {
    const file = `${world.url}/dist/dashboard.html#api=${world.url}/rest/v1&apikey=${world.rest.service_jwt}`
    await page.goto(file)
    await page.getByText('The address of this page has the service_role key in it').waitFor()
    assert.equal(await page.getByLabel('Password').count(), 0)
  }))

  test('a page of no server says in full where a password goes', visit(async ({ page }) => {
    await page.goto(`${world.url}/dist/dashboard.html#api=${world.url}/rest/v1&apikey=${world.apikey}`)
    await page.getByText(`It signs in at ${world.url}/rest/v1`).waitFor()
  }))
})

describe('signing out', () => {
  test('in one tab is so in all, and after a reload', visit(async (shown) => {
    const { page } = shown
    const [byPassword, byToken] = [await shown.open(), await shown.open()]
    await enter(page, world, operator)
    await enter(byPassword, world, operator)
    await byToken.goto(world.dashboardUrl)
    await signInByToken(byToken, world.token(operator))
    await heading(byToken, 'Overview').waitFor()
    await page.getByLabel('Account and help').first().click()
    await button(page, 'Sign out').click()
    for (const tab of [page, byPassword, byToken]) {
      await atLogin(tab)
      assert.doesNotMatch(await kept(tab), /eyJ/)
      await tab.reload()
      await atLogin(tab)
    }
  }))

  test('is done here, whatever the sign-in service says', as(operator, async ({ page, watch }) => {
    watch.expect(/logout|Failed to load resource/)
    await world.gateway.control('POST', 'fault', { path: 'POST /auth/v1/logout', status: 500, times: -1 })
    await page.getByLabel('Account and help').first().click()
    await button(page, 'Sign out').click()
    await atLogin(page)
    await page.reload()
    await atLogin(page)
  }))

  test('tokens are told to no other page of the origin', visit(async (shown) => {
    const other = await shown.open()
    await other.goto(world.appUrl())
    await other.evaluate((names) => {
      window.heard = []
      for (const name of names) new BroadcastChannel(name).onmessage = ({ data }) => window.heard.push(data)
    }, [`vibevideo.auth:${world.url}/rest/v1`, `vibevideo.signed_out:${world.url}/rest/v1`])
    await enter(shown.page, world, operator)
    await shown.page.getByLabel('Account and help').first().click()
    await button(shown.page, 'Sign out').click()
    await until('it is heard of', () => other.evaluate(() => window.heard.length))
    assert.deepEqual(await other.evaluate(() => window.heard), [null])
  }))
})

describe('clicks', () => {
  test('two of them on Retry ask once', as(operator, async ({ page }) => {
    const { job } = await addJob(world, { prompt: 'Clicked twice', state: 'failed', error_code: 'http_500', error: 'no' })
    await go(page, `job/${job}`)
    const retry = main(page).getByRole('button', { name: /^Retry: pays/ })
    await retry.waitFor()
    await world.gateway.control('POST', 'fault', { path: 'vibevideo_admin_retry_cost', delay_ms: 300, times: -1 })
    await retry.dblclick()
    await dialog(page).first().waitFor()
    await world.gateway.control('POST', 'reset')
    await page.evaluate(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)) }))
    assert.equal(await page.locator('dialog').count(), 1)
  }))

  test('an act whose answer is lost may have been done, and that is said', as(operator, async ({ page, watch }) => {
    watch.expect(/504|vibevideo_admin_pause/)
    await go(page, 'health')
    await button(page, 'Pause …').click()
    await world.gateway.control('POST', 'fault', { path: 'vibevideo_admin_pause', status: 504 })
    await dialog(page).getByRole('button', { name: 'Pause', exact: true }).click()
    await dialog(page).getByRole('alert').getByText('It may have been done all the same').waitFor()
  }))
})

describe('an API that', () => {
  test('wants fewer calls gets them', as(operator, async ({ page, watch }) => {
    watch.expect(/429/)
    await page.getByRole('combobox', { name: 'Refresh' }).selectOption({ label: 'every 2 s' })
    await world.gateway.control('POST', 'fault', { path: 'vibevideo_admin', status: 429, times: -1, body: { message: 'API rate limit exceeded' } })
    await page.getByText('The server asks for fewer calls.').first().waitFor()
    await page.getByText(/Tried again at/).waitFor()
    // what was read before is still there
    await heading(page, 'Overview').waitFor()
  }))

  const JOB = { job_id: 1, vibelog_id: '1', status: 'failed', state: 'failed', model: 'm', attempt: 1, tries: 0, created_at: '2026-11-29T10:00:00Z' }
  const odd = 'x'.repeat(3_000_000)
  const ANSWERS = {
    null: () => null,
    'an empty list': () => [],
    'an empty object': () => ({}),
    'a list of nothing': () => [null],
    'a number': () => 7,
    'a long text': () => odd,
    'times that are none': (name) => ({
      list_jobs: { jobs: [{ ...JOB, created_at: 'infinity', waits_until: 'never' }], next: null, bound: null, as_of: '-infinity', filter: {} },
      inbox: [{ kind: 'check', since: 'infinity', subject: 's', sentence: 's', action: 'a', jobs: null, job_id: null, more: false }],
      errors: [{ error_class: 'input', error_code: 'c', model: 'm', jobs: 1e999, first_at: 'x', last_at: 'infinity', trend: [1e300, -1], example_job_id: 1,
        example: null, more: false }],
      series: [{ at: 'infinity', label: 'queued', value: 1e308 }, { at: '2026-11-29T10:00:00Z', label: 'queued', value: 'NaN' }],
      audit: { rows: [{ audit_id: 1, at: 'infinity', who: 'w', action: 'a', arguments: { __proto__: null, constructor: 1 }, outcome: null }], next: null },
    })[name] ?? {},
    'names that objects have': (name) => ({
      list_jobs: { jobs: [{ ...JOB, state: 'constructor', error_class: '__proto__', prompt: odd, error: odd }], next: null, bound: null, as_of: null, filter: {} },
      inbox: [{ kind: 'constructor', since: null, subject: odd, sentence: odd, action: odd, jobs: null, job_id: null, more: false }],
      limits: [{ scope: 'constructor', user_id: '__proto__', max_active: 'x', submits_per_day: {}, spend_per_day_usd: [] }],
      limit_use: [{ who: 'constructor:__proto__', limit_name: 'toString', most: 'x', used: {}, remaining: [], resets_at: 'never', held: odd },
        { who: `user:${odd}`, limit_name: 'spend_per_day_usd', most: 1e999, used: -1, remaining: 'NaN', resets_at: 'infinity', held: 1 }],
      health: [{ check_name: 'c', status: 'constructor', detail: null, hint: null }],
    })[name] ?? {},
  }

  for (const [what, answer] of Object.entries(ANSWERS)) {
    test(`answers ${what} leaves a page to use`, as(operator, async ({ page, watch }) => {
      watch.expect(/^console: /)
      await stopRefreshing(page)
      await page.route(/vibevideo_admin_(?!me\b)/, (route) => route.fulfill({ status: 200, contentType: 'application/json',
        body: JSON.stringify(answer(/vibevideo_admin_(\w+)/.exec(route.request().url())[1])) }))
      for (const [screen, name] of [...Object.entries(SCREENS), ['job/1', 'Job 1'], ['find?q=x', 'Search']]) {
        await go(page, screen)
        await heading(page, name).or(main(page).getByText('This cannot be shown')).first().waitFor()
        await page.getByRole('navigation', { name: 'Screens' }).getByRole('link', { name: 'Jobs' }).waitFor()
      }
      // and when the API is itself again, so is the page
      await page.unroute(/vibevideo_admin_(?!me\b)/)
      await go(page, 'jobs')
      await button(page, 'Refresh now').click()
      await page.getByRole('table', { name: 'Jobs' }).waitFor()
    }))
  }

  test('names the same page for ever is not asked for ever', as(operator, async ({ page }) => {
    let asked = 0
    await stopRefreshing(page)
    await page.route(/vibevideo_admin_list_jobs/, (route) => {
      asked += 1
      return route.fulfill({ status: 200, contentType: 'application/json',
        body: JSON.stringify({ jobs: [JOB], next: { job_id: 1 }, bound: 'max_jobs', as_of: '2026-11-29T10:00:00Z', filter: {} }) })
    })
    await go(page, 'jobs')
    await button(page, 'Show more').waitFor()
    const before_ = asked
    for (let frames = 0; frames < 50; frames++) await page.evaluate(() => new Promise((done) => { requestAnimationFrame(done) }))
    assert.ok(asked - before_ <= 1 && asked < 6, `asked ${asked} times`)
    // a person may go on
    await button(page, 'Show more').click()
    await until('it is asked once more', () => asked > before_)
  }))
})

test('a service that accepts a sign-in and never answers is not waited for for ever', visit(async ({ page, watch }) => {
  watch.expect(/request|console/)
  await page.goto(world.dashboardUrl)
  await page.route(/grant_type=password/, () => {})
  await signIn(page, operator)
  await page.getByText('The sign-in service does not answer').waitFor()
}))
