// The TypeScript of the manual, type-checked against the real supabase-js and
// React, with types of the database as they are generated; and its YAML.

import assert from 'node:assert/strict'
import { basename, dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { parse } from 'yaml'
import { blocks, yamlBlocks } from './manual.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const folder = join(here, 'fixtures', 'manual')
// the component is not installed here, and is its source
const element = (name) => [join(here, '../../web/element/src', name)]
const paths = { 'vibe-video': element('index.ts'), 'vibe-video/react': element('react.ts'), 'vibe-video/core': element('core.ts'),
  react: [join(here, 'node_modules/@types/react')] }
const options = { paths, strict: true, noEmit: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler, jsx: ts.JsxEmit.ReactJSX, types: [], skipLibCheck: true,
  lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'] }

// Files of the language and of the clients are read once.
const known = new Map()
const disk = ts.createCompilerHost(options)

/** What the compiler has to say about a block, as if it were a file of an app. */
function complaints({ kind, code }) {
  const file = join(folder, `block.${kind}`)
  // top-level await is for modules
  const text = `${code}\nexport {}\n`
  const host = { ...disk,
    fileExists: (name) => name === file || disk.fileExists(name),
    readFile: (name) => name === file ? text : disk.readFile(name),
    getSourceFile(name, version) {
      if (name === file) return ts.createSourceFile(name, text, version)
      if (!known.has(name)) known.set(name, disk.getSourceFile(name, version))
      return known.get(name)
    } }
  const program = ts.createProgram([join(folder, 'ambient.d.ts'), file], options, host)
  // what the component imports is its own matter
  const sources = program.getSourceFiles().filter(({ fileName }) => fileName.startsWith(folder))
  return [...program.getOptionsDiagnostics(), ...sources.flatMap((source) => ts.getPreEmitDiagnostics(program, source))].map((d) => {
    const where = d.file ? `${basename(d.file.fileName)}:${d.file.getLineAndCharacterOfPosition(d.start).line + 1}: ` : ''
    return where + ts.flattenDiagnosticMessageText(d.messageText, '\n')
  })
}

test('the manual has blocks of both kinds', () => {
  assert.deepEqual([...new Set(blocks.map((b) => b.kind))].sort(), ['ts', 'tsx'])
})

for (const block of blocks) {
  test(`${block.file}: ${block.kind} block at line ${block.line}`, () => assert.deepEqual(complaints(block), []))
}

// The check is strict enough to find what goes wrong most easily.
const wrong = {
  'a misspelt function': ["await supabase.rpc('vibevideo_sumbit', { vibelog_id: id })", /vibevideo_sumbit/],
  'a misspelt argument': ["await supabase.rpc('vibevideo_submit', { id })", /'id' does not exist|not assignable/],
  'a generated field taken for not null': [
    "const { data } = await supabase.rpc('vibevideo_status', { vibelog_id: id })\nif (data) data.message.length", /possibly 'null'/],
  'a misspelt column': ["const { data } = await supabase.from('vibelogs').select('*').single()\nconsole.log(data?.video_status)", /video_status/],
  'a misspelt attribute of the component': ["import 'vibe-video/react'\nexport const it = <vibe-video vibelogid=\"1\" />", /vibelogid/, 'tsx'],
  'a misspelt event of the component': ["import 'vibe-video'\ndocument.addEventListener('vibe-status', () => {})\ndocument.createElement('vibe-video').addEventListener('vibe-ready', ({ detail }) => detail.film)", /film/],
  'a method that Storage has not': ["await supabase.storage.from('videos').createSignedURL('x', 60)", /createSignedURL/],
}
for (const [name, [code, message, kind = 'ts']] of Object.entries(wrong)) {
  test(`the type check finds ${name}`, () => assert.match(complaints({ kind, code }).join('\n'), message))
}

// ---- YAML -----------------------------------------------------------------------

for (const { file, line, code } of yamlBlocks) {
  test(`${file}: yaml block at line ${line}`, () => assert.equal(typeof parse(code), 'object'))
}

const yaml = (name) => parse(yamlBlocks.find((block) => block.name === name).code)

// What else a route of these gateways would do to a call: nothing of it may be left.
test("the webhook's route in Envoy wants no key and no password", () => {
  const FILTER = 'type.googleapis.com/envoy.config.route.v3.FilterConfig'
  assert.deepEqual(yaml('webhook-envoy'), [{
    match: { path: '/rest/v1/rpc/vibevideo_webhook' },
    route: { cluster: 'rest', prefix_rewrite: '/rpc/vibevideo_webhook', timeout: '30s' },
    // the filters of lds.template.yaml that refuse a call; its scripts look at names that this route has not
    typed_per_filter_config: {
      'envoy.filters.http.basic_auth': { '@type': FILTER, disabled: true },
      'envoy.filters.http.rbac': { '@type': FILTER, disabled: true },
    },
  }])
})

test("the webhook's service in Kong has no plugin", () => {
  const [service] = yaml('webhook-kong')
  assert.deepEqual(Object.keys(service), ['name', 'url', 'routes'])
  assert.equal(service.url, 'http://rest:3000/rpc/vibevideo_webhook')
  assert.deepEqual(service.routes, [{ name: 'vibevideo-webhook', strip_path: true, paths: ['/rest/v1/rpc/vibevideo_webhook'] }])
})
