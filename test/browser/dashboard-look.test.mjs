// The page, looked at: signing in, each screen in both schemes and widths, lists,
// search, keyboard, what a refresh must not do, and texts that want to do harm.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { checkAccessible, checkNoSidewaysScroll, examine, launch, onVisit, screenshot } from './lib/browser.mjs'
import { button, dialog, enter, go, goTo, heading, main, refresh, SCREENS, settled, signIn, signInByToken, stopRefreshing } from './lib/dashboard.mjs'
import { hide } from './lib/tab.mjs'
import { MARKUP } from './lib/texts.mjs'
import { until } from './lib/wait.mjs'
import { PEOPLE, WEB, World } from './world.mjs'

let world
let seeded
let browser
const { operator, viewer, customer } = PEOPLE
const HISTORY = Number(process.env.BROWSER_HISTORY || 12000)
const SCROLLED = 10000

before(async () => {
  [world, browser] = await Promise.all([World.start(), launch()])
  seeded = await world.seed({ history: HISTORY })
})
after(async () => {
  await browser?.close()
  await world?.stop()
})

const visit = (options, run) => onVisit(() => browser, typeof options === 'function' ? {} : options, run ?? options)
/** Signed in as the operator; others by name. */
const inside = (options, run) => visit(options, async (shown, t) => {
  await enter(shown.page, world, operator)
  await (run ?? options)(shown, t)
})
const calls = (pattern) => world.gateway.control('GET', 'ledger').then((all) => all.filter(({ path }) => pattern.test(path)).length)
const forget = () => world.gateway.control('POST', 'reset')
const fromDisk = () => `${pathToFileURL(`${WEB}/dist/dashboard.html`)}#api=${world.url}/rest/v1&apikey=${world.apikey}`

describe('signing in', () => {
  test('by password: operator and viewer see who they are', visit(async ({ page, context }) => {
    for (const person of [operator, viewer]) {
      await enter(page, world, person)
      await page.getByLabel('Account and help').click()
      await page.getByText(person.email).waitFor()
      await page.getByText(person.level, { exact: false }).first().waitFor()
      await button(page, 'Sign out').click()
      await page.getByLabel('Email address').waitFor()
    }
    assert.equal(await page.evaluate(() => localStorage.length), 0, 'nothing is kept beyond the tab')
    assert.deepEqual(await context.cookies(), [])
  }))

  test('a customer has no access, and reads how to get it', visit(async (shown) => {
    const { page } = shown
    await page.goto(world.dashboardUrl)
    await signIn(page, customer)
    await heading(page, 'You have no access').waitFor()
    await page.getByText(`VALUES ('${customer.id}', 'viewer'`).waitFor()
    await examine(shown, 'no-access')
  }))

  test('a wrong password, and Auth that is away', visit(async (shown) => {
    const { page, watch } = shown
    watch.expect(/token\?grant_type=password/, /Failed to load resource/)
    await page.goto(world.dashboardUrl)
    await signIn(page, { ...operator, password: 'wrong' })
    await page.getByRole('alert').getByText('Invalid login credentials').waitFor()
    await examine(shown, 'login')
    await world.gateway.control('POST', 'fault', { path: 'grant_type=password', status: 503 })
    await button(page, 'Sign in').click()
    await until('another message', async () => !/Invalid/.test(await page.getByRole('alert').textContent()))
    await signIn(page, operator)
    await heading(page, 'Overview').waitFor()
  }))

  test('by a link in a mail', visit(async ({ page, watch }) => {
    watch.expect(/otp/, /Failed to load resource/)
    await page.goto(world.dashboardUrl)
    await button(page, 'Email link').click()
    await page.getByLabel('Email address').fill('nobody@example.com')
    await button(page, 'Send the link').click()
    await page.getByRole('alert').waitFor()
    await page.getByLabel('Email address').fill(operator.email)
    await button(page, 'Send the link').click()
    await page.getByText('the link is on its way').waitFor()
    const { link } = (await world.auth.control('GET', 'mails')).at(-1)
    await page.goto(link)
    await heading(page, 'Overview').waitFor()
    assert.doesNotMatch(page.url(), /access_token/, 'the session is not in the address any more')
    await page.goto('about:blank')
    await page.goto(link)
    await heading(page, 'Overview').waitFor({ timeout: 100 }).catch(() => {})
    assert.doesNotMatch(page.url(), /error_code/)
  }))

  test('by a token: a good one, an expired one, a forged one, and keys that are none', visit(async ({ page, watch }) => {
    watch.expect(/40[13]/)
    await page.goto(world.dashboardUrl)
    const wrong = async (token, words) => {
      await signInByToken(page, token)
      await page.getByText(words).waitFor()
    }
    await wrong('nonsense', 'That is not a JWT')
    await wrong(world.token(operator, { exp: Math.floor(Date.now() / 1000) - 3600 }), 'That token has expired.')
    await wrong(world.token(operator, { role: 'service_role' }), 'That is the service_role key.')
    await wrong(`sb_secret_${'x'.repeat(20)}`, 'That is a secret key.')
    await wrong(world.token(operator).replace(/.$/, (c) => (c === 'A' ? 'B' : 'A')).replace(/\.[^.]*$/, '.AAAA'), 'The server does not accept this sign-in.')
    await signInByToken(page, world.token(operator))
    await heading(page, 'Overview').waitFor()
    await page.reload()
    await heading(page, 'Overview').waitFor()
    const other = await page.context().newPage()
    await other.goto(world.dashboardUrl)
    await other.getByLabel('Email address').waitFor()
  }))

  test('a session is renewed while the page is open, and ends when it is ended', visit(async ({ page, watch }) => {
    watch.expect(/40[013]/)
    await world.auth.control('POST', 'settings', { jwtExp: 60 })
    try {
      await enter(page, world, operator)
      await refresh(page)
      const { 'POST /token refresh_token': renewed } = await world.auth.control('GET', 'ledger')
      assert.ok(renewed >= 1, 'a token that is about to expire is renewed')
      await world.auth.control('POST', 'end-sessions', { email: operator.email })
      // the access token would be good for a while
      await world.gateway.control('POST', 'fault', { path: 'vibevideo_admin', status: 401, times: -1, body: { code: 'PGRST303', message: 'JWT expired' } })
      await button(page, 'Refresh now').click()
      await page.getByLabel('Email address').waitFor()
      await page.reload()
      await page.getByLabel('Email address').waitFor()
    } finally {
      await forget()
      await world.auth.control('POST', 'settings', { jwtExp: 3600 })
    }
  }))

  test('a token that expires in the middle leads back to signing in', visit(async ({ page, watch }) => {
    watch.expect(/401/)
    await page.goto(world.dashboardUrl)
    await signInByToken(page, world.token(operator))
    await heading(page, 'Overview').waitFor()
    await world.gateway.control('POST', 'fault', { path: 'vibevideo_admin', status: 401, times: -1, body: { code: 'PGRST303', message: 'JWT expired' } })
    await button(page, 'Refresh now').click()
    await page.getByText('your session has expired').waitFor()
    await forget()
  }))

  test('without Auth it asks for a token', visit(async ({ page, watch }) => {
    watch.expect(/404/)
    await world.gateway.control('POST', 'fault', { path: '/auth/v1/settings', status: 404 })
    await page.goto(world.dashboardUrl)
    await page.getByLabel('JWT').waitFor()
  }))
})

describe('where it comes from', () => {
  test('from the database: with the headers that keep harm away', visit(async ({ page }) => {
    const answer = await page.goto(world.dashboardUrl)
    const headers = answer.headers()
    const csp = headers['content-security-policy']
    assert.equal(headers['content-type'], 'text/html; charset=utf-8')
    assert.equal(headers['x-content-type-options'], 'nosniff')
    assert.equal(headers['cache-control'], 'no-store')
    assert.equal(headers['referrer-policy'], 'no-referrer')
    for (const part of ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"]) {
      assert.ok(csp.includes(part), `${part} in ${csp}`)
    }
    assert.doesNotMatch(csp, /unsafe|\*/)
    assert.equal(await page.evaluate(() => document.characterSet), 'UTF-8')
  }))

  test('what somebody would inject does not run', inside(async ({ page, watch }) => {
    watch.expect(/^(CSP|console|request): /)
    const outcome = await page.evaluate(async () => {
      const found = []
      const script = document.createElement('script')
      try { script.textContent = 'window.ran = 1'; document.body.append(script) } catch { found.push('script text refused') }
      try { document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.ran = 1">') } catch { found.push('markup refused') }
      // what the debugger itself runs may use eval, what it starts may not
      await new Promise((resolve) => { setTimeout(() => {
        try { window.ran = (0, eval)('1') } catch { found.push('eval refused') }
        resolve()
      }) })
      await fetch('http://127.0.0.1:9/').catch(() => found.push('elsewhere refused'))
      new Image().src = 'http://127.0.0.1:9/x.png'
      return { ran: window.ran ?? null, found }
    })
    assert.equal(outcome.ran, null)
    assert.deepEqual(outcome.found.slice(-3), ['markup refused', 'eval refused', 'elsewhere refused'])
    // and would have ended any other test
    for (const directive of ['require-trusted-types-for', 'connect-src', 'img-src']) {
      await until(`${directive} is reported`, () => watch.noted.some((problem) => problem.startsWith(`CSP: ${directive}`)))
    }
  }))

  test('from a file, with the API in the fragment', visit(async ({ page }) => {
    await enter(page, world, operator, fromDisk())
    await page.getByText('In work', { exact: true }).first().waitFor()
    await go(page, `job/${seeded.films[0]}`)
    await page.locator('video').waitFor()
    await page.reload()
    await heading(page, `Job ${seeded.films[0]}`).waitFor()
  }))

  test('from a file without one it says what is missing', visit(async (shown) => {
    const { page } = shown
    await page.goto(fromDisk().replace(/#.*/, ''))
    await main(page).waitFor()
    assert.match(await main(page).textContent(), /#api=/)
    await checkAccessible(shown, 'no API')
  }))
})

describe('each screen', () => {
  /** What there is beside, of which the seed knows the numbers. */
  const MORE = {
    'job-film': () => `job/${seeded.films[0]}`, 'job-markup': () => `job/${seeded.films[4]}`, 'job-lost': () => `job/${seeded.lostAtFal}`,
    'job-copying': () => `job/${seeded.standing[3]}`, 'job-attempts': () => `job/${seeded.attempts.job}`, 'job-control': () => `job/${seeded.quarantined.job}`,
    'find-nothing': () => 'find?q=nothing-at-all',
  }

  for (const screen of Object.keys(SCREENS)) {
    test(`${screen}: clean by WCAG 2.2 AA in both schemes, fits 360 px`, inside(async (shown) => {
      await goTo(shown.page, screen)
      await examine(shown, `dashboard-${screen}`, { settle: settled })
    }))
  }
  for (const [name, path] of Object.entries(MORE)) {
    test(`${name}: the same`, inside(async (shown) => {
      await go(shown.page, path())
      await examine(shown, `dashboard-${name}`, { settle: settled })
    }))
  }

  test('a filtered list, and what a search has found, to look at', inside(async ({ page }) => {
    for (const [name, path] of [['jobs-failed', 'jobs?state=failed&class=provider'], ['find-user', 'find?q=user-25']]) {
      await go(page, path)
      await screenshot(page, `dashboard-${name}-light-wide`)
    }
  }))

  test('the film of a job plays', inside(async ({ page }) => {
    await go(page, `job/${seeded.films[0]}`)
    const size = await page.locator('video').evaluate(async (video) => {
      video.muted = true
      await video.play()
      video.pause()
      return [video.videoWidth, video.videoHeight]
    })
    assert.deepEqual(size, [640, 360])
  }))

  test('a viewer sees no prompts, and cannot look for them', visit(async ({ page }) => {
    await enter(page, world, viewer)
    await go(page, `job/${seeded.films[0]}`)
    await page.getByText('Only those who may see inputs can read it.').waitFor()
    assert.doesNotMatch(await main(page).textContent(), /heron/)
    await go(page, 'find?q=heron')
    await page.getByText('Nothing found for').waitFor()
  }))

  test('at 200 % nothing is lost or beside the window', inside({ viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 }, async ({ page }) => {
    for (const screen of Object.keys(SCREENS)) {
      await goTo(page, screen)
      await checkNoSidewaysScroll(page, `${screen} at 200 %`)
    }
  }))

  test('nothing moves for who wants that', inside({ reducedMotion: 'reduce' }, async ({ page }) => {
    for (const path of ['overview', 'jobs', 'charts', `job/${seeded.standing[3]}`]) {
      await go(page, path)
      const moving = await page.evaluate(() => document.getAnimations().filter((a) => a.playState === 'running' && a.effect.getComputedTiming().duration > 10).length)
      assert.equal(moving, 0, path)
    }
  }))

  test('times are local, with UTC for who points at them', inside(async ({ page }) => {
    await go(page, `job/${seeded.films[0]}`)
    const { text, title, at } = await page.locator('time').first().evaluate((e) => ({ text: e.textContent, title: e.title, at: e.dateTime }))
    assert.equal(title, `${at.slice(0, 19).replace('T', ' ')} UTC`)
    const vienna = new Date(at).toLocaleTimeString('en-GB', { timeZone: 'Europe/Vienna' })
    assert.ok(text.includes(vienna), `${text} has ${vienna}`)
  }))

  test('those in sentences of the database are local, too', inside(async ({ page }) => {
    const { job } = seeded.backoff
    const vienna = await world.db.value(`SELECT to_char(next_at AT TIME ZONE 'Europe/Vienna', 'HH24:MI:SS') FROM vibevideo.job WHERE job_id = ${job}`)
    await go(page, `job/${job}`)
    const sentence = await page.locator('.lead').textContent()
    assert.ok(sentence.includes(vienna), `${sentence} has ${vienna}`)
  }))

  test('an error code shows its underscores, in two lines at most', inside(async ({ page }) => {
    await goTo(page, 'errors')
    const links = await page.locator('td.first a').evaluateAll((all) => all.map((a) => ({ line: getComputedStyle(a).textDecorationLine,
      text: a.textContent, lines: Math.round(a.firstElementChild.clientHeight / parseFloat(getComputedStyle(a).lineHeight)) })))
    assert.ok(links.some(({ text }) => text === MARKUP) && links.some(({ text }) => text === 'upload_failed'), 'they are whole')
    for (const { text, line, lines } of links) {
      assert.equal(line, 'none', text)
      assert.ok(lines <= 2, `${lines} lines: ${text}`)
    }
  }))

  test('a job that is copied has nothing in the colour of a finished one; without events it says so', inside(async ({ page }) => {
    await go(page, `job/${seeded.copyAgain.job}`)
    assert.deepEqual(await page.locator('.stretch rect').evaluateAll((all) => all.map((e) => e.getAttribute('class'))),
      ['part-accepted', 'part-rendered', 'part-copying'])
    await go(page, `job/${seeded.backoff.job}`)
    await page.getByText('No events are recorded for this job.').waitFor()
  }))

  test('the scheme follows the system until somebody chooses', inside(async ({ page }) => {
    const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)
    const light = await background()
    await page.emulateMedia({ colorScheme: 'dark' })
    const dark = await background()
    assert.notEqual(light, dark)
    await button(page, /^Theme/).click()
    assert.equal(await background(), light, 'light, whatever the system says')
    await button(page, /^Theme/).click()
    await page.emulateMedia({ colorScheme: 'light' })
    assert.equal(await background(), dark)
  }))
})

describe('texts that want to do harm', () => {
  test('are shown as they are, wherever they stand', inside(async ({ page }) => {
    const seen = {}
    for (const path of [...Object.keys(SCREENS), `job/${seeded.films[4]}`, `job/${seeded.lost.job}`, `job/${seeded.unwritten.job}`, `job/${seeded.backoff.job}`,
      `jobs?user=${encodeURIComponent(MARKUP)}`, `find?q=${encodeURIComponent(MARKUP)}`]) {
      await go(page, path)
      for (const details of await main(page).locator('details').all()) await details.evaluate((e) => { e.open = true })
      await settled(page)
      seen[path] = await page.evaluate((text) => ({
        shown: document.querySelector('main').textContent.split(text.slice(0, 10)).length - 1,
        foreign: document.querySelectorAll('main script, main img[src="x"], main [onerror]').length }), MARKUP)
    }
    for (const [path, { foreign }] of Object.entries(seen)) assert.equal(foreign, 0, path)
    for (const path of ['overview', 'jobs', 'lost', 'errors', 'users', 'limits', 'audit', `job/${seeded.films[4]}`, `job/${seeded.unwritten.job}`]) {
      assert.ok(seen[path].shown > 0, `${path} has it`)
    }
  }))

  test('an address with such a text in it is one of no job', inside(async ({ page, watch }) => {
    // there is no such state
    watch.expect(/400/)
    await go(page, `find?q=${encodeURIComponent('<img src=x onerror="window.owned=1">')}`)
    await go(page, 'jobs?state=%3Cscript%3E&user=javascript:window.owned=1')
    await go(page, 'job/<img src=x onerror="window.owned=1">')
    await go(page, '__proto__?constructor=1')
    await heading(page, 'Overview').waitFor()
  }))
})

describe('lists', () => {
  const chip = (page) => page.getByRole('list', { name: 'Filters' }).getByRole('listitem')
  const rows = (page) => page.getByRole('table', { name: 'Jobs' }).getByRole('row')

  test('filters are chips, in the address, and Back goes back', inside(async ({ page }) => {
    await goTo(page, 'jobs')
    await page.getByRole('link', { name: 'Failed', exact: true }).click()
    await until('one chip', async () => await chip(page).count() === 1)
    await button(page, 'Filter …').click()
    await dialog(page).getByLabel('Content policy').check()
    await button(page, 'Show').click()
    await until('two chips', async () => await chip(page).count() === 2)
    assert.match(page.url(), /state=failed/)
    assert.match(page.url(), /class=policy/)
    await settled(page)
    for (const row of (await rows(page).allTextContents()).slice(1)) assert.match(row, /Failed/)
    await page.goBack()
    await until('one chip again', async () => await chip(page).count() === 1)
    await page.goForward()
    await until('two chips again', async () => await chip(page).count() === 2)
    const address = page.url()
    await page.reload()
    await until('the same after a reload', async () => page.url() === address && await chip(page).count() === 2)
    await chip(page).first().getByRole('button').click()
    await until('one is taken away', async () => await chip(page).count() === 1)
  }))

  test('one box finds any id', inside(async ({ page }) => {
    const film = (await world.db.rows(`SELECT job_id, vibelog_id, request_id FROM vibevideo.job WHERE job_id = ${seeded.films[1]}`))[0]
    const find = async (words) => {
      await page.getByLabel('Search jobs by any id').fill(words)
      await page.keyboard.press('Enter')
      await settled(page)
    }
    for (const words of [String(film.job_id), film.vibelog_id, film.request_id]) {
      await find(words)
      await heading(page, `Job ${film.job_id}`).waitFor()
      await goTo(page, 'overview')
    }
    // words are looked for among the newest jobs, for so long, and that one is old
    if (HISTORY <= 100000) {
      await find('plum dumplings')
      await page.getByRole('link', { name: String(film.job_id), exact: true }).or(heading(page, `Job ${film.job_id}`)).first().waitFor()
    }
    await find('user-25')
    await page.getByRole('table', { name: 'Found' }).waitFor()
    await find('runner_disconnected')
    await until('jobs with that error', async () => /runner_disconnected|Runner disconnected/.test(await page.getByRole('table',
      { name: 'Found' }).textContent()))
    await find('nothing-like-this')
    await page.getByText('Nothing found for').waitFor()
  }))

  test('ten thousand rows are scrolled through, and few of them are in the page', inside(async ({ page }) => {
    await stopRefreshing(page)
    await go(page, 'jobs?state=completed')
    const count = () => page.evaluate(() => document.querySelectorAll('tbody[data-page]').length)
    const pages = Math.floor(Math.min(SCROLLED, HISTORY * 0.9) / 100)
    await until(`${pages} pages`, async () => {
      await page.keyboard.press('End')
      // it looks for so long at a time, and the machine may be slow
      const more = button(page, 'Continue searching')
      if (await more.count() > 0) await more.click().catch(() => {})
      return await count() >= pages
    }, 90000)
    const inPage = await page.locator('tr[data-job]').count()
    assert.ok(inPage < 1000, `${inPage} rows are in the page`)
    const ids = []
    for (const share of [1, 0.5, 0]) {
      await page.evaluate((where) => scrollTo(0, document.documentElement.scrollHeight * where), share)
      ids.push(await until('rows are there', () => page.evaluate(() => [...document.querySelectorAll('tr[data-job]')]
        .find((row) => { const { top } = row.getBoundingClientRect(); return top > 100 && top < innerHeight })?.dataset.job)))
    }
    assert.equal(new Set(ids).size, 3, 'each part of the list is another one')
  }))

  test('a filtered list is saved as a file for a spreadsheet', inside(async ({ page }) => {
    await go(page, 'jobs?state=failed')
    const [file] = await Promise.all([page.waitForEvent('download'), button(page, 'Save as CSV').click()])
    assert.match(file.suggestedFilename(), /^jobs-.*\.csv$/)
    const lines = (await readFile(await file.path(), 'utf8')).split('\r\n')
    const failed = Number(await world.db.value("SELECT count(*) FROM vibevideo.job WHERE state = 'failed'"))
    assert.match(lines[0], /^job_id,vibelog_id,/)
    assert.equal(lines.filter((line) => /^\d+,[^,]*,failed,failed,/.test(line)).length, Math.min(failed, 10000), 'all of them, not only what is shown')
  }))

  test('an empty list says so', inside(async ({ page }) => {
    await go(page, 'jobs?user=nobody-at-all')
    await page.getByText('No job matches these filters.').waitFor()
  }))
})

describe('charts', () => {
  const CHART = '.plot .u-over'
  const axis = (page) => page.evaluate(() => location.hash)

  test('what is looked at closer is in the address, and of all charts', inside(async ({ page }) => {
    await goTo(page, 'charts')
    await page.locator(CHART).first().scrollIntoViewIfNeeded()
    const box = await page.locator(CHART).first().boundingBox()
    const y = box.y + box.height / 2
    await page.mouse.move(box.x + box.width * 0.5, y)
    await page.mouse.down()
    await page.mouse.move(box.x + box.width * 0.7, y, { steps: 4 })
    await page.mouse.up()
    await until('it is in the address', async () => /from=\d+&to=\d+/.test(await axis(page)))
    const address = await axis(page)
    const view = /from=(\d+)&to=(\d+)/.exec(address).slice(1).map(Number)
    assert.ok(Math.abs(view[1] - view[0] - 0.2 * 86400) < 0.05 * 86400, `${view[1] - view[0]} s`)
    const views = () => page.evaluate(() => [...document.querySelectorAll('vv-chart')].map(({ view: v }) => v && [v.from, v.to]))
    assert.deepEqual(await views(), [view, view, view, view])
    await refresh(page)
    assert.equal(await axis(page), address, 'a refresh does not move it')
    await page.reload()
    await button(page, 'Show all again').waitFor()
    assert.deepEqual(await views(), [view, view, view, view])
    await page.getByRole('combobox', { name: /^Time/ }).selectOption({ label: 'rendering' })
    await until('the other choice keeps it', async () => /phase=render/.test(await axis(page)) && (await axis(page)).includes(`from=${view[0]}`))
    await settled(page)
    await button(page, 'Show all again').click()
    await until('all again', async () => !/from=/.test(await axis(page)))
    assert.deepEqual(await views(), [null, null, null, null])
  }))
})

describe('a window that is neither wide nor narrow', () => {
  test('no heading of a list runs into the next, and the model can be read', inside({ viewport: { width: 1000, height: 800 } }, async ({ page }) => {
    for (const screen of ['overview', 'jobs']) {
      await goTo(page, screen)
      await page.locator('td[data-label="Model, user"]').first().waitFor()
      const { over, model } = await page.evaluate(() => ({
        over: [...document.querySelectorAll('main th')].filter((th) => th.scrollWidth > th.clientWidth).map((th) => th.textContent.trim()),
        model: document.querySelector('td[data-label="Model, user"] .clip').clientWidth,
      }))
      assert.deepEqual(over, [], screen)
      assert.ok(model >= 60, `${screen}: ${model} px for the model`)
    }
  }))
})

describe('keyboard', () => {
  test('/ g j k Enter r t ?', inside(async ({ page }) => {
    await page.keyboard.press('/')
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Search jobs by any id')
    await page.keyboard.type('g j')
    assert.equal(await page.getByLabel('Search jobs by any id').inputValue(), 'g j', 'what is typed is text')
    await page.keyboard.press('Escape')
    await page.getByLabel('Search jobs by any id').blur()
    await page.keyboard.press('g')
    await page.keyboard.press('j')
    await heading(page, 'Jobs').waitFor()
    await settled(page)
    const focused = () => page.evaluate(() => document.activeElement.textContent)
    await page.keyboard.press('j')
    const first = await focused()
    await page.keyboard.press('j')
    assert.notEqual(await focused(), first)
    await page.keyboard.press('k')
    assert.equal(await focused(), first)
    await page.keyboard.press('Enter')
    await heading(page, `Job ${first}`).waitFor()
    await forget()
    await page.keyboard.press('r')
    await until('it is read again', async () => await calls(/vibevideo_admin_job$/) > 0)
    await page.keyboard.press('t')
    await button(page, 'Theme: light').waitFor()
    await page.keyboard.press('?')
    await dialog(page).getByRole('heading', { name: 'Keyboard' }).waitFor()
    await page.keyboard.press('Escape')
    await dialog(page).waitFor({ state: 'detached' })
  }))

  test('the account menu closes by Escape, and when somebody goes on elsewhere', inside(async ({ page }) => {
    const menu = page.locator('details.person')
    const summary = page.getByLabel('Account and help')
    const isOpen = () => menu.evaluate((it) => it.open)
    await summary.press('Enter')
    await button(page, 'Sign out').focus()
    await page.keyboard.press('Escape')
    assert.equal(await isOpen(), false)
    assert.equal(await page.evaluate(() => document.activeElement.localName), 'summary', 'the focus is back where it came from')
    await summary.press('Enter')
    await page.keyboard.press('g')
    await page.keyboard.press('u')
    await heading(page, 'Users').waitFor()
    await until('the menu is closed', async () => !await isOpen())
    await summary.click()
    await heading(page, 'Users').click()
    assert.equal(await isOpen(), false)
    await summary.click()
    await button(page, 'Keyboard …').click()
    await dialog(page).waitFor()
    await page.keyboard.press('Escape')
    await dialog(page).waitFor({ state: 'detached' })
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Keyboard …', 'a dialog gives the focus back to it')
  }))

  test('the first Tab leads to the content', inside(async ({ page }) => {
    await page.evaluate(() => document.activeElement.blur())
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main')
  }))

  test('everything that can be clicked can be reached, and shows that it is', inside(async ({ page }) => {
    await goTo(page, 'limits')
    const seen = new Set()
    await page.evaluate(() => document.activeElement.blur())
    for (let n = 0; n < 60; n += 1) {
      await page.keyboard.press('Tab')
      const here = await page.evaluate(() => {
        const e = document.activeElement
        const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(e)
        return { name: e.getAttribute('aria-label') ?? e.textContent.trim(),
          visible: (outlineStyle !== 'none' && outlineWidth !== '0px') || boxShadow !== 'none', tag: e.localName }
      })
      if (here.tag === 'body') break
      assert.ok(here.visible, `the focus on ${here.tag} "${here.name.slice(0, 60)}" can be seen`)
      seen.add(here.name)
    }
    for (const name of ['Add a limit …', 'Add a price …', 'Change limit of all users together']) assert.ok(seen.has(name), name)
  }))
})

describe('refreshing', () => {
  test('closes nothing that is open, and moves no focus, no selection and no view', inside(async ({ page }) => {
    await goTo(page, 'overview')
    await page.locator('details summary', { hasText: 'As SQL' }).first().click()
    await refresh(page)
    assert.equal(await page.locator('details[open] summary', { hasText: 'As SQL' }).count(), 1)
    await goTo(page, 'jobs')
    await page.getByLabel(`Select job ${seeded.pending[3]}`).check()
    await page.evaluate(() => scrollTo(0, 300))
    await page.locator(`[data-key="job-${seeded.pending[4]}"]`).focus()
    const before = await page.evaluate(() => ({ y: scrollY, key: document.activeElement.dataset.key }))
    await world.db.run(`UPDATE vibevideo.job SET priority = priority WHERE job_id = ${seeded.pending[0]}`)
    await page.keyboard.press('r')
    await until('it has been read again', async () => await calls(/vibevideo_admin_list_jobs$/) > 1)
    await settled(page)
    assert.deepEqual(await page.evaluate(() => ({ y: scrollY, key: document.activeElement.dataset.key })), before)
    assert.ok(await page.getByLabel(`Select job ${seeded.pending[3]}`).isChecked())
    await button(page, 'Filter …').click()
    await dialog(page).getByLabel('Error code').fill('half a wo')
    const read = await calls(/vibevideo_admin_list_jobs$/)
    await until('it is read again by itself', async () => await calls(/vibevideo_admin_list_jobs$/) > read)
    assert.equal(await dialog(page).getByLabel('Error code').inputValue(), 'half a wo')
  }))

  test('a hidden tab asks nothing; seen again, it does at once', inside(async ({ page }) => {
    await page.getByRole('combobox', { name: 'Refresh' }).selectOption({ label: 'every 2 s' })
    await forget()
    await until('it refreshes', async () => await calls(/overview/) > 0)
    await hide(page, true)
    await until('nothing is on its way', () => page.evaluate(() => performance.getEntriesByType('resource').every((r) => r.responseEnd > 0)))
    const hidden = await calls(/vibevideo_admin/)
    const at = await world.db.value('SELECT clock_timestamp()')
    await world.db.until(`SELECT clock_timestamp() > '${at}'::timestamptz + interval '4.5 s'`)
    assert.ok(await calls(/vibevideo_admin/) - hidden <= 2, 'at most those that were on their way')
    await forget()
    await hide(page, false)
    await until('it asks again', async () => await calls(/overview/) > 0)
  }))

  test('off is off', inside(async ({ page }) => {
    await stopRefreshing(page)
    await settled(page)
    await forget()
    const at = await world.db.value('SELECT clock_timestamp()')
    await world.db.until(`SELECT clock_timestamp() > '${at}'::timestamptz + interval '3 s'`)
    assert.equal(await calls(/vibevideo_admin/), 0)
  }))

  test('a call that hits its time bound, or a server that is away, is said, and what was read stays', inside(async ({ page, watch }) => {
    watch.expect(/50[0-9]|Failed to load resource/)
    await goTo(page, 'jobs')
    const shown = await page.locator('tr[data-job]').count()
    await world.gateway.control('POST', 'fault', { path: 'list_jobs', status: 500, times: -1, body: { code: '57014',
      message: 'canceling statement due to statement timeout' } })
    await button(page, 'Refresh now').click()
    await page.getByText('A call was stopped at its time limit').first().waitFor()
    assert.equal(await page.locator('tr[data-job]').count(), shown)
    await forget()
    await world.gateway.control('POST', 'fault', { path: 'vibevideo_admin', status: 503, times: -1 })
    await button(page, 'Refresh now').click()
    await page.getByText('The server cannot be reached.').first().waitFor()
    await forget()
    await button(page, 'Refresh now').click()
    await until('all is well again', async () => await page.getByText('The server cannot be reached.').count() === 0)
  }))

  test('a job that moves is followed', inside(async ({ page }) => {
    await go(page, `job/${seeded.standing[3]}`)
    const done = () => page.getByRole('progressbar').first().evaluate((bar) => bar.value)
    const first = await done()
    await page.getByRole('combobox', { name: 'Refresh' }).selectOption({ label: 'every 2 s' })
    await until('it has moved', async () => await done() > first)
  }))
})

describe('an empty project', () => {
  test('never a bare 0', visit(async (shown) => {
    const { page } = shown
    const empty = await World.start()
    try {
      await enter(page, empty, operator)
      await page.getByText('Nothing needs you.').waitFor()
      await page.getByText('Idle', { exact: true }).waitFor()
      for (const screen of Object.keys(SCREENS)) {
        await goTo(page, screen)
        if (screen === 'charts') await page.getByText('Nothing has happened in the last 24 hours').waitFor()
        await screenshot(page, `empty-${screen}-light-wide`)
        if (['overview', 'jobs', 'charts'].includes(screen)) await checkAccessible(shown, `empty ${screen}`)
      }
    } finally {
      await page.goto('about:blank')
      await empty.stop()
    }
  }))
})
