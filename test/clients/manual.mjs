// The TypeScript and YAML of the manual, README.md and doc/. As a program it runs one
// block the way an app would, with a real supabase-js:
//
//   node manual.mjs BLOCK    BLOCK: its name, as <!-- recipe: NAME --> says
//
// Reads JSON from standard input: gateway (PostgREST's URL at the gateway), key
// (what that wants), storage (Storage's own URL), token (a user's JWT), id (a
// row's key). Prints JSON: the error, or what the block logged, and the HTTP
// statuses of its calls.

import { readdirSync, readFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

const top = new URL('../../', import.meta.url)
const files = ['README.md', ...readdirSync(new URL('doc/', top)).filter((name) => name.endsWith('.md')).map((name) => `doc/${name}`)]

function blocksOf(file) {
  const text = readFileSync(new URL(file, top), 'utf8')
  return [...text.matchAll(/^(?:<!-- recipe: ([\w-]+) -->\n)?```(tsx?|yaml)\n(.*?)^```$/gms)].map(({ 1: name, 2: kind, 3: code, index }) => ({
    name, kind, code, file, line: text.slice(0, index).split('\n').length }))
}

/** Every block of TypeScript: its kind, its code, the name it has, if any, and where it stands. */
export const blocks = files.flatMap(blocksOf).filter(({ kind }) => kind !== 'yaml')
/** Every block of YAML. */
export const yamlBlocks = files.flatMap(blocksOf).filter(({ kind }) => kind === 'yaml')

const APP = 'http://app.test'

/** A fetch to an app's one address, as a gateway would split it. */
function splitter({ gateway, storage }, calls) {
  return async (input, options) => {
    const { pathname, search } = new URL(input)
    const to = pathname.startsWith('/storage/v1/') ? storage + pathname.slice('/storage/v1'.length) : new URL(pathname, gateway)
    const answer = await fetch(to + search, options)
    calls.push(`${options?.method ?? 'GET'} ${pathname} ${answer.status}`)
    return answer
  }
}

async function run(name, given) {
  const { createClient } = await import('@supabase/supabase-js')
  const ts = (await import('typescript')).default
  const calls = []
  const log = []
  const fetchThrough = splitter(given, calls)
  const supabase = createClient(APP, given.key, { accessToken: async () => given.token, global: { fetch: fetchThrough },
    // Node.js has no WebSocket before 22; none is opened here
    realtime: { transport: class {} } })
  const { code } = blocks.find((block) => block.name === name)
  const { outputText } = ts.transpileModule(`${code}\nexport {}`, { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022 } })
  const body = outputText.replace(/^export \{\};?$/m, '')
  const AsyncFunction = (async () => {}).constructor
  // the block's own waits are for people, not for tests
  const soon = (then, ms) => setTimeout(then, Math.min(ms, 50))
  const scope = { supabase, id: given.id, console: { log: (...words) => log.push(...words) }, setTimeout: soon }
  try {
    const video = await new AsyncFunction(...Object.keys(scope), `${body}\nreturn typeof video === 'undefined' ? null : video`)(...Object.values(scope))
    const opened = log.filter((word) => String(word).startsWith(APP))
    const files = await Promise.all(opened.map(async (url) => {
      const answer = await fetchThrough(url)
      return { status: answer.status, type: answer.headers.get('content-type'), head: Buffer.from(await answer.arrayBuffer()).toString('latin1', 4, 8) }
    }))
    return { video, log, files, calls }
  } catch (error) {
    return { error: { message: error.message, code: error.code }, log, calls }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(JSON.stringify(await run(process.argv[2], JSON.parse(await text(process.stdin)))))
}
