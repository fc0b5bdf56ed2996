// All that a change of the dashboard must pass: types, style, unit tests, and that the built page, which is kept,
// is what the sources make, within its size.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const BIN = `${HERE}../node_modules/.bin/`

function run(command, ...args) {
  const env = { ...process.env }
  // a test runner of its own, not a part of this one
  delete env.NODE_TEST_CONTEXT
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: HERE, encoding: 'utf8', env })
  assert.equal(status, 0, `${stdout}\n${stderr}`)
}

test('the types fit', () => run(`${BIN}tsc`, '--noEmit'))
test('the style is kept', () => run(`${BIN}biome`, 'check', '.'))
test('the unit tests pass', () => run(process.execPath, 'build/test.mjs'))
test('the built page and the list of licences are what the sources make', () =>
  run(process.execPath, 'build/build.mjs', '--check'))
