// What must not stand in our source.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const ROOT = new URL('../src', import.meta.url).pathname
const files = readdirSync(ROOT, { recursive: true }).filter((name) => name.endsWith('.ts'))
const read = (name) => readFileSync(join(ROOT, name), 'utf8')

const FORBIDDEN = [
  /\b(inner|outer)HTML\b/,
  /insertAdjacentHTML/,
  /unsafe(HTML|SVG|Static|CSS)/,
  /document\.write/,
  /\beval\s*\(/,
  /new Function\b/,
  /createContextualFragment/,
  /DOMParser/,
  /srcdoc/,
  /\bstyleMap\b/,
  /\bstyle=/,
  /\bon[a-z]+=["$]/,
  /setTimeout\(['"`]/,
  /javascript:/,
  /localStorage/,
]
// a link in a mail opens in another tab
const ALLOWED = { 'app/prefs.ts': [/localStorage/], 'app/mail-link.ts': [/localStorage/] }

test('nothing makes markup or code out of text', () => {
  assert.ok(files.length > 50)
  for (const name of files) {
    for (const pattern of FORBIDDEN) {
      if (ALLOWED[name]?.some((one) => one.source === pattern.source)) continue
      assert.doesNotMatch(read(name), pattern, name)
    }
  }
})

test('links out are checked, and tell nobody where they come from', () => {
  for (const name of files) {
    const code = read(name)
    for (const [tag] of code.matchAll(/<a\b[^>]*target=[^>]*>/gs)) {
      assert.match(tag, /rel="noopener noreferrer"/, name)
      assert.match(tag, /href=\$\{(safe|url)\}/, name)
      assert.match(code, /safeUrl\(/, name)
    }
    for (const [, value] of code.matchAll(/\bhref=\$\{([^}]*)/g)) {
      assert.match(value, /^(safe|url|link\(|jobLink\(|c\.href|t\.href)/, `${name}: ${value}`)
    }
    for (const [, value] of code.matchAll(/<(?:video|img)[^>]*\bsrc=\$\{([^}]*)/gs)) assert.equal(value, 'url', name)
  }
})
