// auth-js brings what this page never does: sign-up, passkeys, wallets, administration of users. Of its two classes
// only the methods stay that ours lead to. A name below that a new version does not have any more stops the build.

import { parseAst } from 'vite'

const ROOTS = {
  GoTrueClient: [
    'constructor',
    'initialize',
    'signInWithPassword',
    'signInWithOtp',
    'getSession',
    'signOut',
    'onAuthStateChange',
  ],
  GoTrueAdminApi: ['constructor', 'signOut'],
}
const CLIENT = '@supabase/auth-js/dist/module/GoTrueClient.js'
const INDEX = '\0lean-auth'

const named = (member) => member.key?.name
const isClass = (node) => node.type === 'ClassDeclaration'
const bodyOf = (ast) => ast.body.map((node) => node.declaration ?? node).find(isClass).body.body

/** Groups of methods that the constructor makes: this.passkey = { list: this._list.bind(this), … }. */
function groupsOf(making, code) {
  return making.value.body.body.filter(({ type, expression, start, end }) => {
    const group = type === 'ExpressionStatement' && expression.right?.type === 'ObjectExpression'
    return group && code.slice(start, end).includes('.bind(this)')
  })
}

function reached(members, roots, code, groups) {
  const known = new Map(members.map((member) => [named(member), member]))
  const todo = [...roots]
  const kept = new Set()
  for (let name = todo.pop(); name; name = todo.pop()) {
    if (kept.has(name)) continue
    kept.add(name)
    const { start, end } = known.get(name)
    let text = code.slice(start, end)
    if (name === 'constructor') for (const group of groups) text = text.replace(code.slice(group.start, group.end), '')
    for (const [, ref] of text.matchAll(/\bthis\.(\w+)/g)) if (known.has(ref)) todo.push(ref)
  }
  return kept
}

function prune(code, roots) {
  const members = bodyOf(parseAst(code)).filter(
    (member) => member.type === 'MethodDefinition' && member.kind !== 'get' && member.kind !== 'set',
  )
  const missing = roots.find((root) => !members.some((member) => named(member) === root))
  if (missing) throw new Error(`auth-js has no ${missing} any more`)
  const groups = groupsOf(
    members.find((member) => named(member) === 'constructor'),
    code,
  )
  const kept = reached(members, roots, code, groups)
  const cuts = [...groups, ...members.filter((member) => !kept.has(named(member)))]
  let lean = code
  for (const { start, end } of cuts.sort((a, b) => b.start - a.start)) lean = lean.slice(0, start) + lean.slice(end)
  return lean
}

export function leanAuth() {
  let client = ''
  return {
    name: 'lean-auth',
    enforce: 'pre',
    async resolveId(source, importer, options) {
      // its index asks for more of it
      if (source === '@supabase/auth-js') {
        client = (await this.resolve(CLIENT, importer)).id
        return INDEX
      }
      if (!importer?.includes('/@supabase/auth-js/') && importer !== INDEX) return null
      const found = await this.resolve(source, importer, { ...options, skipSelf: true })
      return found && { ...found, moduleSideEffects: false }
    },
    load(id) {
      return id === INDEX ? `export { default as GoTrueClient } from ${JSON.stringify(client)}` : null
    },
    transform(code, id) {
      const name = /\/@supabase\/auth-js\/.*\/(\w+)\.js$/.exec(id)?.[1]
      return name && name in ROOTS ? { code: prune(code, ROOTS[name]), map: null } : null
    },
  }
}
