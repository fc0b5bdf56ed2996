// The command line of a stand-in. One description of its options makes what
// parseArgs is given, what --help prints, and how each value is read: a bad one
// ends the program with status 2 before it does anything.

import { accessSync, constants } from 'node:fs'
import { basename } from 'node:path'
import { parseArgs } from 'node:util'

const WIDTH = 100
const COLUMN = 30

// ---- values: each reads a text, or throws what is wrong with it -----------------

function integer(least, most) {
  return (text) => {
    const number = Number(text)
    if (!/^\d+$/.test(text) || number < least || number > most) throw new Error(`must be a whole number from ${least} to ${most}`)
    return number
  }
}

function oneOf(words) {
  return (text) => {
    if (!words.includes(text)) throw new Error(`must be ${words.join(' or ')}`)
    return text
  }
}

export function matching(pattern, form) {
  return (text) => {
    if (!pattern.test(text)) throw new Error(`must have the form ${form}`)
    return text
  }
}

/** An object that check does not object to. */
export function jsonObject(check) {
  return (text) => {
    let value
    try {
      value = JSON.parse(text)
    } catch {
      throw new Error('must be JSON')
    }
    if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Error('must be a JSON object')
    try {
      check(value)
    } catch (error) {
      throw new Error(`is not right: ${error.message}`)
    }
    return value
  }
}

function readable(path) {
  try {
    accessSync(path, constants.R_OK)
  } catch (error) {
    throw new Error(`cannot be read: ${error.code}`)
  }
  return path
}

// ---- options --------------------------------------------------------------------

/** more: default, multiple, required. */
export const text = (word, about, read = (value) => value, more = {}) => ({ type: 'string', word, about, read, ...more })
export const flag = (about) => ({ type: 'boolean', about, default: false })
export const count = (word, about, fallback, most = Number.MAX_SAFE_INTEGER) =>
  text(word, about, integer(0, most), { default: String(fallback) })
export const choice = (words, about) => text(words.join('|'), about, oneOf(words), { default: words[0] })
export const file = (about, more) => text('FILE', about, readable, more)
/** A port to listen on. */
export const listenPort = (about) => count('N', `${about}; 0: one that is free`, 0, 65535)
/** A port that somebody listens on. */
export const port = (about, more) => text('N', about, integer(1, 65535), more)
export const host = () => text('ADDRESS', 'address to listen on; 0.0.0.0: all', undefined, { default: '127.0.0.1' })
export const exitWithStdin = () => flag('ends when its standard input does')

const HELP = { help: { type: 'boolean', short: 'h', about: 'prints this', default: false } }

// ---- what it prints ---------------------------------------------------------------

function wrap(words, indent) {
  const lines = ['']
  for (const word of words.split(' ')) {
    if (lines.at(-1) && lines.at(-1).length + word.length + 1 > WIDTH - indent) lines.push('')
    lines.push(`${lines.pop()} ${word}`.trimStart())
  }
  return lines.join(`\n${' '.repeat(indent)}`)
}

const withWord = ([name, { word }]) => `--${name}${word ? ` ${word}` : ''}`

function usage({ name, takes, options }) {
  const required = Object.entries(options).filter(([, option]) => option.required).map(withWord)
  return ['Usage: node', `test/emulator/${name}`, ...(takes ? [takes.word] : []), ...required, '[OPTION]...'].join(' ')
}

function describe([name, option]) {
  const notes = [option.required && 'required', option.multiple && 'may be given several times',
    option.type === 'string' && option.default?.length && `default: ${option.default}`].filter(Boolean)
  const head = `  ${option.short ? `-${option.short}, ` : '    '}${withWord([name, option])}`
  const about = wrap(option.about + (notes.length ? ` (${notes.join('; ')})` : ''), COLUMN)
  return head.length < COLUMN - 1 ? head.padEnd(COLUMN) + about : `${head}\n${' '.repeat(COLUMN)}${about}`
}

function help(program) {
  const { about, takes, options, example } = program
  return [usage(program), '', wrap(about, 0), '',
    ...(takes ? [`  ${takes.word.padEnd(COLUMN - 2)}${wrap(takes.about, COLUMN)}`, ''] : []),
    'Options:', ...Object.entries(options).map(describe), '', `Example:\n  ${example}`, ''].join('\n')
}

function refuse(program, message) {
  process.stderr.write(`${program.name}: ${message}\n${usage(program)}\nTry --help.\n`)
  process.exit(2)
}

// ---- reading ------------------------------------------------------------------------

function parse(program) {
  const options = Object.fromEntries(Object.entries(program.options).map(([name, { type, short, default: fallback, multiple }]) =>
    [name, { type, ...(short && { short }), ...(multiple && { multiple }), ...(fallback !== undefined && { default: fallback }) }]))
  try {
    return parseArgs({ options, allowPositionals: program.takes !== undefined })
  } catch (error) {
    if (!error.code?.startsWith('ERR_PARSE_ARGS_')) throw error
    const [sentence] = error.message.split(/\. |\n/)
    return refuse(program, sentence[0].toLowerCase() + sentence.slice(1))
  }
}

function readValue(program, name, { read, multiple }, value) {
  try {
    return multiple ? value.map(read) : read(value)
  } catch (error) {
    return refuse(program, `${name} ${error.message}`)
  }
}

/**
 * The options, each as its read returns it, and what the program takes besides
 * as operand. about: what it is; takes: an option that is named by its place;
 * example: a command; check: what is wrong with all values together, if anything.
 */
export function readCommandLine(program) {
  const known = { ...program, name: basename(process.argv[1]), options: { ...program.options, ...HELP } }
  const { values, positionals } = parse(known)
  if (values.help) {
    process.stdout.write(help(known))
    process.exit(0)
  }
  if (positionals.length !== (known.takes ? 1 : 0)) refuse(known, `takes one ${known.takes.word}`)
  for (const [name, option] of Object.entries(known.options)) {
    if (option.required && values[name] === undefined) refuse(known, `--${name} is missing`)
    if (option.read && values[name] !== undefined) values[name] = readValue(known, `--${name}`, option, values[name])
  }
  if (known.takes) values.operand = readValue(known, known.takes.word, known.takes, positionals[0])
  const complaint = known.check?.(values)
  if (complaint) refuse(known, complaint)
  return values
}

/** Ends when it is told to, and with its standard input if --exit-with-stdin says so. */
export function endOnRequest(options) {
  const exit = () => process.exit(0)
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, exit)
  if (options['exit-with-stdin']) process.stdin.on('end', exit).on('close', exit).on('error', exit).resume()
}
