#!/usr/bin/env node
// The built page with made-up jobs, as the database would serve it: same paths, same headers. For developing alone.
//
//   node dev/server.mjs [port]     then sign in with any mail address and the password "secret"

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { Refusal, RPC } from './api.mjs'

const PAGE = new URL('../../dist/dashboard.html', import.meta.url)
const port = Number(process.argv[2] ?? 8787)

async function servePage(response) {
  const html = await readFile(PAGE, 'utf8')
  const hash = (tag) =>
    `'sha256-${createHash('sha256')
      .update(new RegExp(`<${tag}[^>]*>([\\s\\S]*?)</${tag}>`).exec(html)[1])
      .digest('base64')}'`
  response.writeHead(200, {
    'Content-Type': 'text/html; charset=utf-8',
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Content-Security-Policy': `default-src 'none'; script-src ${hash('script')}; style-src ${hash('style')}; connect-src 'self'; img-src 'self' data:; media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lit-html`,
  })
  response.end(html)
}

function token() {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'HS256' })}.${part({ sub: 'u', email: 'ann@example.com', role: 'authenticated', exp: Math.floor(Date.now() / 1000) + 3600 })}.x`
}

const user = {
  id: 'u',
  aud: 'authenticated',
  role: 'authenticated',
  email: 'ann@example.com',
  app_metadata: {},
  user_metadata: {},
  created_at: new Date().toISOString(),
}

function auth(path, body) {
  if (path === '/auth/v1/settings') return [200, { external: { email: true } }]
  if (path === '/auth/v1/user') return [200, user]
  if (path === '/auth/v1/logout') return [204, null]
  if (path === '/auth/v1/otp') return [200, {}]
  if (body.password === 'secret' || body.refresh_token)
    return [200, { access_token: token(), token_type: 'bearer', expires_in: 3600, refresh_token: 'r', user }]
  return [400, { code: 400, error_code: 'invalid_credentials', msg: 'Invalid login credentials' }]
}

function rpc(path, body) {
  const name = path.replace('/rest/v1/rpc/vibevideo_admin_', '')
  if (!RPC[name])
    return [404, { code: 'PGRST202', message: `Could not find the function ${path}`, details: null, hint: null }]
  try {
    return [200, RPC[name](body)]
  } catch (error) {
    if (error instanceof Refusal)
      return [error.status, { code: error.code, message: error.message, details: null, hint: error.hint }]
    throw error
  }
}

createServer(async (request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost')
  if (pathname === '/rest/v1/rpc/vibevideo_dashboard') return servePage(response)
  let text = ''
  for await (const part of request) text += part
  const body = text ? JSON.parse(text) : {}
  const [status, answer] = pathname.startsWith('/auth/') ? auth(pathname, body) : rpc(pathname, body)
  response.writeHead(status, { 'Content-Type': 'application/json' })
  response.end(answer === null && status === 204 ? undefined : JSON.stringify(answer))
}).listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${port}/rest/v1/rpc/vibevideo_dashboard`))
