// Libraries can do more than this page ever asks for. Where we know what an expression of theirs comes to here, it is
// put in its place, and the minifier drops what then can never run. A rule that fits nothing stops the build: with
// a new version of a library, look whether what the rule says still holds.
//
// A rule names, in the library's own words, what is replaced, and what with:
//   'this.lock': 'null'        an expression that is read; never what is assigned to
//   'this._debug()': 'void 0'  calls of it, whatever their arguments
//   'const mode': '1'          what a variable begins with
//   'self.batch =': null       an assignment: gone; a text would be what is assigned
//   'if (this.jwks)': 'false'  a condition
// A rule whose value has rules of its own holds within the function of that name.

import { minifySync, parseAst } from 'vite'

const isNode = (value) => typeof value?.type === 'string'

/** The children of a node, those that are no expressions but names or targets apart. */
function* childrenOf(node) {
  for (const [key, value] of Object.entries(node)) {
    const name =
      (key === 'property' && node.type === 'MemberExpression' && !node.computed) ||
      (key === 'key' && !node.computed) ||
      (key === 'left' && node.type === 'AssignmentExpression') ||
      (key === 'argument' && node.type === 'UpdateExpression') ||
      ['id', 'params', 'label'].includes(key) ||
      (key === 'value' && node.shorthand)
    if (name) continue
    for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) yield child
  }
}

/** What a rule may call this node, each with what of it is replaced. */
function namesOf(node, textOf) {
  switch (node.type) {
    case 'CallExpression':
      return [
        [textOf(node), node],
        [`${textOf(node.callee)}()`, node],
      ]
    case 'NewExpression':
      return [[`new ${textOf(node.callee)}()`, node]]
    case 'AssignmentExpression':
      return [[`${textOf(node.left)} ${node.operator}`, node.right]]
    case 'IfStatement':
      return [[`if (${textOf(node.test)})`, node.test]]
    case 'VariableDeclaration':
      return node.declarations.map(({ id, init }) => [`${node.kind} ${textOf(id)}`, init])
    default:
      return /Expression$|^Identifier$/.test(node.type) ? [[textOf(node), node]] : []
  }
}

const isScope = (value) => typeof value === 'object' && value !== null

/** What a rule does: an assignment that goes leaves its value only where somebody takes that. */
function cut(node, place, value, isStatement) {
  if (value !== null) return { start: place.start, end: place.end, text: `(${value})` }
  return isStatement
    ? { start: node.start, end: node.end, text: 'void 0' }
    : { start: node.start, end: place.start, text: '' }
}

function collect(node, rules, textOf, found, isStatement) {
  const within = /Function/.test(node.type) && rules[node.id?.name]
  const here = isScope(within) ? { ...rules, ...within } : rules
  for (const [name, place] of namesOf(node, textOf)) {
    if (!Object.hasOwn(here, name) || isScope(here[name])) continue
    found.names.add(name)
    found.cuts.push(cut(node, place, here[name], isStatement))
  }
  for (const child of childrenOf(node)) collect(child, here, textOf, found, node.type === 'ExpressionStatement')
}

/** With the first of those that lie within each other alone. */
function replace(code, cuts) {
  let done = ''
  let at = 0
  for (const { start, end, text } of cuts.sort((a, b) => a.start - b.start || b.end - a.end)) {
    if (start < at) continue
    done += code.slice(at, start) + text
    at = end
  }
  return done + code.slice(at)
}

const namesIn = (rules) => Object.entries(rules).flatMap(([name, value]) => (isScope(value) ? namesIn(value) : [name]))

/** The code of a library with the rules applied, and without what they make dead. */
export function fold(code, rules) {
  const found = { names: new Set(), cuts: [] }
  const textOf = ({ start, end }) => code.slice(start, end)
  for (const node of parseAst(code).body) collect(node, rules, textOf, found, false)
  const unused = namesIn(rules).filter((name) => !found.names.has(name))
  if (unused.length > 0) throw new Error(`nothing fits any more: ${unused.join(', ')}`)
  // one statement each, for whoever cuts further
  const compress = { sequences: false, joinVars: false }
  const lean = minifySync('library.js', replace(code, found.cuts), { module: true, compress, mangle: false })
  if (lean.errors.length > 0) throw new Error(lean.errors[0].message)
  return lean.code
}
