// What the official clients make of answers, and what the core makes of that.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PostgrestClient } from '@supabase/postgrest-js'
import { createClient } from '@supabase/supabase-js'
import { watch } from '../dist/core.js'
import { completed, failed, queued, video } from '../dev/fake.js'
import { page, settle, until } from './page.mjs'

/** A server that gives these answers one after the other: [status, body, headers]. */
function server(...answers) {
  const asked = []
  const send = async (url, { method = 'GET', body, signal } = {}) => {
    asked.push({ method, url: String(url), body, signal })
    const answer = answers.shift()
    if (answer instanceof Error) throw answer
    const [status, content, headers] = answer
    return new Response(JSON.stringify(content), { status, headers: { 'Content-Type': 'application/json', ...headers } })
  }
  return { asked, send }
}

const clients = {
  'postgrest-js': (send) => new PostgrestClient('http://rest.test', { fetch: send }),
  'supabase-js': (send) => createClient('http://app.test', 'key', { global: { fetch: send }, accessToken: async () => 'token', realtime: { transport: class {} } }),
}

for (const [name, make] of Object.entries(clients)) {
  async function follow(...answers) {
    const view = page()
    const { asked, send } = server(...answers)
    const watched = watch('a b', { client: make(send), environment: view.environment })
    watched.subscribe(() => {})
    await until('it has looked', () => watched.getSnapshot().state !== 'loading' || watched.getSnapshot().stale)
    return { view, asked, watched }
  }

  test(`${name}: a look is a GET, and a call that changes something a POST`, async () => {
    const { asked, watched } = await follow([200, video()], [200, video()], [202, queued()])
    await watched.submit()
    assert.deepEqual(asked.map(({ method, url }) => [method, new URL(url).pathname.replace('/rest/v1', '') + new URL(url).search]), [
      ['GET', '/rpc/vibevideo_status?vibelog_id=a+b'], ['GET', '/rpc/vibevideo_status?vibelog_id=a+b'], ['POST', '/rpc/vibevideo_submit']])
    assert.equal(asked[2].body, '{"vibelog_id":"a b"}')
    assert.equal(watched.getSnapshot().state, 'waiting')
  })

  test(`${name}: Retry-After is found though the client keeps it to itself`, async () => {
    const { view, watched } = await follow([200, video()], [200, video()], [202, queued({ estimate_seconds: null }), { 'Retry-After': '17' }])
    await watched.submit()
    assert.deepEqual(view.waits(), [17])
  })

  test(`${name}: a refusal of fal.ai is a failed video`, async () => {
    const { watched } = await follow([200, video()], [200, video()], [502, failed('The provider cannot use this input')])
    await watched.submit()
    const { state, error } = watched.getSnapshot()
    assert.deepEqual([state, error], ['failed', null])
  })

  test(`${name}: an error of vibevideo's has its code, message and hint`, async () => {
    const { watched } = await follow([200, video()], [200, video()],
      [429, { code: 'PT429', message: 'too many videos are active', details: 'limit of 2', hint: 'Come back later.' }])
    await watched.submit()
    assert.deepEqual(watched.getSnapshot().error, { code: 'PT429', message: 'too many videos are active', hint: 'Come back later.', status: 429 })
  })

  test(`${name}: no network is no answer, and is told at once`, async () => {
    const { view, asked, watched } = await follow(new TypeError('fetch failed'))
    assert.equal(asked.length, 1)
    assert.equal(watched.getSnapshot().stale.status, 0)
    assert.deepEqual(view.waits(), [2])
  })

  test(`${name}: a gateway's page is another time's answer`, async () => {
    const { watched } = await follow([502, '<html>'])
    assert.equal(watched.getSnapshot().stale.status, 502)
    assert.equal(watched.getSnapshot().state, 'loading')
  })

  test(`${name}: an answer that is no video is not taken for one`, async () => {
    const { watched } = await follow([200, []])
    assert.equal(watched.getSnapshot().stale.status, 500)
  })

  test(`${name}: a look can be given up`, async () => {
    const { asked } = await follow([200, completed()])
    assert.ok(asked[0].signal instanceof AbortSignal)
  })
}

// ---- Realtime, as supabase-js speaks it

/** Answers every join, and broadcasts what it is told to. */
class Socket extends EventTarget {
  static open = []
  static joined = []
  readyState = 1
  bufferedAmount = 0

  constructor(url) {
    super()
    this.url = url
    Socket.open.push(this)
    setImmediate(() => this.onopen?.({}))
  }

  send(text) {
    const [join, ref, topic, event, payload] = JSON.parse(text)
    if (event === 'phx_join') Socket.joined.push({ topic, join, config: payload.config })
    if (event.startsWith('phx_')) setImmediate(() => this.say([join, ref, topic, 'phx_reply', { status: 'ok', response: {} }]))
  }

  say(message) {
    this.onmessage?.({ data: JSON.stringify(message) })
  }

  close() {
    this.readyState = 3
    setImmediate(() => this.onclose?.({ code: 1000, wasClean: true }))
  }
}

test('supabase-js: a broadcast is a reason to look', async (t) => {
  // timers of the client's outlive it, and would keep the test running
  const { setTimeout: start } = globalThis
  t.mock.method(globalThis, 'setTimeout', (...given) => start(...given).unref())
  const { asked, send } = server([200, queued()], [200, queued()], [200, completed()])
  const client = createClient('http://app.test', 'key', { global: { fetch: send }, accessToken: async () => 'token', realtime: { transport: Socket } })
  const watched = watch('1', { client, realtime: true, environment: page().environment })
  const leave = watched.subscribe(() => {})
  // its own look, and the one once it has joined
  await until('it has looked twice', () => asked.length === 2 && watched.getSnapshot().state === 'waiting')
  const [{ topic, join, config }] = Socket.joined
  assert.equal(topic, 'realtime:vibelog:1')
  assert.equal(config.private, true)
  await settle()
  Socket.open[0].say([join, null, topic, 'broadcast', { type: 'broadcast', event: 'status', payload: { vibelog_id: '1', status: 'completed' } }])
  await until('it has looked again', () => watched.getSnapshot().state === 'ready')
  assert.equal(asked.length, 3)
  leave()
  await until('the channel is left', () => client.getChannels().length === 0)
  await client.realtime.disconnect()
})
