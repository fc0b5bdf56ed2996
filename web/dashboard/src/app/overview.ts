// How things are: read for the page's frame, and shown by the overview as well.

import type { Overview } from '../api/types'
import { Store } from '../lib/store'
import { session } from './session'

export const overview = new Store<Overview | null>(null)

// whoever signs in next begins without it
session.subscribe(({ phase }) => phase !== 'ready' && overview.set(null))
