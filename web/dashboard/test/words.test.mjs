// What the inbox can say has a title.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const read = (name) => readFileSync(new URL(`../../../${name}`, import.meta.url), 'utf8')
const sql = readdirSync(new URL('../../../sql', import.meta.url))
  .filter((name) => !name.includes('--'))
  .map((name) => read(`sql/${name}`))
  .join('\n')

test('each kind of line that the database can make, and no other', () => {
  const [, titles] = /^export const NEEDS.*?\{\n(.*?)^\}/ms.exec(read('web/dashboard/src/lib/words.ts'))
  const [, listed] = /docs:inbox -->\n(.*?)\n\n/s.exec(read('doc/operations.md'))
  const kinds = new Set([...listed.matchAll(/^\| `(\w+)` \|/gm)].map(([, kind]) => kind))
  for (const [, kind] of sql.matchAll(/vibevideo_internal\.need\('+(\w+)'/g)) kinds.add(kind)
  const body = /FUNCTION vibevideo_internal\.needs_of_failures.*?^END;/ms.exec(sql)[0]
  for (const [, a, b] of body.matchAll(/'(\w+)' AS kind|(?:THEN|ELSE) '(\w+)'/g)) kinds.add(a ?? b)
  assert.equal(
    [...sql.matchAll(/vibevideo_internal\.need\((?!'|kind text|text,)/g)].length,
    1,
    'those that are no literals are there',
  )
  assert.deepEqual([...titles.matchAll(/^ {2}(\w+): '/gm)].map(([, kind]) => kind).sort(), [...kinds].sort())
})
