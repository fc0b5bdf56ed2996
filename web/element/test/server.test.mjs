// On a server there are no elements: the package can be imported there all the
// same, adds nothing to it, and renders what is not known yet.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const dist = (name) => new URL(`../dist/${name}.js`, import.meta.url).href

/** What a program prints, as JSON; it ends by itself, so nothing that was imported keeps it running. */
const run = (program) => JSON.parse(execFileSync(process.execPath, ['--input-type=module', '--eval', program], {
  encoding: 'utf8', cwd: fileURLToPath(new URL('.', import.meta.url)), timeout: 60000 }))

for (const name of ['index', 'core', 'react']) {
  test(`${name} can be imported, and leaves the server as it was`, () => {
    const { added, used } = run(`
      const before = Object.getOwnPropertyNames(globalThis)
      const used = []
      const browsers = ['window', 'location', 'localStorage', 'sessionStorage']
      for (const name of browsers) Object.defineProperty(globalThis, name, { configurable: true, get() { used.push(name) } })
      await import(${JSON.stringify(dist(name))})
      for (const name of browsers) delete globalThis[name]
      console.log(JSON.stringify({ added: Object.getOwnPropertyNames(globalThis).filter((name) => !before.includes(name)), used }))`)
    assert.deepEqual(used, [])
    // lit notes its version
    assert.deepEqual(added, name === 'index' ? ['litHtmlVersions'] : [])
  })
}

test('nothing is defined there', () => {
  assert.deepEqual(run(`
    await import(${JSON.stringify(dist('index'))})
    console.log(JSON.stringify([typeof customElements, typeof HTMLElement, typeof document]))`), ['undefined', 'undefined', 'undefined'])
})

test('React renders the element and the hook on a server', () => {
  const { html, state, calls } = run(`
    import { createElement } from 'react'
    import { renderToString } from 'react-dom/server'
    import { useVibeVideo } from ${JSON.stringify(dist('react'))}
    import ${JSON.stringify(dist('index'))}
    let state
    let calls = 0
    const client = { rpc() { calls++ } }
    function App() {
      state = useVibeVideo('1', { client }).state
      return createElement('vibe-video', { 'vibelog-id': '1', client, price: '$0.50' }, createElement('b', { slot: 'idle' }, 'Go'))
    }
    const html = renderToString(createElement(App))
    console.log(JSON.stringify({ html, state, calls }))`)
  assert.equal(html, '<vibe-video vibelog-id="1" price="$0.50"><b slot="idle">Go</b></vibe-video>')
  assert.equal(state, 'loading')
  assert.equal(calls, 0)
})

test('what a server has rendered does not add up there', () => {
  const { grown } = run(`
    import v8 from 'node:v8'
    import vm from 'node:vm'
    const { watch } = await import(${JSON.stringify(dist('core'))})
    v8.setFlagsFromString('--expose-gc')
    const collect = vm.runInNewContext('gc')
    const used = async () => {
      for (let turns = 0; turns < 5; turns++) {
        collect()
        await new Promise((done) => setImmediate(done))
      }
      return process.memoryUsage().heapUsed
    }
    const render = () => { for (let rows = 0; rows < 50000; rows++) watch(crypto.randomUUID()) }
    render()
    const before = await used()
    render()
    console.log(JSON.stringify({ grown: await used() - before }))`)
  // a few hundred bytes for each row would be more than ten times as much
  assert.ok(grown < 2e6, `${grown} bytes`)
})
