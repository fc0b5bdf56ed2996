// The package as it would be published.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { registryItemSchema } from 'shadcn/schema'
import ts from 'typescript'

const MOST = 12000
const here = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url))
const work = mkdtempSync(join(tmpdir(), 'vibe-video-'))
let archive
let tarball
let files

before(() => {
  const [packed] = JSON.parse(execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', work], { cwd: here('.'), encoding: 'utf8' }))
  archive = join(work, packed.filename)
  tarball = readFileSync(archive)
  files = packed.files.map(({ path }) => path).sort()
})
after(() => rmSync(work, { recursive: true, force: true }))

test('it holds what is built, and nothing else', () => {
  assert.deepEqual(files, ['LICENSE', 'README.md', 'dist/core.d.ts', 'dist/core.js', 'dist/index.d.ts', 'dist/index.js', 'dist/index.js.LEGAL.txt',
    'dist/labels.d.ts', 'dist/react.d.ts', 'dist/react.js', 'package.json'])
})

test(`the element is at most ${MOST} bytes, with lit, as a server compresses it`, (t) => {
  const [index, core, react] = ['index', 'core', 'react'].map((name) => gzipSync(readFileSync(here(`dist/${name}.js`)), { level: 9 }).length)
  t.diagnostic(`index.js ${index}, core.js ${core}, react.js ${react}`)
  assert.ok(index + core <= MOST, `${index} + ${core}`)
})

test('it imports nothing but itself, and React for the hook', () => {
  for (const [name, imports] of [['index', ['./core.js']], ['core', []], ['react', ['./core.js', 'react']]]) {
    const code = readFileSync(here(`dist/${name}.js`), 'utf8')
    assert.deepEqual([...new Set([...code.matchAll(/(?:from|import)\s*"([^"]+)"/g)].map(([, from]) => from))].sort(), imports)
  }
})

test('lit is named with its licence', () => {
  const text = readFileSync(here('dist/index.js.LEGAL.txt'), 'utf8')
  assert.match(text, /Google LLC\s*\* SPDX-License-Identifier: BSD-3-Clause/)
  assert.match(text, /Redistribution and use in source and binary forms/)
})

test('publint finds nothing', async () => {
  const { messages, pkg } = await publint({ pack: { tarball: tarball.buffer.slice(tarball.byteOffset, tarball.byteOffset + tarball.byteLength) }, strict: true })
  assert.deepEqual(messages.map((message) => formatMessage(message, pkg, { color: false })), [])
})

test('are the types wrong? Not for whoever can import an ES module', () => {
  const attw = fileURLToPath(new URL('dist/index.js', import.meta.resolve('@arethetypeswrong/cli/package.json')))
  execFileSync(process.execPath, [attw, archive, '--profile', 'esm-only', '--no-color', '--no-emoji'], { stdio: 'pipe' })
})

// ---- types ------------------------------------------------------------------------

/** What the compiler says of an app that has the package, React and supabase-js. */
function complaints(code, name = 'app.tsx') {
  const app = mkdtempSync(join(work, 'app-'))
  mkdirSync(join(app, 'node_modules'))
  for (const dependency of ['react', '@types', '@supabase', 'csstype', 'lit', 'lit-html', '@lit', 'lit-element']) {
    try { symlinkSync(here(`../node_modules/${dependency}`), join(app, 'node_modules', dependency)) } catch (error) { if (error.code !== 'EEXIST') throw error }
  }
  symlinkSync(here('.'), join(app, 'node_modules', 'vibe-video'))
  for (const [file, text] of Object.entries(typeof code === 'string' ? { [name]: code } : code)) {
    mkdirSync(join(app, file, '..'), { recursive: true })
    writeFileSync(join(app, file), text)
  }
  const program = ts.createProgram(Object.keys(typeof code === 'string' ? { [name]: code } : code).map((file) => join(app, file)), {
    strict: true, noEmit: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
    jsx: ts.JsxEmit.ReactJSX, types: [], lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'], skipLibCheck: true, preserveSymlinks: true })
  return ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}

const APP = `
import { createClient } from '@supabase/supabase-js'
import { PostgrestClient } from '@supabase/postgrest-js'
import { useRef } from 'react'
import { english, setClient, watch, type Video, type VibeVideoElement } from 'vibe-video'
import { useVibeVideo } from 'vibe-video/react'

type Row = { id: string }
type Database = { public: { Tables: { vibelogs: { Row: Row; Insert: Row; Update: Row; Relationships: [] } }; Views: {}; Enums: {}; CompositeTypes: {}
  Functions: { vibevideo_submit: { Args: { vibelog_id: string }; Returns: Row } } } }
const typed = createClient<Database>('https://x.test', 'key')
setClient(typed)
setClient(createClient('https://x.test', 'key'))
setClient(new PostgrestClient('https://x.test'))

export function App({ id }: { id: string }) {
  const ref = useRef<VibeVideoElement>(null)
  const { state, video, submit } = useVibeVideo(id, { client: typed })
  return <>
    <vibe-video ref={ref} vibelog-id={id} client={typed} price="$0.50" realtime labels={{ ...english, submit: 'Los' }} className="wide"
      onvibe-ready={({ detail }) => console.log(detail.video.video_url)} source={async (it) => it.video_url ?? ''}>
      <button slot="idle" onClick={() => ref.current?.submit()}>Go</button>
    </vibe-video>
    <button onClick={submit}>{state}: {video?.message}</button>
  </>
}

const element = document.createElement('vibe-video')
element.client = typed
element.addEventListener('vibe-error', ({ detail }) => console.log(detail.error?.message))
const video: Video | null = watch(1, { client: typed }).getSnapshot().video
console.log(video?.status === 'completed')
`

test('an app in TypeScript can use it with typed and untyped clients', () => assert.deepEqual(complaints(APP), []))

const wrong = {
  'a misspelt property': ["document.createElement('vibe-video').clients = null", /clients/],
  'a misspelt state': ["import { watch } from 'vibe-video/core'\nconsole.log(watch('1').getSnapshot().state === 'done')", /no overlap/],
  'a client that is none': ["import { setClient } from 'vibe-video/core'\nconst client = { from: () => null }\nsetClient(client)", /rpc/],
  'a label that does not exist': ["document.createElement('vibe-video').labels = { sumbit: 'x' }\n", /sumbit/],
}
for (const [name, [code, message]] of Object.entries(wrong)) {
  test(`the types find ${name}`, () => assert.match(complaints(`import 'vibe-video'\n${code}\nexport {}`).join('\n'), message))
}

// ---- the registry's item --------------------------------------------------------------

test("the registry's item is made of this source, and is one", () => {
  execFileSync(process.execPath, [here('registry.mjs'), '--check'], { stdio: 'pipe' })
  const item = JSON.parse(readFileSync(here('../registry/vibe-video.json')))
  assert.deepEqual(registryItemSchema.safeParse(item).error, undefined)
  const { error } = registryItemSchema.safeParse({ ...item, type: 'registry:nothing' })
  assert.ok(error)
})

test('what it copies compiles in an app', () => {
  const { files } = JSON.parse(readFileSync(here('../registry/vibe-video.json')))
  assert.deepEqual(complaints(Object.fromEntries(files.map(({ target, content }) => [target, content]))), [])
})
