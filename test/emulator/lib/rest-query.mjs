// The query of a request: what is selected, filtered, ordered and cut of an
// answer. Embedded tables, aggregates, full-text operators and casts of filters
// are not played.

import { ApiError, Unreadable } from './rest-errors.mjs'

const OPERATORS = {
  eq: '=', neq: '<>', gt: '>', gte: '>=', lt: '<', lte: '<=', like: 'LIKE', ilike: 'ILIKE', match: '~', imatch: '~*',
  cs: '@>', cd: '<@', ov: '&&', sl: '<<', sr: '>>', nxr: '&<', nxl: '&>', adj: '-|-', isdistinct: 'IS DISTINCT FROM',
  in: 'IN', is: 'IS',
}
const IS_VALUES = ['null', 'not_null', 'true', 'false', 'unknown']
const RESERVED = new Set(['select', 'order', 'limit', 'offset', 'columns', 'on_conflict', 'and', 'or', 'not.and', 'not.or'])

export const identifier = (name) => `"${name.replaceAll('"', '""')}"`

// ---- reading it --------------------------------------------------------------

/** Bytes that claim to be UTF-8, given as Latin-1. */
export function asUtf8(latin1) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(latin1, 'latin1'))
  } catch {
    throw new Unreadable()
  }
}

function unescape(text) {
  return asUtf8(text.replaceAll('+', ' ').replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)))).replaceAll('\0', '')
}

/** [[name, value]…] of a query or a form. */
export function parsePairs(text) {
  return text.split('&').filter(Boolean).map((pair) => {
    const at = pair.indexOf('=')
    return at < 0 ? [unescape(pair), ''] : [unescape(pair.slice(0, at)), unescape(pair.slice(at + 1))]
  })
}

function unparsable(what, text, at, expecting) {
  const found = at < text.length ? `unexpected "${text[at]}"` : 'unexpected end of input'
  return new ApiError(400, 'PGRST100', `"failed to parse ${what} (${text})" (line 1, column ${at + 1})`, { details: `${found} expecting ${expecting}` })
}

/** { not, operator, value } or undefined. */
function parseOperation(text) {
  const [, not, operator, value] = /^(not\.)?([a-z]+)\.(.*)$/s.exec(text) ?? []
  return Object.hasOwn(OPERATORS, operator ?? '') ? { not: Boolean(not), operator, value } : undefined
}

/** a->b->>c as { column, path: [['->', 'b'], ['->>', 'c']] }. */
function parseField(text) {
  const [column, ...rest] = text.split(/(->>?)/)
  return { column, path: rest.flatMap((part, i) => (i % 2 ? [[rest[i - 1], part]] : [])) }
}

// Splits at commas outside of parentheses and quotes.
function splitList(text) {
  return text.match(/(?:"(?:[^"\\]|\\.)*"|\((?:[^()]|\([^()]*\))*\)|[^,"(])+/g) ?? []
}

/** and=(a.eq.1,or(b.gt.2,c.is.null)) */
function parseTree(name, text) {
  const inner = /^\((.*)\)$/s.exec(text)?.[1]
  if (inner === undefined) throw unparsable('logic tree', text, 0, '"("')
  const [, not, operator] = /^(not\.)?(and|or)$/.exec(name)
  const operands = splitList(inner).map((part) => {
    const [, branch, rest] = /^((?:not\.)?(?:and|or))(\(.*\))$/s.exec(part) ?? []
    if (branch) return parseTree(branch, rest)
    const [, field, operation] = /^([^.]+)\.(.*)$/s.exec(part) ?? []
    const parsed = parseOperation(operation ?? '')
    if (!parsed) throw unparsable('logic tree', text, 1, '"not" or operator (eq, gt, ...)')
    return { ...parseField(field), ...parsed }
  })
  return { not: Boolean(not), tree: operator, operands }
}

function parseSelect(text) {
  return splitList(text).map((item) => {
    const [, alias, field, cast] = /^(?:([^:]+):(?!:))?(.+?)(?:::(\w+))?$/s.exec(item)
    return { alias, ...parseField(field), cast }
  })
}

function parseOrder(text) {
  return splitList(text).map((term) => {
    const [field, ...words] = term.split('.')
    let at = field.length
    for (const word of words) {
      if (!['asc', 'desc', 'nullsfirst', 'nullslast'].includes(word)) {
        throw unparsable('order', text, at + 1, '"asc", "desc", "nullsfirst" or "nullslast"')
      }
      at += word.length + 1
    }
    return { ...parseField(field), words }
  })
}

const whole = (text) => (/^\d+$/.test(text ?? '') ? Number(text) : undefined)

/**
 * takesArguments: a value that is no operation is an argument, as for a GET of a
 * function; otherwise it is an error. Gives { select, filters, order, limit,
 * offset, columns, arguments: [[name, value]…] }.
 */
export function parseQuery(pairs, takesArguments) {
  const last = (name) => pairs.findLast(([n]) => n === name)?.[1]
  const query = { filters: [], arguments: [], select: parseSelect(last('select') ?? ''), order: parseOrder(last('order') ?? ''),
    limit: whole(last('limit')), offset: whole(last('offset')) ?? 0, columns: last('columns')?.split(',') }
  for (const [name, value] of pairs) {
    if (/^(?:not\.)?(?:and|or)$/.test(name)) query.filters.push(parseTree(name, value))
    if (RESERVED.has(name)) continue
    const operation = parseOperation(value)
    if (operation) query.filters.push({ ...parseField(name), ...operation })
    else if (takesArguments) query.arguments.push([name, value])
    else throw unparsable('filter', value, 0, '"not" or operator (eq, gt, ...)')
  }
  return query
}

/** Range: 0-9, of a GET. */
export function applyRange(query, header) {
  const [, from, to] = /^(\d+)-(\d*)$/.exec(header ?? '') ?? []
  if (from === undefined) return
  query.offset += Number(from)
  if (to !== '') query.limit = Math.min(query.limit ?? Infinity, Number(to) - Number(from) + 1)
}

// ---- making SQL of it ----------------------------------------------------------

const literal = (text) => `'${text.replaceAll("'", "''")}'`
const pathSql = (path) => path.map(([arrow, key]) => arrow + (/^-?\d+$/.test(key) ? key : literal(key))).join('')

/** A field of a table, whose name is quoted; JSON is compared as text. */
function fieldSql(table, { column, path }) {
  return `${table}.${identifier(column)}${pathSql(path)}`
}

function inList(text) {
  return splitList(text.replace(/^\(|\)$/g, '')).map((v) => v.replace(/^"(.*)"$/s, '$1').replace(/\\(.)/g, '$1'))
}

function operationSql(field, { operator, value, not }, bind) {
  const wrap = (sql) => (not ? `NOT ${sql}` : sql)
  if (operator === 'in') return wrap(`${field} = ANY (${bind(`{${inList(value).map((v) => JSON.stringify(v)).join(',')}}`)})`)
  if (operator === 'is') {
    if (!IS_VALUES.includes(value)) throw unparsable('filter', `is.${value}`, 3, 'isVal: (null, not_null, true, false, unknown)')
    return wrap(`${field} IS ${value.toUpperCase().replace('_', ' ')}`)
  }
  const like = operator === 'like' || operator === 'ilike'
  return wrap(`${field} ${OPERATORS[operator]} ${bind(like ? value.replaceAll('*', '%') : value)}`)
}

function conditionSql(table, condition, bind) {
  if (!condition.tree) return operationSql(fieldSql(table, condition), condition, bind)
  const inner = condition.operands.map((c) => conditionSql(table, c, bind)).join(` ${condition.tree.toUpperCase()} `)
  return `${condition.not ? 'NOT ' : ''}(${inner || 'true'})`
}

export function selectSql(table, select) {
  if (!select.length) return `${table}.*`
  return select.map((item) => {
    if (item.column === '*') return `${table}.*`
    const field = fieldSql(table, item)
    const key = item.path.at(-1)?.[1]
    const alias = item.alias ?? (key && !/^-?\d+$/.test(key) ? key : undefined) ?? (item.cast || key ? item.column : undefined)
    return (item.cast ? `CAST((${field}) AS ${item.cast})` : field) + (alias ? ` AS ${identifier(alias)}` : '')
  }).join(', ')
}

export function whereSql(table, filters, bind) {
  return filters.length ? ` WHERE ${filters.map((f) => conditionSql(table, f, bind)).join(' AND ')}` : ''
}

/** ORDER BY, LIMIT, OFFSET. */
export function tailSql(table, { order, limit, offset }, bind) {
  const words = { asc: 'ASC', desc: 'DESC', nullsfirst: 'NULLS FIRST', nullslast: 'NULLS LAST' }
  const terms = order.map((term) => [fieldSql(table, term), ...term.words.map((w) => words[w])].join(' '))
  return (terms.length ? ` ORDER BY ${terms.join(', ')}` : '')
    + (limit === undefined ? '' : ` LIMIT ${bind(String(limit))}::bigint`)
    + (offset ? ` OFFSET ${bind(String(offset))}::bigint` : '')
}

/** The columns that a function's call has to give, in quotes; [] for all. */
export function neededColumns({ select, filters, order }) {
  if (!select.length || select.some((item) => item.column === '*')) return []
  const ofCondition = (c) => (c.tree ? c.operands.flatMap(ofCondition) : [c.column])
  return [...new Set([...select, ...order].map((f) => f.column).concat(filters.flatMap(ofCondition)))]
}
