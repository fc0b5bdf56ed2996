// The element reads some of the extension's words.  They must be its words.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { isMade, isRejected, isUncharged } from '../dist/core.js'
import { english } from '../dist/index.js'
import { failed, video } from '../dev/fake.js'

const read = (name) => readFileSync(new URL(`../../../${name}`, import.meta.url), 'utf8')
const schema = read('sql/schema.sql')
const shownError = /CREATE FUNCTION vibevideo_internal\.shown_error.*?^END;/ms.exec(schema)[0]

/** The sentences for failed jobs: class, sentence; the class made is of those whose video was made. */
const [, made, rest] = /generated_at IS NOT NULL THEN(.*?)ELSE CASE vibevideo\.error_class(.*?)END END/s.exec(shownError)
const sentences = (text) => [...text.matchAll(/'(The video [^']*|The provider [^']*|No new [^']*)'/g)].map(([, sentence]) => sentence)

test('a video that was made is known by its sentence, and no other', () => {
  assert.equal(sentences(made).length, 2)
  for (const sentence of sentences(made)) assert.equal(isMade(failed(sentence)), true, sentence)
  assert.ok(sentences(rest).length >= 7)
  for (const sentence of sentences(rest)) assert.equal(isMade(failed(sentence)), false, sentence)
})

test('so is an input that is rejected', () => {
  const classes = [...rest.matchAll(/WHEN '(\w+)' THEN (?:concat_ws\(': ', )?'([^']+)'/g)].map(([, name, sentence]) => [name, sentence])
  assert.ok(classes.length >= 6)
  for (const [name, sentence] of classes) assert.equal(isRejected(failed(sentence)), name === 'policy' || name === 'input', sentence)
  for (const sentence of sentences(made)) assert.equal(isRejected(failed(sentence)), false, sentence)
})

test('the codes of a lost submit are those of the extension', () => {
  const [, list] = /docs:error_codes -->\n(.*?)\n\n/s.exec(read('doc/vibevideo.md'))
  const lost = [...list.matchAll(/^\| `(\w+)` \|[^|]*\| lost submit|^\| `(\w+)` \|[^|]*\| a lost submit/gm)].map(([, a, b]) => a ?? b)
  assert.deepEqual(lost.sort(), ['answer_lost', 'submit_lost'])
  const never = { request_id: null, submitted_at: null }
  for (const error_code of lost) assert.equal(isUncharged(failed('It was lost', { ...never, error_code })), false)
})

test('the type has the fields that the SQL has, in that order', () => {
  const [, columns] = /CREATE TYPE vibevideo\.video AS \((.*?)\)/s.exec(schema)
  const sql = [...columns.matchAll(/(\w+) (text|int|real|timestamptz)/g)].map(([, name]) => name)
  const [, fields] = /export interface Video \{(.*?)^\}/ms.exec(readFileSync(new URL('../src/core.ts', import.meta.url), 'utf8'))
  assert.deepEqual([...fields.matchAll(/^ {2}(\w+):/gm)].map(([, name]) => name), sql)
  assert.deepEqual(Object.keys(video()), sql)
})

test("errors that are written for people are shown, others are not", () => {
  const refused = (code, status) => english.refused({ code, status, message: 'the prompt is too long', hint: 'Shorten it.' })
  for (const [code, status] of [['22023', 400], ['PT402', 402], ['PT422', 422], ['PT429', 429]]) assert.equal(refused(code, status), 'The prompt is too long. Shorten it.')
  for (const [code, status] of [['PT404', 404], ['42501', 403], ['42501', 401]]) assert.match(refused(code, status), /not yours/)
  for (const [code, status] of [['55000', 500], ['', 0], ['P0001', 400]]) assert.doesNotMatch(refused(code, status), /prompt/)
})

test('sentences are put together as a person would', () => {
  assert.equal(english.refused({ code: 'PT429', status: 429, message: 'too many', hint: '' }), 'Too many.')
  assert.equal(english.reason(failed('The provider cannot use this input: prompt: Is this a text?')), 'The provider cannot use this input: prompt: Is this a text?')
  assert.equal(english.reason(failed('The video took too long')), 'The video took too long.')
  assert.equal(english.reason(failed('The provider rejects this content (prompt: It shows a brand.)')), 'The provider rejects this content (prompt: It shows a brand.)')
  assert.equal(english.reason(failed('The provider cannot use this input (prompt: too long)')), 'The provider cannot use this input (prompt: too long).')
  assert.deepEqual([3, 42, 60, 89, 184, 3600].map(english.estimate), ['about 5 s', 'about 45 s', 'about 1 min', 'about 1 min', 'about 3 min', 'about 60 min'])
})
