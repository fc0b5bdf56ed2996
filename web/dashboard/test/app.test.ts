import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ApiError, errorSentence, isPassing, isUncertain, troubleOf } from '../src/api/errors'
import { findEndpoint, returnAddress } from '../src/app/endpoint'
import { noteLink, takeLink } from '../src/app/mail-link'
import { jobLink, link, parseRoute } from '../src/app/route'
import { inTime } from '../src/lib/in-time'
import { readToken, secretName, tokenProblem } from '../src/lib/jwt'
import { safeUrl } from '../src/lib/safe-url'

class Memory extends Map<string, string> {
  getItem = (key: string) => this.get(key) ?? null
  setItem = (key: string, value: string) => void this.set(key, value)
  removeItem = (key: string) => void this.delete(key)
}
const memory = () => new Memory() as unknown as Storage

describe('where the API is', () => {
  const find = (href: string, kept = memory()) => findEndpoint(new URL(href), kept)
  test('beside the page that the database serves, whatever the fragment says', () => {
    const found = find('https://db.example/rest/v1/rpc/vibevideo_dashboard?apikey=k#api=https://evil.example/rest/v1')
    assert.deepEqual(found, {
      base: 'https://db.example/rest/v1',
      auth: 'https://db.example/auth/v1',
      apikey: 'k',
      own: true,
    })
  })
  test('at a PostgREST without a gateway', () => {
    assert.equal(find('http://127.0.0.1:3000/rpc/vibevideo_dashboard')?.base, 'http://127.0.0.1:3000')
  })
  test('in the fragment of a file, and after that in the tab', () => {
    const kept = memory()
    assert.equal(
      find('file:///x/dashboard.html#api=https://db.example/rest/v1/&apikey=k', kept)?.base,
      'https://db.example/rest/v1',
    )
    assert.deepEqual(find('file:///x/dashboard.html#/jobs', kept), {
      base: 'https://db.example/rest/v1',
      auth: 'https://db.example/auth/v1',
      apikey: 'k',
      own: false,
    })
  })
  test('nowhere', () => {
    for (const href of ['file:///x.html', 'file:///x.html#api=javascript:alert(1)', 'file:///x.html#api=nonsense'])
      assert.equal(find(href), null)
  })
  test('is found again from a link in a mail', () => {
    const here = new URL('https://static.example/dashboard.html#/jobs')
    const back = returnAddress(here, { base: 'https://db.example/rest/v1', auth: '', apikey: 'k', own: false })
    assert.equal(find(`${back}#access_token=t`)?.base, 'https://db.example/rest/v1')
  })
})

const token = (claims: unknown) => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`

describe('a link in a mail', () => {
  const base = 'https://db.example/rest/v1'
  const fragment = (email: unknown) => new URLSearchParams({ access_token: token({ sub: '1', email }) })
  const asked = (kept = memory()) => {
    noteLink({ base, email: 'Olga@example.com', at: 1000 }, kept)
    return kept
  }
  test('is taken where it was asked for, by whoever asked for it, once', () => {
    const kept = asked()
    assert.equal(takeLink(fragment('olga@example.com'), base, 2000, kept), true)
    assert.equal(takeLink(fragment('olga@example.com'), base, 2000, kept), false)
  })
  test('that nobody has asked for signs nobody in', () => {
    assert.equal(takeLink(fragment('mallory@example.com'), base, 2000, memory()), false)
  })
  test('that is another person’s, another API’s or an old one does not either', () => {
    for (const email of ['mallory@example.com', undefined, null, ['olga@example.com'], '']) {
      const kept = asked()
      assert.equal(takeLink(fragment(email), base, 2000, kept), false, String(email))
      assert.equal(takeLink(fragment('olga@example.com'), base, 2000, kept), true, 'the good one is waited for')
    }
    assert.equal(takeLink(fragment('olga@example.com'), 'https://other.example/rest/v1', 2000, asked()), false)
    assert.equal(takeLink(fragment('olga@example.com'), base, 3_700_000, asked()), false)
    assert.equal(takeLink(fragment('olga@example.com'), base, 0, asked()), false)
    assert.equal(takeLink(new URLSearchParams({ access_token: 'nonsense' }), base, 2000, asked()), false)
  })
  test('is not asked for where nothing is kept, nor does one lead to a file', () => {
    const forbidden = {
      setItem: () => {
        throw new Error('SecurityError')
      },
    } as unknown as Storage
    assert.equal(noteLink({ base, email: 'x', at: 0 }, forbidden), false)
    const endpoint = { base, auth: '', apikey: null, own: false }
    assert.equal(returnAddress(new URL('file:///x/dashboard.html#/jobs'), endpoint), null)
  })
})

test('a call does not wait for a sign-in service that never answers', async () => {
  const stop = new AbortController()
  const answer = inTime(new Promise(() => {}), stop.signal)
  stop.abort(new Error('given up'))
  await assert.rejects(answer, /given up/)
  await assert.rejects(inTime(new Promise(() => {}), stop.signal), /given up/)
  assert.equal(await inTime(Promise.resolve(7), new AbortController().signal), 7)
})

describe('addresses within the page', () => {
  test('are read', () => {
    assert.deepEqual(parseRoute('#/job/17'), { screen: 'job', id: 17, query: new URLSearchParams() })
    assert.equal(parseRoute(link('jobs', { user: 'a&b' })).query.get('user'), 'a&b')
    assert.equal(parseRoute(jobLink(17)).id, 17)
  })
  test('that are none lead to the overview, or to the list', () => {
    for (const hash of ['', '#', '#/', '#/nowhere', '#access_token=x', '#/__proto__'])
      assert.equal(parseRoute(hash).screen, 'overview')
    for (const hash of ['#/job', '#/job/x', '#/job/-1', '#/job/1e3']) assert.equal(parseRoute(hash).screen, 'jobs')
  })
})

describe('links', () => {
  test('to http and https alone', () => {
    assert.equal(safeUrl('https://a.example/x?y#z'), 'https://a.example/x?y#z')
    for (const text of [
      'javascript:alert(1)',
      ' JaVaScRiPt:alert(1)',
      'data:text/html,x',
      'blob:x',
      'file:///etc/passwd',
      '/relative',
      'vbscript:x',
      '',
      null,
      '<img>',
    ]) {
      assert.equal(safeUrl(text), null, String(text))
    }
  })
})

describe('tokens', () => {
  test('are read', () => assert.equal(readToken(token({ email: 'zoë@example.com' }))?.email, 'zoë@example.com'))
  test('that are none are not', () => {
    for (const text of ['', 'a.b', 'a.b.c', 'h.bnVsbA.s', token([1])]) assert.equal(readToken(text), null, text)
  })
  test('say nothing that is not of its type', () => {
    const claims = { sub: 1, email: { _$litType$: 1, strings: ['<b>'], values: [] }, role: ['x'], exp: 'never' }
    assert.deepEqual(readToken(token(claims)), { sub: undefined, email: undefined, role: undefined, exp: undefined })
  })
  test('that belong into no browser are known, also in an address', () => {
    assert.equal(secretName('sb_secret_x'), 'a secret key')
    assert.equal(secretName(token({ role: 'service_role' })), 'the service_role key')
    for (const key of ['', 'sb_publishable_x', token({ role: 'anon' })]) assert.equal(secretName(key), null)
  })
  test('of a server are refused, and so are old ones', () => {
    assert.match(tokenProblem(token({ role: 'service_role' }), 0) ?? '', /service_role/)
    assert.match(tokenProblem('sb_secret_x', 0) ?? '', /never/)
    assert.match(tokenProblem(token({ exp: 1 }), 2000) ?? '', /expired/)
    assert.equal(tokenProblem(token({ exp: 3, role: 'authenticated' }), 2000), null)
  })
})

describe('what goes wrong', () => {
  test('is sorted', () => {
    assert.equal(troubleOf({ status: 500, code: '57014' }, false), 'bound')
    assert.equal(troubleOf({ status: 0 }, true), 'bound')
    assert.equal(troubleOf({ status: 0 }, false), 'offline')
    assert.equal(troubleOf({ status: 503 }, false), 'offline')
    assert.equal(troubleOf({ status: 401, code: 'PGRST303' }, false), 'signed_out')
    assert.equal(troubleOf({ status: 401, code: '42501' }, false), 'denied')
    assert.equal(troubleOf({ status: 403, code: '42501' }, false), 'denied')
    assert.equal(troubleOf({ status: 404, code: 'PGRST202' }, false), 'missing')
    assert.equal(troubleOf({ status: 404, code: 'PT404' }, false), 'refused')
    assert.equal(troubleOf({ status: 429 }, false), 'crowded')
  })
  test('is waited out if it passes', () => {
    for (const status of [0, 429, 502, 503, 504])
      assert.equal(isPassing(new ApiError({ status })), true, String(status))
    for (const status of [400, 403, 404, 500]) assert.equal(isPassing(new ApiError({ status })), false, String(status))
  })
  test('may have been done all the same, if the answer is what is missing', () => {
    assert.equal(isUncertain(new ApiError({ status: 0 })), true)
    assert.equal(isUncertain(new ApiError({ status: 0 }, true)), true)
    assert.equal(isUncertain(new ApiError({ status: 504 })), true)
    // the server has stopped, and so undone it
    assert.equal(isUncertain(new ApiError({ status: 500, code: '57014' })), false)
    assert.equal(isUncertain(new ApiError({ status: 410, code: 'PT410' })), false)
  })
  test('is a sentence', () => {
    const error = new ApiError({
      status: 400,
      code: '22023',
      message: 'filter key "since" is no time',
      details: null,
      hint: 'For example "2 hours".',
    })
    assert.equal(errorSentence(error), 'Filter key "since" is no time. For example "2 hours".')
    assert.match(errorSentence(new ApiError({ status: 0 })), /cannot be reached/)
    assert.equal(errorSentence(new Error('x')), 'x')
  })
})
