// The statements of a request. The main one has PostgREST's shape: the call or
// the table in a CTE, what is selected of it around that, and the body made
// around that, so that what PostgreSQL says of a bad column, and what it skips,
// are the same.

import { UNNAMED } from './rest-schema.mjs'
import { identifier, neededColumns, selectSql, tailSql, whereSql } from './rest-query.mjs'

/** Collects values; bind(value) is its placeholder. */
function binder() {
  const values = []
  return { values, bind: (value) => `$${values.push(value)}` }
}

// ---- a function's call -----------------------------------------------------------

/** Arguments of the query; a variadic one takes all that have its name. */
function queryArguments(fn, pairs, bind) {
  return fn.parameters.flatMap((p) => {
    const given = pairs.filter(([name]) => name === p.name).map(([, value]) => value)
    if (!given.length) return []
    const value = p.variadic ? `{${given.map((v) => JSON.stringify(v)).join(',')}}` : given.at(-1)
    return [`${p.variadic ? 'VARIADIC ' : ''}${identifier(p.name)} := ${bind(value)}::${p.type}`]
  }).join(', ')
}

function unnamedArgument(fn, kind, raw, bind) {
  const { type } = fn.parameters[0]
  return UNNAMED[kind] === UNNAMED.bytes ? `${bind(raw)}::bytea` : `${bind(raw.toString('utf8'))}::${type}`
}

/** FROM … pgrst_call, and what is to be had of it. */
function callSql({ fn, asBody, pairs, payload, query }, bind) {
  const name = `public.${identifier(fn.name)}`
  const given = fn.parameters.filter((p) => payload?.names.includes(p.name))
  let from = ''
  let args = ''
  if (pairs) args = queryArguments(fn, pairs, bind)
  else if (asBody) args = unnamedArgument(fn, payload.kind, payload.raw, bind)
  else if (given.length) {
    const columns = given.map((p) => `${identifier(p.name)} ${p.type}`).join(', ')
    from = `(SELECT ${bind(payload.raw.toString('utf8'))}::json AS data) pgrst_payload, `
      + `LATERAL json_to_record(CASE json_typeof(data) WHEN 'array' THEN data->0 ELSE data END) AS pgrst_body(${columns}), LATERAL `
    args = given.map((p) => `${p.variadic ? 'VARIADIC ' : ''}${identifier(p.name)} := pgrst_body.${identifier(p.name)}`).join(', ')
  }
  if (!fn.row) return `SELECT pgrst_call.pgrst_scalar FROM ${from}(SELECT ${name}(${args}) AS pgrst_scalar) pgrst_call`
  const columns = neededColumns(query).map((column) => `pgrst_call.${identifier(column)}`).join(', ')
  return `SELECT ${columns || 'pgrst_call.*'} FROM ${from}${name}(${args}) pgrst_call`
}

// ---- the body ---------------------------------------------------------------------

const CSV = `coalesce((SELECT coalesce(string_agg(a.k, ','), '') FROM (SELECT json_object_keys(r)::text AS k
  FROM (SELECT row_to_json(hh) AS r FROM pgrst_source AS hh LIMIT 1) s) a) || E'\\n'
  || coalesce(string_agg(substring(_postgrest_t::text, 2, length(_postgrest_t::text) - 2), E'\\n'), ''), '')`

/** single: one value or row, not a list. */
function bodySql({ form, strip }, { scalar, single, domain }) {
  if (form === 'raw') return `(array_agg(_postgrest_t.pgrst_scalar::${domain}))[1]`
  if (form === 'csv') return CSV
  const list = `json_agg(_postgrest_t${scalar ? '.pgrst_scalar' : ''})`
  const stripped = strip ? `json_strip_nulls(${list})` : list
  return `coalesce(${single || form === 'object' ? `(${stripped}->0)::text` : `${stripped}::text`}, '${single || form === 'object' ? 'null' : '[]'}')`
}

/** source: SELECT of the CTE; alias: its name in what PostgreSQL says. */
function mainSql({ source, alias, shape, media, query, count, head }, bind) {
  const name = identifier(alias)
  const body = head ? "''::text" : bodySql(media, shape)
  const where = whereSql(name, query.filters, bind)
  const total = count ? `(SELECT count(*)::text FROM pgrst_source AS ${name}${whereSql(name, query.filters, bind)})` : 'NULL::text'
  return `WITH pgrst_source AS (${source}) SELECT ${total}, ${shape.single ? "'1'::text" : 'count(_postgrest_t)::text'}, ${body},`
    + " nullif(current_setting('response.headers', true), ''), nullif(current_setting('response.status', true), '')"
    + ` FROM (SELECT ${selectSql(name, query.select)} FROM pgrst_source AS ${name}${where}${tailSql(name, query, bind)}) _postgrest_t`
}

/** { sql, values } of a function's call. */
export function functionStatement(call, rest) {
  const { values, bind } = binder()
  const { fn } = call
  const shape = { scalar: !fn.row, single: !fn.set, domain: fn.domain }
  const sql = mainSql({ source: callSql({ ...call, query: rest.query }, bind), alias: fn.result, shape, ...rest }, bind)
  return { sql, values, shape }
}

/** Of a table's rows; changes: what they become, if they do. */
export function tableStatement(table, changes, rest) {
  const { values, bind } = binder()
  const name = `public.${identifier(table)}`
  const own = identifier(table)
  const shape = { scalar: false, single: false }
  if (!changes) return { sql: mainSql({ source: `SELECT * FROM ${name}`, alias: table, shape, ...rest }, bind), values, shape }
  const columns = changes.names.map(identifier).join(', ')
  const source = `UPDATE ${name} SET (${columns}) = (SELECT ${columns} FROM json_populate_record(NULL::${name}, ${bind(changes.raw.toString('utf8'))}::json))`
    + `${whereSql(own, rest.query.filters, bind)} RETURNING ${own}.*`
  return { sql: mainSql({ source, alias: table, shape, ...rest, query: { ...rest.query, filters: [] } }, bind), values, shape }
}
