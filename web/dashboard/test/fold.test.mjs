// What the build puts in the place of a library's expressions.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fold } from '../build/fold.mjs'

/** What is left of a library by these rules. */
const left = (code, rules) => fold(code, rules).replace(/\s+/g, '').replaceAll('"', '`')

test('what is read is replaced, and what is dead by that goes', () => {
  const code = 'export class A { go() { if (this.lock != null) { wait(this.lock) } return this.locked } }'
  assert.equal(left(code, { 'this.lock': 'null' }), 'exportclassA{go(){returnthis.locked}}')
})

test('what is assigned to, declared or a name of a property is not read', () => {
  const code = 'export function f(o, dir) { o.dir = dir; let { dir: a } = o; return [a, { dir: 2 }] }'
  const lean = left(code, { dir: '1' })
  assert.match(lean, /o\.dir=1/)
  assert.match(lean, /\{dir:/)
  assert.match(lean, /functionf\(o,dir\)/)
})

test('calls are replaced whole, or those alone that are written so', () => {
  const code = 'export const a = f(1), b = f(2)'
  assert.equal(left(code, { 'f()': '0' }), 'exportconsta=0,b=0;')
  assert.equal(left(code, { 'f(2)': '0' }), 'exportconsta=f(1),b=0;')
})

test('an assignment goes, and leaves its value only to who takes it', () => {
  assert.equal(left('u.a = f; g()', { 'u.a =': null }), 'g();')
  assert.equal(left('let a = u.a = f(); g(a)', { 'u.a =': null }), 'leta=f();g(a);')
  assert.equal(left('u.a = f', { 'u.a =': '1' }), 'u.a=1;')
})

test('a variable begins otherwise, a condition is decided', () => {
  const code = 'export function f() { const show = o.show; if (o.x) a(); if (show) b() }'
  assert.equal(left(code, { 'const show': 'true', 'if (o.x)': 'false' }), 'exportfunctionf(){b()}')
})

test('rules of one function hold within it alone', () => {
  const code = 'export function f(x) { g(x) }\nexport function h(x) { g(x) }'
  assert.equal(left(code, { f: { x: '1' } }), 'exportfunctionf(x){g(1)}exportfunctionh(x){g(x)}')
})

test('a rule that fits nothing stops the build', () => {
  assert.throws(() => fold('g(a.b)', { 'a.b': '1', 'a.c': '2', f: { d: '3' } }), /a\.c, d$/)
})
