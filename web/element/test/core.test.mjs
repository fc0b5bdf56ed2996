// What the core does, with an API and a page that do what they are told.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { backoff, isMade, isRejected, isUncharged, loading, pause, setClient, watch } from '../dist/core.js'
import { cancelled, completed, copying, failed, fakeClient, generating, noAnswer, queued, refusal, video, waiting } from '../dev/fake.js'
import { later, page, settle, until } from './page.mjs'

async function follow(row, options = {}) {
  const view = options.view ?? page()
  const client = options.client ?? fakeClient({ 1: row })
  const states = []
  const watched = watch('1', { client, ...options.watch, environment: view.environment })
  const leave = watched.subscribe(() => states.push(watched.getSnapshot().state), options.signal)
  await settle()
  return { view, client, watched, states, leave, now: () => watched.getSnapshot() }
}

const become = (it, row) => { it.client.rows[1] = row }

describe('looking', () => {
  test('it knows nothing before it has looked', () => {
    assert.deepEqual(watch('1', { client: fakeClient({ 1: queued() }), environment: page().environment }).getSnapshot(), loading)
  })

  test('each status is a state of its own', async () => {
    const rows = { idle: video(), waiting: queued(), generating: generating(), copying: copying(), ready: completed(), failed: failed('The video took too long'), cancelled: cancelled() }
    for (const [state, row] of Object.entries(rows)) assert.equal((await follow(row)).now().state, state)
  })

  test('what has ended, or was never asked for, is not looked at again', async () => {
    for (const row of [video(), completed(), failed('The video took too long'), cancelled()]) assert.deepEqual((await follow(row)).view.waits(), [])
  })

  test('an active job is followed to its end', async () => {
    const it = await follow(waiting())
    for (const row of [queued(), generating(), copying(), completed()]) {
      become(it, row)
      await it.view.pass()
    }
    assert.deepEqual(it.states, ['waiting', 'waiting', 'generating', 'copying', 'ready'])
    assert.deepEqual(it.view.waits(), [])
    assert.deepEqual(it.client.calls.map(({ options }) => options), Array(5).fill({ get: true }))
  })

  test('nobody is told of an answer that says nothing new', async () => {
    const it = await follow(generating())
    const { video: before } = it.now()
    await it.view.pass()
    assert.deepEqual(it.states, ['generating'])
    assert.equal(it.now().video, before)
  })

  test('it looks less often with time, and anew after a change', async () => {
    const it = await follow(generating({ estimate_seconds: null }))
    const waits = []
    for (let n = 0; n < 40; n++) {
      waits.push(it.view.waits()[0])
      await it.view.pass()
    }
    assert.equal(waits[0], 5)
    assert.ok(waits.every((seconds, n) => n === 0 || seconds >= waits[n - 1]))
    assert.equal(waits.at(-1), 30)
    become(it, copying({ estimate_seconds: null }))
    await it.view.pass()
    assert.deepEqual(it.view.waits(), [2])
  })

  test('it stops when the page is hidden, and looks at once when it is seen again', async () => {
    const it = await follow(generating())
    await it.view.see(false)
    assert.deepEqual(it.view.waits(), [])
    become(it, completed())
    assert.equal(it.client.calls.length, 1)
    await it.view.see(true)
    assert.equal(it.now().state, 'ready')
  })

  test('an answer that arrives while it is hidden starts no wait', async () => {
    const it = await follow(generating())
    const answer = later()
    it.client.next.vibevideo_status = () => answer.promise
    await it.view.pass()
    await it.view.see(false)
    answer.resolve({ data: generating({ message: 'x' }), error: null, status: 200 })
    await settle()
    assert.equal(it.now().video.message, 'x')
    assert.deepEqual(it.view.waits(), [])
  })

  for (const event of ['focus', 'online']) {
    test(`it looks on ${event}, also at what had failed`, async () => {
      const it = await follow(failed('The video took too long'))
      become(it, generating({ attempt: 2 }))
      await it.view.fire(event)
      assert.equal(it.now().state, 'generating')
      assert.equal(it.view.waits().length, 1)
    })
  }

  test('a finished video is not looked at for that', async () => {
    const it = await follow(completed())
    await it.view.fire('focus')
    assert.equal(it.client.calls.length, 1)
  })

  test('one look at a time; a reason that comes meanwhile is looked into afterwards', async () => {
    const it = await follow(generating())
    const answer = later()
    it.client.next.vibevideo_status = () => answer.promise
    await it.view.pass()
    await it.view.fire('focus')
    await it.view.fire('online')
    assert.equal(it.client.calls.length, 2)
    become(it, completed())
    answer.resolve({ data: generating(), error: null, status: 200 })
    await settle()
    assert.equal(it.client.calls.length, 3)
    assert.equal(it.now().state, 'ready')
  })
})

describe('trouble', () => {
  test('what is temporary is tried again, after growing waits, and what was known stays', async () => {
    const it = await follow(generating())
    const waits = []
    for (let n = 0; n < 8; n++) {
      it.client.next.vibevideo_status = n % 2 ? noAnswer() : refusal(503, '', 'Service Unavailable')
      await it.view.pass()
      assert.equal(it.now().state, 'generating')
      assert.equal(it.now().stale.status, n % 2 ? 0 : 503)
      waits.push(it.view.waits()[0])
    }
    assert.deepEqual(waits, [2, 4, 8, 16, 32, 60, 60, 60])
    await it.view.pass()
    assert.equal(it.now().stale, null)
    // a tenth of what it has waited
    assert.deepEqual(it.view.waits(), [24.7])
  })

  test('what is not temporary is not tried again by itself', async () => {
    for (const [status, code] of [[404, 'PT404'], [403, '42501'], [404, 'PGRST202'], [400, '22023']]) {
      const it = await follow(video(), { client: fakeClient() })
      it.client.next.vibevideo_status = refusal(status, code, 'no')
      await it.watched.refresh()
      assert.equal(it.now().state, 'unavailable')
      assert.equal(it.now().stale.code, code)
      assert.deepEqual(it.view.waits(), [])
    }
  })

  test('a row that is gone has no video any more', async () => {
    const it = await follow(generating())
    delete it.client.rows[1]
    await it.view.pass()
    assert.deepEqual([it.now().state, it.now().video], ['unavailable', null])
  })

  test('a row that appears is found when the page is looked at', async () => {
    const it = await follow(video(), { client: fakeClient() })
    assert.equal(it.now().state, 'unavailable')
    become(it, queued())
    await it.view.fire('focus')
    assert.equal(it.now().state, 'waiting')
  })

  test('while it is offline that is said, and forgotten once it is back', async () => {
    const it = await follow(generating())
    await it.view.fire('offline')
    assert.equal(it.now().stale.status, 0)
    assert.equal(it.now().state, 'generating')
    await it.view.fire('online')
    assert.equal(it.now().stale, null)
  })

  test('being offline does not hide why there is nothing to show', async () => {
    const it = await follow(video(), { client: fakeClient() })
    await it.view.fire('offline')
    assert.equal(it.now().state, 'unavailable')
  })

  test('a client that throws is one that got no answer', async () => {
    const it = await follow(video(), { client: { rpc() { throw new TypeError('fetch failed') } } })
    assert.deepEqual(it.now().stale, { message: 'fetch failed', hint: '', code: '', status: 0 })
    assert.deepEqual(it.view.waits(), [2])
  })
})

describe('a server that answers badly', () => {
  /** Each look is answered with this header. */
  const asking = (header, row = queued({ estimate_seconds: null })) => ({
    rpc: () => ({
      fetch: async () => ({ headers: { get: () => header } }),
      then(done) { this.fetch().then(() => done({ data: row, error: null, status: 200 })) },
    }),
  })

  test('however long it is to be left alone, it is asked again within an hour, and never at once', async () => {
    for (const header of ['99999999999', '2147484', '3600', '1e99']) {
      const [seconds] = (await follow(null, { client: asking(header) })).view.waits()
      assert.ok(seconds >= 1 && seconds <= 3600, `${header}: ${seconds}`)
    }
    for (const header of ['-5', 'soon', 'Wed, 21 Oct 2026 07:28:00 GMT', '']) assert.deepEqual((await follow(null, { client: asking(header) })).view.waits(), [5])
  })

  test('what is not of its type is not known', async () => {
    const it = await follow(generating({ estimate_seconds: 'soon', message: null, queue_position: {}, progress: Infinity, attempt: [1] }))
    assert.deepEqual(it.view.waits(), [5])
    const { message, estimate_seconds: estimate, attempt } = it.now().video
    assert.deepEqual([message, estimate, attempt], ['', null, null])
    const odd = (await follow(failed('x', { error: { a: 1 }, error_code: 7, request_id: 1 }))).now()
    assert.deepEqual([odd.state, odd.video.error, isMade(odd.video), isRejected(odd.video)], ['failed', null, false, false])
    for (const status of ['constructor', '__proto__', 7, {}]) assert.equal((await follow(video({ status }))).now().state, 'unavailable')
  })

  test('a look that is never answered is given up, and is not the last one', async () => {
    const it = await follow(generating())
    it.client.next.vibevideo_status = () => new Promise(() => {})
    await it.view.pass()
    assert.deepEqual(it.view.waits(), [30])
    await it.view.pass()
    assert.deepEqual([it.client.aborted, it.now().stale.status, it.view.waits()], [1, 0, [2]])
    become(it, completed())
    await it.view.pass()
    assert.equal(it.now().state, 'ready')
  })

  test('a submit that is never answered is looked for, and the button is free again', async () => {
    for (const arrived of [true, false]) {
      const it = await follow(video())
      it.client.next.vibevideo_submit = () => {
        if (arrived) become(it, queued())
        return new Promise(() => {})
      }
      const asked = it.watched.submit()
      await settle()
      assert.deepEqual(it.view.waits(), [90])
      await it.view.pass()
      await asked
      assert.deepEqual([it.now().busy, it.now().state, it.now().error?.status], arrived ? [null, 'waiting', undefined] : [null, 'idle', 0])
    }
  })
})

describe('many rows', () => {
  test('a page looks at a few at a time', async () => {
    const rows = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [n, completed()]))
    const client = fakeClient(rows)
    const { rpc } = client
    let under = 0
    let most = 0
    client.rpc = (...args) => ({
      then: (done, fail) => {
        most = Math.max(most, ++under)
        return settle().then(() => rpc(...args)).then((reply) => { under--; return reply }).then(done, fail)
      },
    })
    const view = page()
    const all = Object.keys(rows).map((id) => watch(id, { client, environment: view.environment }))
    const leave = all.map((one) => one.subscribe(() => {}))
    await until('all are ready', () => all.every((one) => one.getSnapshot().state === 'ready'))
    assert.equal(most, 8)
    // whoever has left while waiting is passed over
    leave.forEach((go) => go())
    await settle()
    const again = all.map((one) => one.subscribe(() => {}))
    again.slice(8).forEach((go) => go())
    await settle()
    await until('the first are ready', () => all.slice(0, 8).every((one) => one.getSnapshot().state === 'ready'))
    assert.equal(client.calls.length, 108)
  })

  test('whoever comes back to the tab looks once, though it gets the focus, too', async () => {
    const it = await follow(generating())
    await it.view.see(false)
    const answer = later()
    it.client.next.vibevideo_status = () => answer.promise
    await it.view.see(true)
    await it.view.fire('focus')
    answer.resolve({ data: generating(), error: null, status: 200 })
    await settle()
    assert.equal(it.client.calls.length, 2)
  })
})

describe('rhythm', () => {
  const known = { waited: 0, retryAfter: null, heard: false }

  test('Retry-After is how often at first', () => {
    assert.equal(pause(queued({ estimate_seconds: null }), { ...known, retryAfter: 10 }), 10)
    assert.equal(pause(queued({ estimate_seconds: null }), { ...known, retryAfter: 10, waited: 300 }), 30)
    assert.equal(pause(queued({ estimate_seconds: null }), { ...known, retryAfter: 10, waited: 9000 }), 60)
    assert.equal(pause(queued({ estimate_seconds: null }), { ...known, retryAfter: 1, waited: 9000 }), 6)
    assert.equal(pause(queued({ estimate_seconds: null }), { ...known, retryAfter: 300 }), 300)
  })

  test('it looks when the video is expected, but not more often than at first', () => {
    assert.equal(pause(generating({ estimate_seconds: 12 }), { ...known, waited: 200 }), 12)
    assert.equal(pause(generating({ estimate_seconds: 1 }), { ...known, waited: 200 }), 5)
    assert.equal(pause(generating({ estimate_seconds: 500 }), { ...known, waited: 200 }), 20)
  })

  test('a copy is followed closely, whatever Realtime does', () => {
    assert.equal(pause(copying({ estimate_seconds: null }), { ...known, retryAfter: 10 }), 2)
    assert.equal(pause(copying({ estimate_seconds: null }), { ...known, heard: true }), 2)
    assert.equal(pause(copying({ estimate_seconds: null }), { ...known, retryAfter: 1 }), 1)
  })

  test('a server that names a time after a failure is left alone for it', () => {
    assert.equal(backoff(1, 120), 120)
    assert.equal(backoff(5, 3), 32)
  })
})

describe('Realtime', () => {
  function realtime(row) {
    const client = fakeClient({ 1: row })
    const channels = []
    Object.assign(client, {
      channels, getChannels: () => channels,
      channel(topic, options) {
        const channel = channels.find((other) => other.topic === topic) ?? {
          topic, options, on(kind, { event }, heard) { Object.assign(channel, { kind, event, heard }); return channel }, subscribe(told) { channel.told = told; return channel } }
        if (!channels.includes(channel)) channels.push(channel)
        return channel
      },
      removeChannel(channel) { channels.splice(channels.indexOf(channel), 1) },
    })
    return client
  }

  test('it is used only where the table is said to be attached with it', async () => {
    assert.equal((await follow(generating(), { client: realtime(generating()) })).client.channels.length, 0)
    const { client } = await follow(generating(), { client: realtime(generating()), watch: { realtime: true } })
    const [channel] = client.channels
    assert.deepEqual([channel.topic, channel.options, channel.kind, channel.event], ['vibelog:1', { config: { private: true } }, 'broadcast', 'status'])
  })

  test('a broadcast is a reason to look, and once there was one it looks seldom by itself', async () => {
    const it = await follow(queued({ estimate_seconds: null }), { client: realtime(queued({ estimate_seconds: null })), watch: { realtime: true } })
    it.client.channels[0].told('SUBSCRIBED')
    await settle()
    assert.equal(it.client.calls.length, 2)
    assert.deepEqual(it.view.waits(), [5])
    become(it, generating({ estimate_seconds: null }))
    it.client.channels[0].heard({ payload: { status: 'generating' } })
    await settle()
    assert.equal(it.now().state, 'generating')
    assert.deepEqual(it.view.waits(), [30])
  })

  test('when it breaks off, it polls as without it', async () => {
    const it = await follow(generating({ estimate_seconds: null }), { client: realtime(generating({ estimate_seconds: null })), watch: { realtime: true } })
    it.client.channels[0].heard({})
    await settle()
    it.client.channels[0].told('CHANNEL_ERROR')
    await it.view.pass()
    assert.equal(it.view.waits()[0], 5)
  })

  test('what ended long ago is heard of when it begins anew', async () => {
    const it = await follow(completed(), { client: realtime(completed()), watch: { realtime: true } })
    become(it, waiting({ attempt: 2 }))
    it.client.channels[0].heard({})
    await settle()
    assert.equal(it.now().state, 'waiting')
  })

  test("its channel is left, but not one that is the app's", async () => {
    const own = await follow(generating(), { client: realtime(generating()), watch: { realtime: true } })
    own.leave()
    await settle()
    assert.equal(own.client.channels.length, 0)

    const client = realtime(generating())
    client.channel('vibelog:1', {})
    const shared = await follow(generating(), { client, watch: { realtime: true } })
    shared.leave()
    await settle()
    assert.equal(client.channels.length, 1)
    client.channels[0].heard({})
    await settle()
    assert.equal(client.calls.length, 1)
  })

  test('broadcasts that somebody makes up are no reason to look all the time', async () => {
    const it = await follow(generating({ estimate_seconds: null }), { client: realtime(generating({ estimate_seconds: null })), watch: { realtime: true } })
    for (let n = 0; n < 200; n++) {
      it.client.channels[0].heard({})
      await settle()
    }
    assert.ok(it.client.calls.length < 30, `${it.client.calls.length} looks`)
    // it is not believed to hear of changes any more
    become(it, copying())
    await it.view.pass()
    assert.equal(it.now().state, 'copying')
    become(it, completed())
    it.client.channels[0].heard({})
    await settle()
    assert.equal(it.now().state, 'ready')
  })

  test('where a channel cannot be joined it polls', async () => {
    const client = Object.assign(fakeClient({ 1: generating() }), { channel() { throw new Error("'subscribe' can only be called a single time") } })
    const it = await follow(generating(), { client, watch: { realtime: true } })
    assert.equal(it.now().state, 'generating')
    assert.equal(it.view.waits().length, 1)
  })

  test('a client without Realtime polls', async () => {
    const it = await follow(generating(), { watch: { realtime: true } })
    assert.equal(it.view.waits().length, 1)
  })
})

describe('asking', () => {
  test('a video is asked for, and followed', async () => {
    const it = await follow(video())
    const asked = it.watched.submit()
    assert.equal(it.now().busy, 'submit')
    assert.equal((await asked).state, 'waiting')
    assert.equal(it.now().busy, null)
    assert.equal(it.view.waits().length, 1)
    assert.deepEqual(it.client.names(), ['status', 'status', 'submit'])
    assert.deepEqual(it.client.calls.at(-1).options, { get: false })
  })

  test('of many clicks one counts', async () => {
    const it = await follow(video())
    await Promise.all([it.watched.submit(), it.watched.submit(), it.watched.retry(), it.watched.cancel()])
    assert.deepEqual(it.client.names(), ['status', 'status', 'submit'])
  })

  test('a look that was under way is not believed after it', async () => {
    const it = await follow(video())
    const old = later()
    it.client.next.vibevideo_status = () => old.promise
    it.watched.refresh()
    await it.watched.submit()
    assert.equal(it.client.aborted, 1)
    old.resolve({ data: video(), error: null, status: 200 })
    await settle()
    assert.equal(it.now().state, 'waiting')
  })

  test('what was asked for elsewhere meanwhile is not asked for, and paid for, again', async () => {
    for (const [seen, elsewhere] of [
      [video(), generating()], [failed('The video took too long'), failed('The video took too long', { attempt: 2 })],
      [failed('The video took too long'), completed({ attempt: 2 })], [cancelled(), waiting({ attempt: 2 })],
    ]) {
      const it = await follow(seen)
      become(it, elsewhere)
      await it.watched[seen.status === 'failed' ? 'retry' : 'submit']()
      assert.deepEqual(it.client.names(), ['status', 'status'])
      assert.equal(it.now().video.attempt, elsewhere.attempt)
      assert.equal(it.now().error, null)
    }
  })

  test('nothing is asked for where it cannot be looked first', async () => {
    const it = await follow(video())
    it.client.next.vibevideo_status = noAnswer()
    await it.watched.submit()
    assert.deepEqual(it.client.names(), ['status', 'status'])
    assert.equal(it.now().error.status, 0)
  })

  test('a refusal is told, until the next try', async () => {
    const it = await follow(video())
    it.client.next.vibevideo_submit = refusal(429, 'PT429', 'too many videos are active', 'Come back later.')
    await it.watched.submit()
    assert.deepEqual(it.now().error, { message: 'too many videos are active', hint: 'Come back later.', code: 'PT429', status: 429 })
    assert.equal(it.now().state, 'idle')
    await it.watched.submit()
    assert.equal(it.now().error, null)
    assert.equal(it.now().state, 'waiting')
  })

  test('what fal.ai has refused is a failed video, not an error', async () => {
    const it = await follow(video())
    const row = failed('The provider cannot use this input', { request_id: null, submitted_at: null })
    it.client.next.vibevideo_submit = { data: null, error: row, status: 502 }
    await it.watched.submit()
    assert.equal(it.now().state, 'failed')
    assert.equal(it.now().error, null)
  })

  test('a submit whose answer was lost is looked for, and not sent again', async () => {
    const it = await follow(video())
    it.client.next.vibevideo_submit = () => {
      become(it, queued())
      return noAnswer()
    }
    await it.watched.submit()
    assert.deepEqual(it.client.names(), ['status', 'status', 'submit', 'status'])
    assert.equal(it.now().state, 'waiting')
    assert.equal(it.now().error, null)
  })

  test('one that did not arrive is told', async () => {
    const it = await follow(video())
    it.client.next.vibevideo_submit = refusal(500, '55000', 'the database is paused')
    await it.watched.submit()
    assert.equal(it.now().state, 'idle')
    assert.equal(it.now().error.code, '55000')
  })

  test('another tab is told, and looks', async () => {
    const tabs = new Set()
    const client = fakeClient({ 1: video() })
    const here = await follow(null, { client, view: page({ tabs }) })
    const there = await follow(null, { client, view: page({ tabs }) })
    await here.watched.submit()
    await settle()
    assert.equal(there.now().state, 'waiting')
    assert.equal(there.view.waits().length, 1)
  })

  test('a tab with another row is not', async () => {
    const tabs = new Set()
    const client = fakeClient({ 1: video(), 2: video() })
    const here = await follow(null, { client, view: page({ tabs }) })
    const view = page({ tabs })
    watch('2', { client, environment: view.environment }).subscribe(() => {})
    await settle()
    await here.watched.submit()
    await settle()
    assert.equal(client.calls.filter(({ id }) => id === '2').length, 1)
  })
})

describe('cancelling', () => {
  test('what waits here is cancelled at once, what is at the provider by and by', async () => {
    const here = await follow(waiting())
    await here.watched.cancel()
    assert.equal(here.now().state, 'cancelled')
    const there = await follow(generating())
    await there.watched.cancel()
    assert.deepEqual([there.now().state, there.now().video.waits_for], ['generating', 'cancel'])
    become(there, cancelled({ request_id: 'x' }))
    await there.view.pass()
    assert.deepEqual([there.now().state, there.now().tooLate], ['cancelled', false])
  })

  test('one that the provider has finished first is kept, and that is said', async () => {
    const it = await follow(generating())
    await it.watched.cancel()
    become(it, copying())
    await it.view.pass()
    assert.deepEqual([it.now().state, it.now().tooLate], ['copying', true])
    become(it, completed())
    await it.view.pass()
    assert.deepEqual([it.now().state, it.now().tooLate], ['ready', true])
  })

  test('one that was finished before it arrived', async () => {
    const it = await follow(generating())
    become(it, completed())
    await it.watched.cancel()
    assert.deepEqual([it.now().state, it.now().tooLate], ['ready', true])
  })

  test('a cancel whose answer was lost is not told of, if it has arrived', async () => {
    const it = await follow(generating())
    it.client.next.vibevideo_cancel = () => {
      become(it, generating({ message: 'Cancelling', waits_for: 'cancel' }))
      return noAnswer()
    }
    await it.watched.cancel()
    assert.equal(it.now().error, null)
    it.client.next.vibevideo_cancel = noAnswer()
    become(it, generating())
    await it.watched.cancel()
    assert.equal(it.now().error.status, 0)
  })
})

describe('sharing and leaving', () => {
  test('two in a page that watch one row are one', async () => {
    const client = fakeClient({ 1: generating() })
    const { environment } = page()
    const first = watch('1', { client, environment })
    const second = watch(1, { client, environment })
    first.subscribe(() => {})
    second.subscribe(() => {})
    await settle()
    assert.equal(first, second)
    assert.equal(client.calls.length, 1)
  })

  test('with the last subscriber all of it ends', async () => {
    const it = await follow(generating())
    const second = it.watched.subscribe(() => {})
    it.leave()
    await settle()
    assert.equal(it.view.waits().length, 1)
    second()
    await settle()
    assert.deepEqual(it.view.waits(), [])
    assert.equal(it.view.tabs.size, 0)
    for (const event of ['focus', 'online', 'offline']) await it.view.fire(event)
    assert.equal(it.client.calls.length, 1)
  })

  test('a look that is under way then is given up', async () => {
    const it = await follow(generating())
    it.client.next.vibevideo_status = () => new Promise(() => {})
    await it.view.pass()
    it.leave()
    await settle()
    assert.equal(it.client.aborted, 1)
  })

  test('who leaves and comes back at once, as React does it, misses nothing', async () => {
    const it = await follow(generating())
    it.leave()
    const again = it.watched.subscribe(() => {})
    await settle()
    assert.equal(it.client.calls.length, 1)
    assert.equal(it.view.waits().length, 1)
    again()
  })

  test('who comes back later looks anew, and is not shown what another user was', async () => {
    const it = await follow(generating())
    it.leave()
    await settle()
    assert.deepEqual(it.now(), loading)
    become(it, completed())
    it.watched.subscribe(() => {})
    await settle()
    assert.equal(it.now().state, 'ready')
  })

  test('who leaves while something is asked for finds out when coming back', async () => {
    const it = await follow(video())
    const answer = later()
    it.client.next.vibevideo_submit = () => answer.promise
    it.watched.submit()
    await settle()
    it.leave()
    await settle()
    answer.resolve({ data: waiting(), error: null, status: 202 })
    await settle()
    assert.deepEqual(it.now(), loading)
    become(it, waiting())
    it.watched.subscribe(() => {})
    await settle()
    assert.deepEqual([it.now().state, it.now().busy], ['waiting', null])
  })

  test('an AbortSignal ends it as well', async () => {
    const end = new AbortController()
    const it = await follow(generating(), { signal: end.signal })
    end.abort()
    await settle()
    assert.deepEqual(it.view.waits(), [])
    it.watched.subscribe(() => assert.fail(), AbortSignal.abort())
    await settle()
    assert.equal(it.client.calls.length, 1)
  })

  test('without a key nothing is asked', async () => {
    const client = fakeClient({ 1: queued() })
    for (const id of [null, undefined, '']) {
      const watched = watch(id, { client, environment: page().environment })
      watched.subscribe(() => {})
      await watched.submit()
      assert.equal(watched.getSnapshot(), loading)
    }
    assert.equal(client.calls.length, 0)
  })

  test('the client of all may be set later', async () => {
    const watched = watch('1')
    const leave = watched.subscribe(() => {})
    await settle()
    assert.equal(watched.getSnapshot().state, 'loading')
    setClient(fakeClient({ 1: completed() }))
    await settle()
    assert.equal(watched.getSnapshot().state, 'ready')
    leave()
    await settle()
  })

  test("another client's user is not shown what the one before was", async () => {
    setClient(fakeClient({ 7: completed() }))
    const watched = watch('7')
    const leave = watched.subscribe(() => {})
    await settle()
    assert.equal(watched.getSnapshot().state, 'ready')
    setClient(fakeClient())
    assert.equal(watched.getSnapshot().video, null)
    await settle()
    assert.equal(watched.getSnapshot().state, 'unavailable')
    leave()
    await settle()
    setClient(null)
    assert.equal(watched.getSnapshot().state, 'loading')
  })
})

describe('what is known of an end', () => {
  const never = { request_id: null, submitted_at: null }

  test('that nothing was charged is said only where nothing can have been', () => {
    assert.equal(isUncharged(failed('The video took too long', never)), true)
    assert.equal(isUncharged(cancelled()), true)
    for (const code of ['submit_lost', 'answer_lost']) assert.equal(isUncharged(failed('It was lost', { ...never, error_code: code })), false)
    assert.equal(isUncharged(failed('The provider rejects this content', { error_code: 'content_policy_violation' })), false)
    assert.equal(isUncharged(cancelled({ request_id: 'x', submitted_at: '2026-11-29' })), false)
    for (const row of [video(), waiting(), completed()]) assert.equal(isUncharged(row), false)
  })

  test('a video that was made is copied again, and what is rejected is rejected again', () => {
    const made = failed('The video was made, but could not be saved', { error_code: 'video_too_large' })
    const rejected = failed('The provider rejects this content: prompt: no', { error_code: 'content_policy_violation' })
    const unusable = failed('The provider cannot use this input', { error_code: 'validation_error' })
    const other = failed('The provider could not make the video')
    assert.deepEqual([made, rejected, unusable, other].map(isMade), [true, false, false, false])
    assert.deepEqual([made, rejected, unusable, other].map(isRejected), [false, true, true, false])
    assert.equal(isRejected(generating({ error: 'The provider rejects this content' })), false)
  })
})
