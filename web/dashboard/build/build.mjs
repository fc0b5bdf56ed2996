#!/usr/bin/env node
// Builds web/dist/dashboard.html: one file with everything in it, the same bytes from the same sources.
// With --check nothing is written: it fails if what is there is not what would be.

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'vite'
import { leanClients } from './lean-clients.mjs'
import { leanTemplates } from './lean-templates.mjs'
import { licences, notices } from './licences.mjs'
import { page } from './page.mjs'
import { UNUSED_CLASSES } from './unasked.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const PAGE = fileURLToPath(new URL('../../dist/dashboard.html', import.meta.url))
const LICENCES = fileURLToPath(new URL('../../LICENSES.md', import.meta.url))
const MOST_BYTES = 250_000
const MOST_GZIPPED = 90_000

async function bundle() {
  const { output } = await build({
    configFile: false,
    root: ROOT,
    logLevel: 'warn',
    plugins: [leanClients(), leanTemplates()],
    css: { lightningcss: { unusedSymbols: UNUSED_CLASSES } },
    build: {
      write: false,
      target: ['chrome123', 'firefox120', 'safari17.5'],
      modulePreload: false,
      cssCodeSplit: false,
      assetsInlineLimit: 0,
      rolldownOptions: {
        input: `${ROOT}src/main.ts`,
        output: {
          format: 'es',
          codeSplitting: false,
          // the libraries write _name for what is theirs alone
          minify: { compress: true, mangle: true, mangleProps: { include: /^_[A-Za-z]/ } },
        },
      },
    },
  })
  const chunks = output.filter((part) => part.type === 'chunk')
  const styles = output.filter((part) => part.type === 'asset' && part.fileName.endsWith('.css'))
  if (chunks.length !== 1 || styles.length !== 1 || output.length !== 2) {
    throw new Error(`expected one script and one style sheet, got ${output.map((part) => part.fileName).join(', ')}`)
  }
  return { script: chunks[0].code, style: String(styles[0].source), modules: Object.keys(chunks[0].modules) }
}

function checkSize(html) {
  const bytes = Buffer.byteLength(html)
  const gzipped = gzipSync(html, { level: 9 }).length
  console.log(`dashboard.html: ${bytes} bytes, ${gzipped} gzipped`)
  if (bytes > MOST_BYTES) throw new Error(`the page has more than ${MOST_BYTES} bytes`)
  if (gzipped > MOST_GZIPPED) throw new Error(`the page has more than ${MOST_GZIPPED} bytes gzipped`)
}

async function isSame(path, text) {
  const old = await readFile(path, 'utf8').catch(() => null)
  if (old !== text) console.error(`${path} is not what the sources make: run npm run build`)
  return old === text
}

const { script, style, modules } = await bundle()
const packages = await licences(modules)
const html = page(script, style, notices(packages))
const list = `${[
  '# Licences',
  'What `dist/dashboard.html` contains of others. Made by `npm run build`.',
  notices(packages),
].join('\n\n')}\n`
checkSize(html)
if (process.argv.includes('--check')) {
  const same = [await isSame(PAGE, html), await isSame(LICENCES, list)]
  if (same.includes(false)) process.exit(1)
} else {
  await mkdir(new URL('../../dist', import.meta.url), { recursive: true })
  await writeFile(PAGE, html)
  await writeFile(LICENCES, list)
}
