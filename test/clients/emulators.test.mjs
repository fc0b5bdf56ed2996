// The command lines of the stand-ins: --help names every option that a program
// takes, and whatever it does not take ends it before it has done anything.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const folder = fileURLToPath(new URL('../emulator/', import.meta.url))
const recorder = fileURLToPath(new URL('./fixtures/record-options.cjs', import.meta.url))
const anyFile = fileURLToPath(import.meta.url)
const programs = readdirSync(folder).filter((name) => name.endsWith('.mjs'))

/** What a program cannot do without, and values that it must refuse. */
const EXPECTED = {
  'auth.mjs': { needs: [], bad: [['--user', '{'], ['--user', '[]'], ['--user', '{"password": "x"}'], ['--user', '{"email": "a@b.c", "pasword": "x"}'],
    ['--jwt-exp', '1h'], ['--site-url', 'localhost'], ['--external-url', 'localhost'], ['--mail-interval-ms', '-1'], ['--reuse-interval-ms', 'x']] },
  'edge.mjs': { needs: [anyFile], bad: [['--env', 'NAME'], ['--env', '=value']] },
  'fal.mjs': { needs: [], bad: [['--key', 'id'], ['--admin-key', 'id'], ['--balance', 'ten'], ['--balance', '1.0000000001'], ['--render', 'film'], ['--seed', '1.5'], ['--default', '{'], ['--default', '[]'],
    ['--default', '{"que_ms": 1}'], ['--default', '{"billing": {"units": "some"}}'], ['--default', '{"media": {"byte": 1}}'], ['--tls-cert', '/nowhere'], ['--tls-cert', anyFile]] },
  'front.mjs': { needs: ['--to', 'http://127.0.0.1:1', '--cert', anyFile, '--key', anyFile],
    bad: [['--to', '127.0.0.1:1'], ['--cert', '/nowhere'], ['--key', '/nowhere']] },
  'gateway.mjs': { needs: ['--rest', 'http://127.0.0.1:1', '--storage', 'http://127.0.0.1:2', '--auth', 'http://127.0.0.1:3'],
    bad: [['--rest', '127.0.0.1:1'], ['--files', '/path'], ['--files', 'path=folder']] },
  'postgrest.mjs': { needs: ['--db-host', '/nowhere', '--db-port', '1'],
    bad: [['--db-port', '0'], ['--gateway', 'nginx'], ['--open-route', '/path'], ['--max-rows', 'all'], ['--pool', '-1'], ['--pool-timeout-ms', '1s']] },
  'proxy.mjs': { needs: [], bad: [] },
  'storage.mjs': { needs: [], bad: [['--bucket', 'videos:open'], ['--bucket', 'videos:public:1MB'], ['--limit', '1MB'], ['--seed', 'x'], ['--s3-key', 'id'],
    ['--public-url', 'storage'], ['--tus-location', 'there'], ['--tus-expiry-ms', 'x'], ['--tus-lock-ms', '']] },
}

/** Runs it; standard input is at its end, so that nothing stays that should not have begun. */
function run(name, args, flags = []) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, join(folder, name), ...args],
    { input: '', encoding: 'utf8', timeout: 20_000 })
  return { status, stdout, stderr }
}

function refuses(name, args, message) {
  const { status, stdout, stderr } = run(name, ['--exit-with-stdin', ...args])
  assert.equal(status, 2, `${name} ${args.join(' ')}: ${stdout}${stderr}`)
  assert.equal(stdout, '')
  assert.match(stderr, message)
  assert.match(stderr, new RegExp(`^Usage: node test/emulator/${name} `, 'm'))
  assert.doesNotMatch(stderr, /^ {4}at /m)
}

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

test('every stand-in is a program, and its values are tried', () => {
  assert.deepEqual(programs, Object.keys(EXPECTED))
  for (const name of programs) assert.match(readFileSync(join(folder, name), 'utf8'), /^#!\/usr\/bin\/env node\n/, name)
})

for (const name of programs) {
  const { needs, bad } = EXPECTED[name]
  const helped = run(name, ['--help'], ['--require', recorder])
  const asked = helped.stderr.split('\n').filter((line) => line.startsWith('{')).map(JSON.parse)
  const options = Object.entries(asked[0]?.options ?? {})
  // wrapped lines as one
  const help = helped.stdout.replace(/\n {30}/g, ' ')

  describe(name, () => {
    test('--help prints what it is, each option with its default, and an example', () => {
      assert.equal(helped.status, 0, helped.stderr)
      assert.equal(asked.length, 1, 'it asks parseArgs')
      assert.ok(options.length > 1)
      assert.match(help, /^Usage: .*\n\n[A-Z][^]*\.\n\n/)
      for (const [option, { type, default: usual, short }] of options) {
        const line = help.match(new RegExp(`^ +${short ? `-${short}, ` : ''}--${option}( \\S+)? +\\S.*$`, 'm'))
        assert.ok(line, `--${option} is there`)
        assert.equal(Boolean(line[1]?.trim()), type === 'string', `--${option}: what it takes`)
        if (type === 'string' && usual?.length) assert.match(line[0], new RegExp(`default: ${escaped(usual)}\\)`), `--${option}: its default`)
      }
      const [, example] = help.match(/^Example:\n {2}node test\/emulator\/(.*)\n$/m)
      const words = example.match(/'[^']*'|\S+/g).map((word) => word.replace(/^'|'$/g, ''))
      assert.equal(words[0], name)
      parseArgs({ args: words.slice(1), options: Object.fromEntries(options), allowPositionals: name === 'edge.mjs' })
    })

    test('-h does the same', () => {
      assert.deepEqual(run(name, ['-h']), { ...helped, stderr: '' })
    })

    test('what it does not know ends it', () => {
      refuses(name, [...needs, '--no-such-option'], /unknown option '--no-such-option'$/m)
      refuses(name, [...needs, 'no-such-argument'], name === 'edge.mjs' ? /takes one FILE$/m : /unexpected argument 'no-such-argument'$/m)
      for (const [option, { type }] of options) {
        if (type === 'string') refuses(name, [...needs, `--${option}`], /argument missing$/m)
        else refuses(name, [...needs, `--${option}=yes`], /does not take an argument$/m)
      }
    })

    test('so does a bad value', () => {
      for (const args of bad) refuses(name, [...needs, args[0].concat('=', args[1])], new RegExp(`^${name}: ${args[0]} `, 'm'))
      for (const [option] of options.filter(([option]) => /(^|-)port$/.test(option))) {
        for (const value of ['x', '', '-1', '1.5', '65536', '80 ']) refuses(name, [...needs, `--${option}=${value}`], new RegExp(`^${name}: --${option} must be a whole number`, 'm'))
      }
    })

    if (needs.length) {
      test('so does the lack of what it needs', () => {
        for (let i = 0; i < needs.length; i += 2) refuses(name, [...needs.slice(0, i), ...needs.slice(i + 2)], /is missing$|takes one FILE$/m)
      })
    }
  })
}
