// The element and the hook beside each other in React, in strict mode.  The page
// keeps the API, and what was reported, for tests.
import { StrictMode, useState } from 'react'
import { createRoot } from 'react-dom/client'
import 'vibe-video'
import { useVibeVideo } from 'vibe-video/react'
import { fakeClient, video } from './fake.js'

const client = fakeClient({ 1: video() })
const events: string[] = []
Object.assign(window, { client, events })

function Words({ id }: { id: string }) {
  const { state, video: it, busy, submit } = useVibeVideo(id, { client })
  return <p data-testid="words"><button onClick={submit} disabled={busy !== null}>Ask</button> {state}: {it?.message}</p>
}

function App() {
  const [shown, show] = useState(true)
  return <>
    <button onClick={() => show(!shown)}>{shown ? 'Hide' : 'Show'}</button>
    {shown && <>
      <Words id="1" />
      <vibe-video vibelog-id="1" client={client} price="$0.50" labels={{ submit: 'Los!' }}
        onvibe-status={({ detail }) => events.push(detail.state)} onvibe-ready={() => events.push('there')} />
    </>}
  </>
}

createRoot(document.querySelector('#app')!).render(<StrictMode><App /></StrictMode>)
