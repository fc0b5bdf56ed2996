// The component in a real browser, in an app that signs in with supabase-js: what its
// user sees from the button to the player, whatever happens in between.

import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import { makeFilm } from './lib/film.mjs'
import { checkAccessible, checkNoSidewaysScroll, examine, launch, NARROW, onVisit, screenshot, WIDE } from './lib/browser.mjs'
import { literal } from './lib/sql.mjs'
import { hide } from './lib/tab.mjs'
import { MARKUP, RTL, LONG_WORD } from './lib/texts.mjs'
import { until } from './lib/wait.mjs'
import { PEOPLE, World } from './world.mjs'

let world
let browser
const { customer, other } = PEOPLE
const FILM_SECONDS = 3

before(async () => {
  const film = makeFilm(`${process.env.WORK}/film.mp4`, FILM_SECONDS);
  [world, browser] = await Promise.all([World.start({ fal: { queue_ms: 30, run_ms: 50, media: { file: film } } }), launch()])
})
after(async () => {
  await browser?.close()
  await world?.stop()
})
afterEach(async () => {
  await world.fal.control('POST', 'clear', { what: 'faults' })
  await world.fal.control('POST', 'clear', { what: 'rules' })
  await world.storage.control('POST', 'reset', { only: 'faults' })
  await world.gateway.control('POST', 'reset')
})

const visit = (options, run) => onVisit(() => browser, typeof options === 'function' ? {} : options, run ?? options)
const rule = (prompt, behaviour) => world.fal.control('POST', 'rule', { prompt, behaviour })
const newRow = (content, owner = customer.id) => world.db.value(`INSERT INTO public.vibelogs (owner, content) VALUES (${literal(owner)}, ${literal(content)}) RETURNING id`)
const jobOf = async (row) => (await world.db.rows(`SELECT * FROM vibevideo.job WHERE vibelog_id = ${literal(row)} ORDER BY job_id DESC LIMIT 1`))[0]

/** fal.ai goes on with a job that is held there, and is asked about it at once. */
async function release(row) {
  const { job_id: id, request_id: request } = await jobOf(row)
  await world.fal.control('POST', `job/${request}`, { action: 'start' })
  await until(`fal.ai has finished ${request}`, async () => (await world.fal.control('GET', `job/${request}?sha=0`)).finished_at)
  await world.db.run(`UPDATE vibevideo.job SET next_at = now() WHERE job_id = ${id} AND next_at > now() AND leased_by IS NULL; SELECT vibevideo.wake()`)
}
const accepted = async () => (await world.fal.control('GET', 'ledger?jobs=0')).accepted
const seen = (pattern) => world.gateway.control('GET', 'ledger').then((all) => all.filter(({ path }) => pattern.test(path)).length)
const looks = () => seen(/vibevideo_status/)

/** Opens the app on one row, signed in. */
async function openRow(page, row, person = customer) {
  await page.goto(world.appUrl({ row, as: person.email, password: person.password }))
  await page.getByRole('heading', { name: 'One row' }).waitFor()
}

const element = (page) => page.locator('vibe-video')
const stage = (page) => page.getByRole('group', { name: 'Video' })
const inState = (page, state) => page.locator(`vibe-video[state="${state}"]`).waitFor()
const button = (page, name) => page.getByRole('button', { name, exact: true })
const events = (page, name) => page.evaluate((wanted) => window.events.filter(([n]) => n === wanted), name)

/** Plays the film for a while, and says what of it is to be seen. */
async function play(page) {
  const player = page.locator('vibe-video video')
  await player.waitFor()
  return player.evaluate(async (video) => {
    video.muted = true
    await video.play()
    await new Promise((resolve) => { video.ontimeupdate = () => video.currentTime > 0.3 && resolve() })
    video.pause()
    return { width: video.videoWidth, height: video.videoHeight, seconds: Math.round(video.duration), src: video.currentSrc }
  })
}

describe('from the button to the player', () => {
  test('a film is asked for, made, copied and played', visit(async ({ page }) => {
    const row = await newRow('Swam in the lake before sunrise')
    // this one is rendered by ffmpeg
    await rule('^Swam', { hold: 'queue', queue_position: 3, media: { file: null } })
    await openRow(page, row)
    await inState(page, 'idle')
    await page.getByText('Costs $0.50').waitFor()
    await button(page, 'Make a video').click()
    await inState(page, 'waiting')
    await world.fal.control('POST', 'fault', { on: 'media', prompt: '^Swam', fault: { kind: 'slow', bytes_per_s: 60000 } })
    await release(row)
    await inState(page, 'copying')
    await until('the bar moves', () => page.getByRole('progressbar', { name: 'Copying' }).getAttribute('aria-valuenow').then((now) => Number(now) > 0,
      () => false))
    await inState(page, 'ready')
    const film = await play(page)
    assert.deepEqual([film.width, film.height, film.seconds], [640, 360, FILM_SECONDS])
    assert.ok(film.src.startsWith(`${world.url}/storage/v1/object/public/videos/`), film.src)
    const states = (await events(page, 'vibe-status')).map(([, state]) => state)
    // it is not looked at all the time, so that one may be passed over
    assert.deepEqual(states.filter((state, n) => state !== states[n - 1] && state !== 'generating'), ['idle', 'waiting', 'copying', 'ready'])
    assert.equal((await events(page, 'vibe-ready')).length, 1)
  }))

  test('a second click asks for nothing more', visit(async ({ page }) => {
    const row = await newRow('A double click')
    await rule('^A double', { hold: 'queue' })
    await world.gateway.control('POST', 'fault', { path: 'POST .*vibevideo_submit', delay_ms: 400 })
    const before = await accepted()
    await openRow(page, row)
    await button(page, 'Make a video').dblclick()
    await inState(page, 'waiting')
    assert.equal(await accepted(), before + 1)
  }))

  test('a key that is held asks once, however often the provider refuses', visit(async ({ page, watch }) => {
    watch.expect(/429|502|vibevideo_submit/)
    const row = await newRow('A key that is held')
    await world.gateway.control('POST', 'fault', { path: 'POST .*vibevideo_submit', status: 429, times: -1, body: { code: 'PT429', message: 'too many' } })
    await openRow(page, row)
    await inState(page, 'idle')
    await button(page, 'Make a video').focus()
    // playwright marks the second and later ones as repeated
    for (let n = 0; n < 5; n++) {
      await page.keyboard.down('Enter')
      await page.waitForFunction(() => window.client && !document.querySelector('vibe-video').snapshot.busy)
    }
    await page.keyboard.up('Enter')
    assert.equal(await seen(/vibevideo_submit/), 1)
  }))

  test('a question about one row is not answered about another', visit(async ({ page }) => {
    const rows = [await newRow('Asked about'), await newRow('Shown instead')]
    await rule('^Asked about|^Shown instead', { hold: 'queue' })
    await openRow(page, rows[0])
    await button(page, 'Make a video').click()
    await inState(page, 'waiting')
    // the other one is on the page as well, so that all is known of it
    await page.evaluate((id) => {
      const second = document.createElement('vibe-video')
      second.vibelogId = id
      document.body.append(second)
      return new Promise((done) => { second.addEventListener('vibe-status', done, { once: true }) }).then(() => second.submit())
    }, rows[1])
    await page.locator('vibe-video[state="waiting"]').nth(1).waitFor()
    const first = element(page).first()
    await first.getByRole('button', { name: 'Cancel', exact: true }).click()
    await first.getByText('Cancel this video?').waitFor()
    await page.evaluate((id) => { document.querySelector('vibe-video').vibelogId = id }, rows[1])
    await until('the question is gone', async () => (await first.getByText('Cancel this video?').count()) === 0)
    await first.getByRole('button', { name: 'Cancel', exact: true }).waitFor()
  }))

  test('another row that is ready, too, is told of', visit(async ({ page }) => {
    const rows = [await newRow('Ready first'), await newRow('Ready second')]
    for (const row of rows) {
      await openRow(page, row)
      await button(page, 'Make a video').click()
      await inState(page, 'ready')
    }
    const known = (await events(page, 'vibe-ready')).length
    await page.evaluate((id) => {
      const second = document.createElement('vibe-video')
      second.vibelogId = id
      document.body.append(second)
      return new Promise((done) => { second.addEventListener('vibe-ready', done, { once: true }) })
    }, rows[0])
    await page.evaluate((id) => { document.querySelector('vibe-video').vibelogId = id }, rows[0])
    await until('it is told of', async () => (await events(page, 'vibe-ready')).length === known + 1)
  }))

  test('a reload in the middle: the row is the memory', visit(async ({ page }) => {
    const row = await newRow('A reload in the middle')
    await rule('^A reload', { hold: 'run' })
    await openRow(page, row)
    await button(page, 'Make a video').click()
    await inState(page, 'generating')
    await page.reload()
    await inState(page, 'generating')
    await release(row)
    await page.reload()
    await inState(page, 'ready')
    assert.equal((await play(page)).seconds, FILM_SECONDS)
    assert.equal(await world.db.value(`SELECT count(*) FROM vibevideo.job WHERE vibelog_id = ${literal(row)}`), '1')
  }))

  test('two tabs show the same', visit(async (seenBy) => {
    const row = await newRow('Two tabs')
    await rule('^Two tabs', { hold: 'queue' })
    const tabs = [seenBy.page, await seenBy.open()]
    for (const tab of tabs) await openRow(tab, row)
    await inState(tabs[1], 'idle')
    await button(tabs[0], 'Make a video').click()
    await Promise.all(tabs.map((tab) => inState(tab, 'waiting')))
    await release(row)
    await Promise.all(tabs.map((tab) => inState(tab, 'ready')))
  }))

  test('another device finds it as it is', visit(async ({ page }) => {
    const row = await newRow('Another device')
    await rule('^Another device', { hold: 'run' })
    await world.db.run(`SELECT public.vibevideo_submit(${literal(row)})`)
    await openRow(page, row)
    await inState(page, 'generating')
    await release(row)
    await inState(page, 'ready')
  }))
})

describe('when the network is away', () => {
  test('offline, it says so; online again, it has caught up', visit(async ({ page, context, watch }) => {
    watch.expect(/ERR_INTERNET_DISCONNECTED/)
    const row = await newRow('Offline for a while')
    await rule('^Offline', { hold: 'queue' })
    await openRow(page, row)
    await button(page, 'Make a video').click()
    await inState(page, 'waiting')
    await context.setOffline(true)
    await page.getByText('No connection at the moment.').waitFor()
    await release(row)
    await world.db.until(`SELECT video_generation_status = 'completed' FROM vibelogs WHERE id = ${literal(row)}`)
    await inState(page, 'waiting')
    await context.setOffline(false)
    await inState(page, 'ready')
    assert.equal(await page.getByText('No connection at the moment.').count(), 0)
  }))

  test('a request that is lost says so, and is no second one when it is made again', visit(async ({ page, watch }) => {
    watch.expect(/vibevideo_submit.*ERR_EMPTY_RESPONSE|ERR_EMPTY_RESPONSE.*vibevideo_submit/, /Failed to load resource: net::ERR_EMPTY_RESPONSE/)
    const row = await newRow('Lost on the way')
    await rule('^Lost on the way', { hold: 'queue' })
    await openRow(page, row)
    const before = await accepted()
    // Chromium sends one by itself again that was lost with a connection it had used before
    await world.gateway.control('POST', 'fault', { path: 'POST .*vibevideo_submit', drop: true, times: -1 })
    await button(page, 'Make a video').click()
    await page.getByRole('alert').getByText('There was no answer.').waitFor()
    await world.gateway.control('POST', 'reset')
    await button(page, 'Make a video').click()
    await inState(page, 'waiting')
    assert.equal(await accepted(), before + 1)
  }))

  test('a hidden tab asks nothing, and has caught up when it is seen again', visit(async ({ page }) => {
    const row = await newRow('A hidden tab')
    await rule('^A hidden tab', { hold: 'queue' })
    await openRow(page, row)
    await button(page, 'Make a video').click()
    await inState(page, 'waiting')
    const start = await looks()
    await until('it is looked at', async () => await looks() >= start + 2)
    await hide(page, true)
    const hidden = await looks()
    await release(row)
    await world.db.until(`SELECT video_generation_status = 'completed' FROM vibelogs WHERE id = ${literal(row)}`)
    // it was looked at every second: several were due by now
    await world.db.until(`SELECT clock_timestamp() > completed_at + interval '2.5 s' FROM vibevideo.job WHERE vibelog_id = ${literal(row)}`)
    assert.ok(await looks() - hidden <= 1, 'at most the one that was on its way')
    await hide(page, false)
    await inState(page, 'ready')
  }))

  test('a finished video is not asked about again', visit(async ({ page }) => {
    const row = await newRow('Finished')
    await world.db.run(`SELECT public.vibevideo_submit(${literal(row)})`)
    await world.db.until(`SELECT video_generation_status = 'completed' FROM vibelogs WHERE id = ${literal(row)}`)
    await openRow(page, row)
    await inState(page, 'ready')
    const before = await looks()
    const at = await world.db.value('SELECT clock_timestamp()')
    await world.db.until(`SELECT clock_timestamp() > '${at}'::timestamptz + interval '2.5 s'`)
    assert.equal(await looks(), before)
  }))
})

describe('cancelling', () => {
  test('asks first; Escape and "no" leave it as it is', visit(async ({ page }) => {
    const row = await newRow('Cancel it, or not')
    await rule('^Cancel it', { hold: 'queue' })
    await openRow(page, row)
    await button(page, 'Make a video').click()
    await button(page, 'Cancel').click()
    await page.getByText('Cancel this video?').waitFor()
    assert.equal(await page.evaluate(() => document.querySelector('vibe-video').shadowRoot.activeElement.textContent), 'No, go on',
      'the safe answer has the focus')
    await page.keyboard.press('Escape')
    await page.getByText('Cancel this video?').waitFor({ state: 'detached' })
    await button(page, 'Cancel').click()
    await button(page, 'No, go on').click()
    assert.equal((await jobOf(row)).cancel_requested_at, null)
    await button(page, 'Cancel').click()
    await button(page, 'Yes, cancel it').click()
    await inState(page, 'cancelled')
    assert.equal((await jobOf(row)).state, 'cancelled')
  }))

  test('too late: the video was finished first, and is kept', visit(async ({ page }) => {
    const row = await newRow('Cancel races completion')
    await rule('^Cancel races', { hold: 'run', cancel_mode: '202,ignore' })
    await openRow(page, row)
    await button(page, 'Make a video').click()
    await inState(page, 'generating')
    await button(page, 'Cancel').click()
    await world.gateway.control('POST', 'fault', { path: 'POST .*vibevideo_cancel', delay_ms: 2500 })
    await button(page, 'Yes, cancel it').click()
    await release(row)
    await inState(page, 'ready')
    await page.getByText('It was finished before it could be cancelled.').waitFor()
    assert.equal((await play(page)).seconds, FILM_SECONDS)
  }))
})

describe('failures', () => {
  test('by policy: the sentence, and no button that would fail again unasked', visit(async ({ page }) => {
    const row = await newRow('A forbidden-policy-word in it')
    await openRow(page, row)
    await button(page, 'Make a video').click()
    await inState(page, 'failed')
    await stage(page).getByText(/The provider rejects this content/).waitFor()
    await stage(page).getByText(/The same input would fail again/).waitFor()
    await page.getByRole('button', { name: /changed/ }).waitFor()
    assert.equal(await button(page, 'Try again').count(), 0)
    assert.deepEqual((await events(page, 'vibe-error')).map(([, status, code]) => [status, code]), [['failed', null]])
  }))

  test('what a model objects to is shown as text', visit(async ({ page }) => {
    const row = await newRow('Objected to')
    await rule('^Objected', { outcome: 'validation', detail: [{ loc: ['body', 'prompt'], msg: `must not contain ${MARKUP}`, type: 'value_error',
      input: MARKUP }] })
    await openRow(page, row)
    await button(page, 'Make a video').click()
    await inState(page, 'failed')
    const { shown, images } = await element(page).evaluate(({ shadowRoot }) => ({ shown: shadowRoot.textContent,
      images: shadowRoot.querySelectorAll('img, script').length }))
    assert.match(shown, /The provider cannot use this input/)
    assert.equal(images, 0)
  }))

  test('not stored, though made: saving it again is free', visit(async ({ page }) => {
    const row = await newRow('Not stored at first')
    await world.storage.control('POST', 'fault', { on: 'any', key: '^videos/', times: -1, fault: { kind: 'http', status: 400, body: { statusCode: '413',
      error: 'Payload too large', message: 'The object exceeded the maximum allowed size' } } })
    await openRow(page, row)
    await button(page, 'Make a video').click()
    await inState(page, 'failed')
    await page.getByText('Saving it again is free.').waitFor()
    await world.storage.control('POST', 'reset', { only: 'faults' })
    const before = await accepted()
    await button(page, 'Save it again').click()
    await inState(page, 'ready')
    assert.equal(await accepted(), before, 'and was not rendered again')
  }))

  test('tried again, it works', visit(async ({ page }) => {
    const row = await newRow('Broken once')
    await world.fal.control('POST', 'rule', { prompt: '^Broken once', times: 1, behaviour: { outcome: 'infra', error_type: 'runner_server_error' } })
    await world.configure({ max_renders: 1 })
    await openRow(page, row)
    await button(page, 'Make a video').click()
    await inState(page, 'failed')
    await button(page, 'Try again').click()
    await inState(page, 'ready')
    await world.configure({ max_renders: null })
  }))

  test('over a limit: when to come back, and nothing is sent', visit(async ({ page, watch }) => {
    watch.expect(/429/)
    await world.db.run(`INSERT INTO vibevideo.limit (scope, user_id, max_active) VALUES ('user', '${customer.id}', 0)`)
    try {
      const row = await newRow('Over the limit')
      const before = await accepted()
      await openRow(page, row)
      await button(page, 'Make a video').click()
      await page.getByRole('alert').getByText(/./).waitFor()
      await inState(page, 'idle')
      assert.equal(await accepted(), before)
    } finally {
      await world.db.run(`DELETE FROM vibevideo.limit WHERE user_id = '${customer.id}'`)
    }
  }))

  test('a row of somebody else is none', visit(async ({ page, watch }) => {
    watch.expect(/40[34].*vibevideo_status|status of 40[34]/)
    await openRow(page, await newRow('Not yours', other.id))
    await inState(page, 'unavailable')
    await stage(page).getByText('This video does not exist, or it is not yours.').waitFor()
  }))
})

describe('for everybody', () => {
  const GALLERY = () => `${world.url}/web/element/dev/`

  test('every state, in both schemes, is clean by WCAG 2.2 AA, and fits', visit(async (shown) => {
    const { page, watch } = shown
    // its films are no files
    watch.expect(/film\.mp4/)
    for (const theme of ['light', 'dark']) {
      await page.goto(`${GALLERY()}?theme=${theme}`)
      await page.locator('html[data-shown=yes]').waitFor()
      await examine(shown, `element-states-${theme}`, { schemes: [theme], sizes: { wide: WIDE, narrow: NARROW } })
    }
    await page.goto(`${GALLERY()}?dir=rtl`)
    await page.locator('html[data-shown=yes]').waitFor()
    await checkNoSidewaysScroll(page, 'right to left')
    await screenshot(page, 'element-states-rtl-wide')
  }))

  test('at 200 % it fits, too', visit({ viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 }, async (shown) => {
    const { page, watch } = shown
    watch.expect(/film\.mp4/)
    await page.goto(`${GALLERY()}?size=200%25`)
    await page.locator('html[data-shown=yes]').waitFor()
    await checkNoSidewaysScroll(page, '200 %')
    await checkAccessible(shown, '200 %')
  }))

  test('nothing moves for who wants that', visit({ reducedMotion: 'reduce' }, async ({ page, watch }) => {
    watch.expect(/film\.mp4/)
    await page.goto(GALLERY())
    await page.locator('html[data-shown=yes]').waitFor()
    const moving = await page.evaluate(() => [...document.querySelectorAll('vibe-video')].flatMap(({ shadowRoot }) => [...shadowRoot.querySelectorAll('*')])
      .flatMap((node) => node.getAnimations()).filter((a) => a.playState === 'running' && a.effect.getComputedTiming().duration > 10).length)
    assert.equal(moving, 0)
  }))

  test('any text may stand beside it, and the app is clean as well', visit(async (shown) => {
    const { page } = shown
    for (const content of [MARKUP, RTL, LONG_WORD]) await newRow(content, other.id)
    await page.goto(world.appUrl({ as: other.email, password: other.password }))
    await page.locator('vibe-video[state="idle"]').nth(2).waitFor()
    await examine(shown, 'app')
  }))

  test('by keyboard alone', visit(async ({ page }) => {
    const row = await newRow('By keyboard')
    await rule('^By keyboard', { hold: 'queue' })
    await openRow(page, row)
    await button(page, 'Make a video').waitFor()
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await inState(page, 'waiting')
    await button(page, 'Cancel').waitFor()
    assert.equal(await page.evaluate(() => document.activeElement.localName), 'vibe-video', 'the focus has not gone')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.getByText('Cancel this video?').waitFor()
  }))
})

// ---- the element by itself, with an API that does what it is told

describe('what an app can change', () => {
  /** Makes an element whose row is that, in a page that has the gallery's API. */
  async function make(page, row, setup = '') {
    await page.goto(`${world.url}/web/element/dev/blank.html`)
    await page.evaluate(async ([fields, code]) => {
      const fake = await import('/web/element/dev/fake.js')
      const client = fake.fakeClient({ 1: fake.video(fields) })
      const element = Object.assign(document.createElement('vibe-video'), { vibelogId: '1', client })
      Object.assign(window, { fake, client, element, log: [] })
      new Function(code)()
      document.querySelector('main').append(element)
      await import('/web/element/dist/index.js')
    }, [row, setup])
  }
  const sent = { attempt: 1, request_id: 'x', submitted_at: '2026-11-29T14:05:11+00:00' }
  const ready = { ...sent, status: 'completed', message: 'Your video is ready', video_url: '/1.mp4' }

  test('it may be set up before it is defined, by properties or by attributes', visit(async ({ page }) => {
    await make(page, {}, "element.setAttribute('price', '$0.28')")
    await inState(page, 'idle')
    await page.getByText('Costs $0.28').waitFor()
    assert.equal(await page.evaluate(() => element.price), '$0.28')
  }))

  test('each of its words', visit(async ({ page }) => {
    await make(page, { ...sent, status: 'queued', message: 'Video queued, 3 ahead of you', queue_position: 3, estimate_seconds: 200 },
      "element.labels = { cancel: 'Abbrechen', message: ({ queue_position: n }) => `Noch ${n} davor`, estimate: (s) => `etwa ${Math.round(s / 60)} Min.`, video: 'Film' }")
    for (const text of ['Abbrechen', 'Noch 3 davor', 'etwa 3 Min.']) await page.locator('vibe-video').getByText(text, { exact: true }).first().waitFor()
    await page.getByRole('group', { name: 'Film' }).waitFor()
  }))

  test('what is shown in a state, by a slot', visit(async ({ page }) => {
    await make(page, {}, "element.innerHTML = '<button slot=idle>Surprise me</button><p slot=waiting>Patience</p>'; element.firstChild.onclick = () => element.submit()")
    await button(page, 'Surprise me').click()
    await page.getByText('Patience').waitFor()
    assert.equal(await button(page, 'Make a video').isVisible(), false)
    assert.equal(await page.getByText('Patience').isVisible(), true)
  }))

  test('its look, by variables and parts', visit(async ({ page }) => {
    await make(page, {}, "document.head.append(Object.assign(document.createElement('style'), { textContent: 'vibe-video { --vibe-video-accent: rgb(1, 2, 3) } vibe-video::part(stage idle) { border-width: 7px }' }))")
    await inState(page, 'idle')
    const look = await page.evaluate(() => [getComputedStyle(element.shadowRoot.querySelector('button')).backgroundColor,
      getComputedStyle(element.shadowRoot.querySelector('.stage')).borderTopWidth])
    assert.deepEqual(look, ['rgb(1, 2, 3)', '7px'])
  }))

  test('where the film is, for a private bucket, and anew when that has expired', visit(async ({ page, watch }) => {
    watch.expect(/signed/)
    await make(page, ready, "element.source = async (video) => { log.push(video.video_url); return `/signed-${log.length}.mp4` }")
    const player = page.locator('vibe-video video')
    await player.waitFor()
    assert.match(await player.getAttribute('src'), /signed-1/)
    // nothing is loaded before it is played
    await player.evaluate((video) => video.play().catch(() => {}))
    await page.locator('vibe-video video[src="/signed-2.mp4"]').waitFor()
    await player.evaluate((video) => video.play().catch(() => {}))
    assert.deepEqual(await page.evaluate(() => log), ['/1.mp4', '/1.mp4'])
  }))

  test('an animated picture is one', visit(async ({ page, watch }) => {
    watch.expect(/1\.gif/)
    await make(page, { ...ready, video_url: '/1.gif' })
    await page.locator('vibe-video img[alt="Video"]').waitFor({ state: 'attached' })
    await page.getByText('AI-generated').waitFor()
  }))

  test('that it was made by a machine, where it is seen, in the page\'s words or none', visit(async ({ page }) => {
    const label = page.getByText('AI-generated')
    await make(page, { ...sent, status: 'generating', message: 'AI is generating' })
    await inState(page, 'generating')
    assert.equal(await label.count(), 0)
    await page.evaluate((row) => { client.rows[1] = row; return element.refresh() }, ready)
    await label.waitFor()
    const [badge, film] = await Promise.all([label.boundingBox(), page.locator('vibe-video video').boundingBox()])
    assert.ok(badge.x > film.x && badge.y > film.y && badge.y + badge.height < film.y + film.height / 2, 'it is in the upper half of the film')
    // a click there is the film's
    assert.equal(await page.evaluate(({ x, y }) => element.shadowRoot.elementFromPoint(x, y).localName, { x: badge.x + 5, y: badge.y + 5 }), 'video')
    await page.evaluate(() => { element.labels = { generated: 'Von einer KI gemacht' } })
    await page.getByText('Von einer KI gemacht').waitFor()
    await page.evaluate(() => { element.labels = { generated: '' } })
    await page.locator('vibe-video .generated').waitFor({ state: 'detached' })
  }))

  test('the row it shows', visit(async ({ page }) => {
    await make(page, ready, "client.rows[2] = fake.video({ vibelog_id: '2' })")
    await inState(page, 'ready')
    await page.evaluate(() => element.setAttribute('vibelog-id', '2'))
    await inState(page, 'idle')
    await page.evaluate(() => element.remove())
    await page.evaluate(() => window.dispatchEvent(new Event('focus')))
    assert.deepEqual(await page.evaluate(() => client.calls.map(({ id }) => id)), ['1', '2'])
  }))

  test('a state is told to those who do not see it, once', visit(async ({ page }) => {
    await make(page, { ...sent, status: 'generating', message: 'AI is generating' })
    const status = page.locator('vibe-video').getByRole('status')
    assert.equal(await status.textContent(), 'AI is generating')
    await page.evaluate(() => { client.rows[1] = { ...client.rows[1], status: 'processing', message: 'Copying 3 %',
      progress: 0.03 }; return element.refresh() })
    await inState(page, 'copying')
    assert.equal(await status.textContent(), 'Copying')
    await page.evaluate(() => { client.rows[1] = { ...client.rows[1], message: 'Copying 62 %', progress: 0.62 }; return element.refresh() })
    await page.getByRole('progressbar', { name: 'Copying' }).and(page.locator('[aria-valuenow="62"]')).waitFor()
    assert.equal(await status.textContent(), 'Copying')
  }))
})

describe('in React', () => {
  test('the element and the hook are of one mind, in strict mode', visit(async ({ page }) => {
    await page.goto(`${world.url}/web/element/dev/react.html`)
    await button(page, 'Los!').waitFor()
    assert.equal(await page.getByTestId('words').textContent(), 'Ask idle: No video has been requested')
    assert.deepEqual(await page.evaluate(() => client.names()), ['status'], 'looked at once for both')
    await button(page, 'Ask').click()
    await inState(page, 'waiting')
    assert.equal(await page.getByTestId('words').textContent(), 'Ask waiting: Waiting to be sent, 3 ahead of you')
    assert.deepEqual(await page.evaluate(() => client.names()), ['status', 'status', 'submit'])
    assert.deepEqual(await page.evaluate(() => events), ['idle', 'waiting'])
    await button(page, 'Hide').click()
    await page.evaluate(() => window.dispatchEvent(new Event('focus')))
    assert.deepEqual(await page.evaluate(() => client.names()), ['status', 'status', 'submit'], 'what is not shown is not looked at')
    await button(page, 'Show').click()
    await inState(page, 'waiting')
  }))
})
