// The schema cache: functions and tables of schema public, settings of roles.
// It is as old as its last reload, which a NOTIFY pgrst asks for.

import { ApiError } from './rest-errors.mjs'

const FUNCTIONS = `
SELECT coalesce(json_agg(json_build_object(
	'name', p.proname,
	'types', (SELECT json_agg(format_type(t, NULL) ORDER BY n) FROM unnest(p.proargtypes) WITH ORDINALITY a(t, n)),
	'names', p.proargnames, 'modes', p.proargmodes, 'defaults', p.pronargdefaults, 'variadic', p.provariadic <> 0,
	'volatile', p.provolatile = 'v', 'set', p.proretset, 'config', p.proconfig,
	'void', p.prorettype = 'void'::regtype, 'row', r.typtype = 'c' OR p.prorettype = 'record'::regtype,
	'result', CASE WHEN r.typtype = 'c' THEN r.typname ELSE p.proname END,
	'media', CASE WHEN r.typtype = 'd' AND r.typname LIKE '%/%' AND NOT p.proretset THEN r.typname END,
	'domain', quote_ident(n.nspname) || '.' || quote_ident(r.typname)) ORDER BY p.oid), '[]')::text
FROM pg_proc p JOIN pg_type r ON r.oid = p.prorettype JOIN pg_namespace n ON n.oid = r.typnamespace
WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype`

const TABLES = `
SELECT coalesce(json_agg(c.relname), '[]')::text FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`

// of the roles it may become, as far as they may set them
const ROLE_SETTINGS = `
SELECT coalesce(json_agg(json_build_array(r.rolname, split_part(c, '=', 1), substr(c, strpos(c, '=') + 1))), '[]')::text
FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c
WHERE s.setdatabase = 0 AND r.rolname <> session_user AND pg_has_role(session_user, r.oid, 'MEMBER')
  AND coalesce((SELECT g.context = 'user' FROM pg_settings g WHERE g.name = split_part(c, '=', 1)), true)`

// of a function, these count for the whole transaction
const HOISTED = ['statement_timeout', 'default_transaction_isolation']

function readFunction(row) {
  const types = row.types ?? []
  const modes = row.modes ?? types.map(() => 'i')
  const inputs = modes.flatMap((mode, i) => ('ibv'.includes(mode) ? [i] : []))
  const parameters = inputs.map((at, i) => ({
    name: row.names?.[at] ?? '', type: types[i],
    required: i < inputs.length - row.defaults, variadic: row.variadic && i === inputs.length - 1,
  }))
  const config = (row.config ?? []).map((text) => /^([^=]*)=(.*)$/s.exec(text).slice(1))
  const settings = Object.fromEntries(config.filter(([name]) => HOISTED.includes(name)))
  return { ...row, parameters, settings }
}

export async function loadSchema(session) {
  const json = async (sql) => JSON.parse((await session.query(sql))[0][0].toString('utf8'))
  const settings = await json(ROLE_SETTINGS)
  const roleSettings = new Map(settings.map(([role]) => [role, settings.filter((s) => s[0] === role).map((s) => s.slice(1))]))
  return {
    functions: (await json(FUNCTIONS)).map(readFunction),
    tables: new Set(await json(TABLES)),
    roleSettings,
  }
}

// ---- which function is meant ------------------------------------------------------

/** Types that a request's body can be, as the one unnamed argument. */
export const UNNAMED = { json: ['json', 'jsonb'], text: ['text'], bytes: ['bytea'] }

function takesBody(fn, kind) {
  return fn.parameters.length === 1 && fn.parameters[0].name === '' && (UNNAMED[kind] ?? []).includes(fn.parameters[0].type)
}

function takesNames(fn, names) {
  const known = fn.parameters.map((p) => p.name)
  return names.every((name) => name !== '' && known.includes(name)) && fn.parameters.every((p) => !p.required || names.includes(p.name))
}

const signature = (fn) => `public.${fn.name}(${fn.parameters.map((p) => `${p.name} => ${p.type}`).join(', ')})`

/** kind: what the body is (json, text, bytes), none if there is no body to pass on. */
export function findFunction(schema, name, names, kind) {
  const named = schema.functions.filter((fn) => fn.name === name)
  const byNames = kind === 'text' || kind === 'bytes' ? [] : named.filter((fn) => takesNames(fn, names))
  const found = byNames.length ? byNames : named.filter((fn) => takesBody(fn, kind))
  if (found.length === 1) return { fn: found[0], body: !byNames.length }
  if (found.length) {
    throw new ApiError(300, 'PGRST203', `Could not choose the best candidate function between: ${found.map(signature).join(', ')}`,
      { hint: 'Try renaming the parameters or the function itself in the database so function overloading can be resolved' })
  }
  throw notFound(name, names, kind, named)
}

function notFound(name, names, kind, named) {
  const sorted = [...names].sort()
  const only = kind === 'text' || kind === 'bytes'
  const called = only ? '' : sorted.length ? `(${sorted.join(', ')})` : ' without parameters'
  const parameters = sorted.length ? `with parameter${sorted.length > 1 ? 's' : ''} ${sorted.join(', ')}` : 'without parameters'
  const unnamed = { json: ' or with a single unnamed json/jsonb parameter', text: 'with a single unnamed text parameter', bytes: 'with a single unnamed bytea parameter' }[kind] ?? ''
  const near = only ? undefined : nearest(`(${sorted.join(', ')})`, named.map((fn) => `(${fn.parameters.map((p) => p.name).sort().join(', ')})`))
  return new ApiError(404, 'PGRST202', `Could not find the function public.${name}${called} in the schema cache`, {
    details: `Searched for the function public.${name} ${only ? '' : parameters}${unnamed}, but no matches were found in the schema cache.`,
    hint: near === undefined ? null : `Perhaps you meant to call the function public.${name}${near}`,
  })
}

// ---- the hint -----------------------------------------------------------------------
// As fuzzyset does it: only what has some letters in a row in common is compared,
// and the edit distance must leave a third.

function grams(text) {
  const inner = `-${text.toLowerCase().replace(/[^\w, ]+/g, '')}-`
  return [2, 3].flatMap((size) => Array.from({ length: Math.max(0, inner.length - size + 1) }, (_, i) => inner.slice(i, i + size)))
}

function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1))
    row = next
  }
  return row[b.length]
}

function nearest(text, others) {
  const own = new Set(grams(text))
  const score = (other) => 1 - distance(text, other) / Math.max(text.length, other.length)
  const alike = others.filter((other) => other === text || grams(other).some((g) => own.has(g)))
  const [best] = alike.sort((a, b) => score(b) - score(a))
  return best !== undefined && score(best) >= 0.33 ? best : undefined
}
