// Signs in, shows rows with their videos, and keeps what the element reports for tests to read.
import { setClient } from '/element/index.js'

const asked = new URLSearchParams(location.search)
const client = window.supabase.createClient(location.origin, asked.get('apikey'))
const [signIn, write] = document.querySelectorAll('form')
const rows = document.querySelector('#rows')
window.client = client
window.events = []
for (const name of ['vibe-status', 'vibe-ready', 'vibe-error']) {
  rows.addEventListener(name, (event) => window.events.push([name, event.detail.state ?? event.detail.video?.status ?? null, event.detail.error?.code ?? null]))
}

function show({ id, content }) {
  const article = document.createElement('article')
  const title = document.createElement('h2')
  title.textContent = content
  title.dir = 'auto'
  const video = document.createElement('vibe-video')
  video.setAttribute('vibelog-id', id)
  video.setAttribute('price', '$0.50')
  article.append(title, video)
  rows.prepend(article)
}

async function showRows() {
  setClient(client)
  signIn.hidden = true
  write.hidden = asked.has('row')
  if (asked.has('row')) return show({ id: asked.get('row'), content: 'One row' })
  const { data } = await client.from('vibelogs').select('id,content').order('created_at').limit(20)
  data.forEach(show)
}

signIn.addEventListener('submit', async (event) => {
  event.preventDefault()
  const { error } = await client.auth.signInWithPassword(Object.fromEntries(new FormData(signIn)))
  if (error) signIn.querySelector('[role=alert]').textContent = error.message
  else await showRows()
})

write.addEventListener('submit', async (event) => {
  event.preventDefault()
  const content = new FormData(write).get('content')
  const { data: id } = await client.rpc('write_vibelog', { content })
  show({ id, content })
})

if (asked.has('as') && !(await client.auth.getSession()).data.session) {
  await client.auth.signInWithPassword({ email: asked.get('as'), password: asked.get('password') })
}
if ((await client.auth.getSession()).data.session) await showRows()
else signIn.hidden = false
