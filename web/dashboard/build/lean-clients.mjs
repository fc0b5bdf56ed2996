// The libraries bring what this page never does. unasked.mjs says what they are not asked for; and the clients of
// Supabase have sign-up, passkeys, wallets, administration of users, queries of tables: of their classes only the
// methods stay that ours lead to. A name below that a new version does not have any more stops the build.

import { parseAst } from 'vite'
import { fold } from './fold.mjs'
import { AUTH_CLIENT, AUTH_HELPERS, CALLS, CHARTS } from './unasked.mjs'

const CLASSES = {
  '@supabase/auth-js/dist/module/GoTrueClient.js': {
    GoTrueClient: [
      'constructor',
      'initialize',
      'signInWithPassword',
      'signInWithOtp',
      'getSession',
      'signOut',
      'onAuthStateChange',
    ],
  },
  '@supabase/auth-js/dist/module/GoTrueAdminApi.js': { GoTrueAdminApi: ['constructor', 'signOut'] },
  '@supabase/postgrest-js/dist/index.mjs': {
    PostgrestBuilder: ['constructor', 'then'],
    PostgrestTransformBuilder: ['abortSignal'],
    PostgrestFilterBuilder: [],
    PostgrestClient: ['constructor', 'rpc'],
  },
}
const UNASKED = {
  '@supabase/auth-js/dist/module/GoTrueClient.js': AUTH_CLIENT,
  '@supabase/auth-js/dist/module/lib/helpers.js': AUTH_HELPERS,
  '@supabase/postgrest-js/dist/index.mjs': CALLS,
  'uplot/dist/uPlot.esm.js': CHARTS,
}
const FILES = [...new Set([...Object.keys(CLASSES), ...Object.keys(UNASKED)])]
const AUTH = '@supabase/auth-js/dist/module/GoTrueClient.js'
const INDEX = '\0lean-auth'

const named = (member) => member.key?.name

function classesOf(ast) {
  const nodes = ast.body.map((node) => node.declaration ?? node)
  const values = nodes.flatMap((node) => (node.declarations ?? []).map(({ id, init }) => init && { ...init, id }))
  return [...nodes, ...values].filter((node) => node && /^Class/.test(node.type))
}

/** Groups of methods that a constructor makes: this.passkey = { list: this._list.bind(this), … }. */
function groupsOf(member, code) {
  return (member.value.body?.body ?? []).filter(({ type, expression, start, end }) => {
    const group = type === 'ExpressionStatement' && expression.right?.type === 'ObjectExpression'
    return group && code.slice(start, end).includes('.bind(this)')
  })
}

/** The names that the roots lead to, by this.name, or _this.name as compilers write it. */
function reached(members, roots, textOf) {
  const todo = [...roots]
  const kept = new Set()
  for (let name = todo.pop(); name; name = todo.pop()) {
    if (kept.has(name)) continue
    kept.add(name)
    for (const member of members.filter((one) => named(one) === name)) {
      for (const [, ref] of textOf(member).matchAll(/\b(?:this|_this\d*)\.(\w+)/g)) todo.push(ref)
    }
  }
  return kept
}

function prune(code, wanted) {
  const found = classesOf(parseAst(code)).filter((one) => one.id.name in wanted)
  const members = []
  for (const [name, roots] of Object.entries(wanted)) {
    const own = found.find((one) => one.id.name === name)?.body.body.filter((m) => m.type === 'MethodDefinition')
    const missing = own ? roots.find((root) => !own.some((member) => named(member) === root)) : 'its body'
    if (missing) throw new Error(`${name} has no ${missing} any more`)
    members.push(...own)
  }
  const groups = members.filter((member) => member.kind === 'constructor').flatMap((member) => groupsOf(member, code))
  const textOf = ({ start, end }) =>
    groups.reduce((text, g) => text.replace(code.slice(g.start, g.end), ''), code.slice(start, end))
  const kept = reached(members, Object.values(wanted).flat(), textOf)
  const cuts = [...groups, ...members.filter((member) => !kept.has(named(member)))]
  let lean = code
  for (const { start, end } of cuts.sort((a, b) => b.start - a.start)) lean = lean.slice(0, start) + lean.slice(end)
  return lean
}

export function leanClients() {
  let client = ''
  return {
    name: 'lean-clients',
    enforce: 'pre',
    async resolveId(source, importer, options) {
      // its index asks for more of it
      if (source === '@supabase/auth-js') {
        client = (await this.resolve(AUTH, importer)).id
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
      const file = FILES.find((one) => id.endsWith(`/node_modules/${one}`))
      if (!file) return null
      const folded = file in UNASKED ? fold(code, UNASKED[file]) : code
      return { code: file in CLASSES ? prune(folded, CLASSES[file]) : folded, map: null }
    },
  }
}
