// Begins.

import 'uplot/dist/uPlot.min.css'
import './styles/main.css'
import { findEndpoint } from './app/endpoint'
import { startKeys } from './app/keys'
import { refresher } from './app/refresh'
import { startRouting } from './app/route'
import { session, startSession } from './app/session'
import './app/shell'
import { startTheme } from './app/theme'
import { secretName } from './lib/jwt'
import { openHelp } from './parts/help-dialog'

const NO_API =
  'This page does not know its API. Open it with its address in the fragment: dashboard.html#api=https://project.example/rest/v1&apikey=…'

const LEAKED =
  'It is in histories and logs by now: make another in its place, and open this page with the publishable key.'

async function start(): Promise<void> {
  startTheme()
  const endpoint = findEndpoint(new URL(location.href), sessionStorage)
  if (!endpoint) {
    session.set({ phase: 'failed', reason: NO_API })
    return
  }
  const secret = secretName(endpoint.apikey ?? '')
  if (secret) {
    session.set({ phase: 'failed', reason: `The address of this page has ${secret} in it. ${LEAKED}` })
    return
  }
  startRouting()
  await startSession(endpoint)
  startKeys(openHelp)
  refresher.start()
}

void start()
